"""The errors of the agent. Every answer that is not ok carries one of these.

AgentError
|-- BadRequest     the request is invalid
|-- Unsupported    this machine, or this container's capabilities, do not allow it
`-- Failed         it was attempted, and did not take effect
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """A request was not carried out; `remedy` says what to do about it."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class BadRequest(AgentError):
    kind = "bad-request"


class Unsupported(AgentError):
    kind = "unsupported"


class Failed(AgentError):
    kind = "failed"
