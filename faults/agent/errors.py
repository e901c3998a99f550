"""What can go wrong in the agent. Every answer that is not ok carries one of these.

AgentError
|-- BadRequest     the controller asked for something that makes no sense
|-- Unsupported    this machine, or this container's rights, cannot do it
`-- Failed         it was tried, and did not happen
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Something was not done; `remedy` says what to do about it."""

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
