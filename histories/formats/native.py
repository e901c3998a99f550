"""Our own history file: one JSON object a line, one event an object. Read strictly.

`index` and `time` may be left out by hand-written files (then lines count); where they are there,
indexes must rise and times must not fall. A key may be a number: it is the same key as its text.

A run that was cut off may end in half a line: it has no newline at its end. If that rest is not a
whole event, and there is one before it, it is dropped, and a note says so. Anything else that is
not an event is an error that names the line, because a verdict on a partly understood history would
be worthless. So is a field that is given twice; and, in the event of a client, one that is probably
misspelt, or the value left out where an operation is invoked with one or answers one: both would be
read as null, or as another object. Other fields are kept in `extra`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.budget import UNLIMITED, Budget
from histories.errors import BadHistory
from histories.events import NEMESIS, TYPES, Event
from histories.operations import (
    DEPTH_MAX,
    GROWS,
    PUTS,
    TAKES,
    TOO_DEEP,
    Operation,
    pair,
    too_deep,
)
from histories.recorder import event_line
from histories.text import quoted
from histories.untrusted import finite, no_constant

_KNOWN: Final = frozenset(
    ("index", "time", "process", "type", "f", "key", "value", "node", "error", "observed")
)
# The rules below are the kernel's as well: `kernel/src/fields.rs`.
_FIELDS: Final = (*sorted(_KNOWN), "order")
_DECISIVE: Final = frozenset(("key", "value", "error", "observed", "order"))
"""Fields that decide what an event means: their names are compared less strictly."""
_SHORT: Final = {b"k": b"key", b"v": b"value", b"val": b"value", b"err": b"error"}
_GIVEN: Final = frozenset((*PUTS, *GROWS, "put", "cas", "remove", "contains"))
"""Operations that are invoked with a value."""
_ANSWERS: Final = frozenset(
    (*TAKES, "read", "get", "contains", "drain", "generate", "balance", "total", "watch")
)
"""Operations whose value is the answer; null has to be written."""


class History(NamedTuple):
    """The events of a file in order, and notes on what the reader had to leave out."""

    events: Sequence[Event]
    notes: tuple[str, ...] = ()
    path: Path | None = None
    jepsen: bool = False

    def operations(self) -> list[Operation]:
        """The history's operations. Raises BadHistory, naming file and line."""
        try:
            return pair(self.events, jepsen=self.jepsen)
        except BadHistory as error:
            if self.path is None:
                raise
            raise BadHistory(error.message, path=self.path, line=error.line) from None


def read(path: Path | str, budget: Budget = UNLIMITED) -> History:
    """Read a whole native file. Raises BadHistory, with the file and the line, and LimitReached."""
    path = Path(path)
    try:
        budget.check(path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}", path=path) from error
    return parse(data, path, budget)


def parse(data: bytes, path: Path | None = None, budget: Budget = UNLIMITED) -> History:
    """The history in `data`; `path` is for messages only."""
    if not data.strip():
        raise BadHistory("holds no events: the run never began", path=path)
    events: list[Event] = []
    notes: list[str] = []
    try:
        for event in _events(data):
            events.append(event)
            budget.look(len(events))
    except _Torn as torn:
        if not events:
            raise BadHistory("is not a whole event", path=path, line=torn.line) from None
        notes.append(f"line {torn.line} is cut off in the middle: the run was cut off there")
    except BadHistory as error:
        raise BadHistory(error.message, path=path, line=error.line) from None
    return History(events, tuple(notes), path)


def parse_line(line: bytes, number: int) -> Event:
    """One line of a file that was read before without error; `number` counts from 1."""
    return _event(_object(line), number, 0)


def write(path: Path | str, events: Sequence[Event]) -> None:
    """Write a native file, replacing an existing one."""
    text = "".join(event_line(event) + "\n" for event in events)
    Path(path).write_text(text, encoding="ascii")


class _Torn(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


def _events(data: bytes) -> Iterator[Event]:
    lines = data.split(b"\n")
    torn_line = len(lines) if lines[-1].strip() else 0
    if not torn_line:
        lines.pop()
    last_index, last_time = -1, 0
    for number, line in enumerate(lines, 1):
        try:
            fields = _object(line)
        except BadHistory as error:
            if number == torn_line:
                raise _Torn(number) from None
            raise BadHistory(error.message, line=number) from None
        event = _event(fields, number, last_time)
        if event.index <= last_index:
            raise BadHistory(f"index {event.index} does not follow {last_index}", line=number)
        if event.time < last_time:
            raise BadHistory(f"time goes back from {last_time} to {event.time}", line=number)
        last_index, last_time = event.index, event.time
        yield event


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            line.decode("utf-8"),
            parse_constant=no_constant,
            parse_float=finite,
            object_pairs_hook=_members,
        )
    except UnicodeDecodeError as error:
        raise BadHistory(f"byte {error.start + 1} of the line is not UTF-8") from None
    except RecursionError:
        raise BadHistory(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise BadHistory(f"is not JSON (column {error.colno})") from None
    except ValueError as error:
        raise BadHistory(f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadHistory("is not a JSON object")
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and any(map(too_deep, found.values())):
        raise BadHistory(TOO_DEEP)
    return found


class _Doubled(dict[str, Any]):
    """An object in which names occur twice; the last one of a name counts."""

    twice: frozenset[str] = frozenset()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    times = Counter(name for name, _ in pairs)
    doubled.twice = frozenset(name for name in times if times[name] > 1)
    return doubled


def checked_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a document in which no name may occur twice. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _event(line: dict[str, Any], number: int, last_time: int) -> Event:
    kind, f = line.get("type"), line.get("f")
    process: Any = line.get("process")
    index, time, key = line.get("index", number - 1), line.get("time", last_time), line.get("key")
    error, node = line.get("error"), line.get("node")
    if isinstance(line, _Doubled) and line.twice.intersection(_FIELDS):
        twice = min(line.twice.intersection(_FIELDS))
        raise BadHistory(f"{twice} is given twice", line=number)
    if kind not in TYPES:
        raise BadHistory(f"type {kind!r} is none of {', '.join(TYPES)}", line=number)
    if not _is_count(process) and not (isinstance(process, str) and process):
        raise BadHistory(f"process {process!r} is not a number, nor a name", line=number)
    if not isinstance(f, str) or not f:
        raise BadHistory(f"f {f!r} is not the name of an operation", line=number)
    if not _is_count(index):
        raise BadHistory(f"index {index!r} is not a number from 0 to 2^62", line=number)
    if not _is_count(time):
        raise BadHistory(f"time {time!r} is not a number of ns from 0 to 2^62", line=number)
    if _is_count(key):
        key = str(key)
    if key is not None and not isinstance(key, str):
        raise BadHistory(
            f"key {key!r} is neither a text nor a whole number from 0 to 2^62", line=number
        )
    if error is not None and not isinstance(error, str):
        error = json.dumps(error)
    extra = None if line.keys() <= _KNOWN else {k: line[k] for k in line if k not in _KNOWN}
    if process != NEMESIS:
        _check_fields(kind, f, line, extra, number)
    return Event(
        index,
        time,
        process,
        kind,
        f,
        key,
        line.get("value"),
        node if _is_count(node) else None,
        error,
        line.get("observed"),
        "observed" in line,
        extra,
    )


def _check_fields(
    kind: str, f: str, line: dict[str, Any], extra: dict[str, Any] | None, number: int
) -> None:
    """Refuse a client's event with a field that is misspelt or missing."""
    for name in extra or ():
        for field in _meant(name):
            if field not in line:
                raise BadHistory(
                    f"{quoted(name)} is not a field of an event: is {field!r} meant?", line=number
                )
    if "value" in line:
        return
    if kind == "invoke" and f in _GIVEN:
        raise BadHistory(f"has no value, which {f} is invoked with", line=number)
    if kind == "ok" and f in _ANSWERS and "observed" not in line:
        raise BadHistory(f"has no value: what {f} answered, or null", line=number)


@lru_cache(1 << 10)
def _meant(name: str) -> tuple[str, ...]:
    """The fields that `name` is probably meant to be."""
    return tuple(field for field in _FIELDS if _is_near(name, field))


def _is_near(name: str, field: str) -> bool:
    """Whether `name` is probably meant to be `field`: the same in another case, or, for those that
    decide, a short form, or one letter missing, added, replaced or swapped with the next."""
    given, wanted = name.encode("utf-8", "surrogatepass").lower(), field.encode()
    if given == wanted:
        return True
    return field in _DECISIVE and (_SHORT.get(given) == wanted or _differ_by_one(given, wanted))


def _differ_by_one(a: bytes, b: bytes) -> bool:
    if abs(len(a) - len(b)) > 1:
        return False
    same = _alike(a, b)
    a, b = a[same:], b[same:]
    same = _alike(a[::-1], b[::-1])
    a, b = a[: len(a) - same], b[: len(b) - same]
    return max(len(a), len(b)) == 1 or (len(a) == 2 and a == b[::-1])


def _alike(a: bytes, b: bytes) -> int:
    """How many bytes at their beginning are the same."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _is_count(value: Any) -> bool:
    return value.__class__ is int and 0 <= value < 1 << 62
