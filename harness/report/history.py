"""Reads a history for display: quickly, and as far as it is valid.

The strict reader (`histories.formats.native`) refuses a file with one malformed line, since a
verdict on half a history would be worthless. A page shows everything before that line, and names
the line. The events are validated as far as the page relies on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from histories.events import NEMESIS, TYPES, Event
from histories.untrusted import LINE_BYTES_MAX, open_regular, parse_object

KNOWN: Final = frozenset(
    ("index", "time", "process", "type", "f", "key", "value", "node", "error", "observed")
)
TIME_MAX_NS: Final = 1 << 62


def read_events(path: Path) -> tuple[list[Event], list[str]]:
    """The events up to the first malformed line, and the errors, as sentences."""
    events: list[Event] = []
    try:
        with open_regular(path) as file:
            problem = _read(file, events)
    except OSError as error:
        return [], [f"the history cannot be read: {error.strerror or error}"]
    if not events and not problem:
        return [], ["the history holds no events: the run never began"]
    return events, [problem] if problem else []


def _read(file: Any, events: list[Event]) -> str:
    """Append events. Returns what stopped it, or "" at the end."""
    last_ns, number = 0, 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        try:
            event = _event(parse_object(line), number, last_ns)
        except (ValueError, TypeError) as error:
            if not line.strip():
                continue
            if not line.endswith(b"\n"):
                return f"line {number} is cut off in the middle: the run was cut off there"
            return f"the history is shown up to line {number}, which is not an event: {error}"
        events.append(event)
        last_ns = event.time
    return ""


def _event(line: dict[str, Any], number: int, last_ns: int) -> Event:
    """One event. Raises ValueError or TypeError for a malformed one."""
    get = line.get
    time_ns, process, kind, f = get("time", last_ns), get("process"), get("type"), get("f")
    if time_ns.__class__ is not int or not last_ns <= time_ns < TIME_MAX_NS:
        raise ValueError(f"its time is {str(time_ns)[:40]!r}, after {last_ns}")
    if process != NEMESIS and (process.__class__ is not int or not 0 <= process < 1 << 53):
        raise ValueError(f"its process is {str(process)[:40]!r}")
    if kind not in TYPES or f.__class__ is not str:
        raise ValueError(f"its type is {str(kind)[:40]!r} and its f {str(f)[:40]!r}")
    key, node, error = get("key"), get("node"), get("error")
    extra = {name: line[name] for name in line if name not in KNOWN} if len(line) > 6 else None
    return Event(
        number - 1,
        time_ns,
        process,
        kind,
        f,
        None if key is None else str(key),
        get("value"),
        node if node.__class__ is int else None,
        None if error is None else str(error),
        get("observed"),
        "observed" in line,
        extra or None,
    )
