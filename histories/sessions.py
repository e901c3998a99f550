"""Clients by the one number that people see: that of the history, the process.

Nodes know a client by its session; histories say which session an operation belongs to in `extra`,
as {"client": session, "seq": number of the command}. Whatever is said to a reader names processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from histories.events import Event

NAMED_COMMAND: Final = re.compile(r"\(client (\d{1,9}), command (\d{1,9})\)")
"""How a sentence names a command, by session or by process."""


def processes_of(events: Iterable[Event]) -> dict[int, Any]:
    """The process of each session."""
    found: dict[int, Any] = {}
    for event in events:
        session = event.extra.get("client") if isinstance(event.extra, dict) else None
        if type(session) is int:
            found[session] = event.process
    return found


def named_by_process(sentence: str, processes: Mapping[int, Any]) -> str:
    """A sentence about sessions with the processes in their place; a session that no operation of
    the history belongs to stays, as such."""

    def renamed(match: re.Match[str]) -> str:
        session = int(match[1])
        if session not in processes:
            return f"(session {session}, command {match[2]})"
        return f"(client {processes[session]}, command {match[2]})"

    return NAMED_COMMAND.sub(renamed, sentence)
