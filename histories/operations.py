"""From events to operations: what a checker works on.

An operation spans the positions of its invocation and of its completion in the history; it may
take effect at any moment between them. Its `outcome` says what is known of it:

    ok        it happened, and `result` is what it returned
    mismatch  a compare-and-set that found another value than it expected. If `seen`, then `result`
              is the value it found; else all that is known is that it was not the expected one
    info      it may have happened at any moment from its invocation on, or never: its span has no
              end. Operations still open when the history ends are of this kind

Operations that failed did not happen, constrain nothing, and are dropped here; so is the nemesis.

Positions, not clock times, say what came before what: the recorder writes an invocation before the
request is sent and a completion after the answer came, in one process, so their order in the file
is sound even where two times are equal.

Values are frozen: lists are tuples, objects tuples of sorted pairs behind MAP, and booleans members
of `Bool`, since Python holds True to be equal to 1 and a checker must not.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from histories.errors import BadHistory
from histories.events import NEMESIS, Event, Json

NEVER: Final = 1 << 62
"""The end of an operation that never returned."""

Frozen: TypeAlias = Hashable


class Bool(enum.Enum):
    """A JSON true or false, which is equal to nothing else."""

    FALSE = False
    TRUE = True

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return "true" if self.value else "false"


class _Map(enum.Enum):
    MAP = "map"


MAP: Final = _Map.MAP


DEPTH_MAX: Final = 100
"""Lists and objects may be nested this deeply, in whatever format they come."""


def freeze(value: Json, depth: int = 0) -> Frozen:
    """A JSON value as something that can be hashed, equal exactly where the JSON values are.

    What is frozen already stays as it is. `depth` is that of the value itself. Raises BadHistory
    for what is no JSON value (NaN, a set, an object of a class) and for what is nested deeper than
    DEPTH_MAX.
    """
    if value.__class__ is int or value.__class__ is str or value is None:
        return value
    if isinstance(value, bool):
        return Bool.TRUE if value else Bool.FALSE
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, (list, tuple, dict)):
        if value and depth >= DEPTH_MAX:
            raise BadHistory(TOO_DEEP)
        if isinstance(value, dict):
            members = {str(k): freeze(v, depth + 1) for k, v in value.items()}
            return (MAP, *sorted(members.items(), key=lambda member: member[0]))
        return tuple(freeze(v, depth + 1) for v in value)
    if isinstance(value, (int, str, Bool, _Map)):
        return value
    raise BadHistory(f"{value!r} is not a JSON value")


TOO_DEEP: Final = f"is nested more than {DEPTH_MAX} deep"


def too_deep(value: Json) -> bool:
    """Whether a JSON value is nested more than DEPTH_MAX deep."""
    waiting = [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > DEPTH_MAX:
            return True
        if isinstance(found, (list, dict)):
            items = found.values() if isinstance(found, dict) else found
            waiting.extend((item, depth + 1) for item in items)
    return False


def elements_of(value: Frozen) -> tuple[Frozen, ...] | None:
    """The elements of a frozen list, none for null; None for everything that is no list."""
    if value is None:
        return ()
    if isinstance(value, tuple) and not (value and value[0] is MAP):
        return value
    return None


def key_text(key: Json) -> str | None:
    """A key as its text; a whole number is the same key as its text.

    Raises BadHistory for anything else.
    """
    if key is None or isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise BadHistory(f"key {key!r} is not a text")


def thaw(value: Any) -> Json:
    """The inverse of `freeze`."""
    if isinstance(value, Bool):
        return value.value
    if isinstance(value, tuple):
        if value and value[0] is MAP:
            return {k: thaw(v) for k, v in value[1:]}
        return [thaw(v) for v in value]
    return value


class Operation(NamedTuple):
    """One operation of one process. `call` and `ret` are positions in the history; `id` is its
    position among the operations; times are nanoseconds, `ret_ns` of an open operation is -1.
    `observed` says that the result came as the completion's `observed`, not as its value. `order`
    is where the system itself says that it put the operation: a log's slot, a revision."""

    id: int
    process: int | str
    f: str
    key: str | None
    value: Any
    outcome: str
    result: Any
    seen: bool
    call: int
    ret: int
    call_ns: int
    ret_ns: int
    node: int | None = None
    observed: bool = False
    order: int | None = None

    def to_json(self) -> dict[str, Json]:
        """For evidence: everything a person needs, and enough to check the part again."""
        line: dict[str, Json] = {
            "process": self.process,
            "f": self.f,
            "key": self.key,
            "value": thaw(self.value),
            "outcome": self.outcome,
            "call": self.call,
            "return": None if self.ret == NEVER else self.ret,
            "call_ns": self.call_ns,
            "return_ns": None if self.ret == NEVER else self.ret_ns,
        }
        if self.seen:
            line["observed" if self.observed else "result"] = thaw(self.result)
        if self.node is not None:
            line["node"] = self.node
        return line

    @classmethod
    def from_json(cls, line: dict[str, Json], number: int) -> Operation:
        """The inverse of `to_json`; `number` becomes its id."""
        ret, ret_ns = line["return"], line["return_ns"]
        return cls(
            number,
            line["process"],
            line["f"],
            line["key"],
            freeze(line["value"]),
            line["outcome"],
            freeze(line.get("observed", line.get("result"))),
            "result" in line or "observed" in line,
            line["call"],
            NEVER if ret is None else ret,
            line["call_ns"],
            -1 if ret_ns is None else ret_ns,
            line.get("node"),
            "observed" in line,
        )


def pair(events: Sequence[Event], *, reuse_after_info: bool = False) -> list[Operation]:
    """The operations of a history, in the order of their invocations; ids are 0, 1, 2, …

    With `reuse_after_info` a process may go on after an operation that timed out (old Jepsen logs).
    Raises BadHistory, with the event's number, for a completion without an invocation, a process
    with two operations open, and a process that acts again after `info`.
    """
    return list(_paired(events, reuse_after_info))


def _paired(events: Sequence[Event], reuse_after_info: bool) -> Iterable[Operation]:
    open_calls: dict[int | str, int] = {}
    ends: dict[int, int] = {}  # position of the invocation -> of the completion
    gone: set[int | str] = set()
    for position, event in enumerate(events):
        process, kind = event.process, event.type
        if process == NEMESIS:
            continue
        if kind == "invoke":
            if process in open_calls:
                raise BadHistory(f"process {process} has an operation open", line=position + 1)
            if process in gone:
                raise BadHistory(
                    f"process {process} acts again after an operation with an unknown outcome",
                    line=position + 1,
                )
            open_calls[process] = position
            ends[position] = NEVER
            continue
        start = open_calls.pop(process, None)
        if start is None:
            raise BadHistory(f"process {process} completes what it never began", line=position + 1)
        if events[start].f != event.f:
            raise BadHistory(
                f"process {process} began {events[start].f!r} and completes {event.f!r}",
                line=position + 1,
            )
        if event.key is not None and key_text(event.key) != key_text(events[start].key):
            raise BadHistory(
                f"process {process} began on key {events[start].key!r} and completes on "
                f"{event.key!r}",
                line=position + 1,
            )
        ends[start] = position
        if kind == "info" and not reuse_after_info:
            gone.add(process)
    number = 0
    for start, end in ends.items():
        done = None if end == NEVER else events[end]
        operation = between(number, start, events[start], end, done)
        if operation is not None:
            yield operation
            number += 1


def between(number: int, start: int, call: Event, end: int, done: Event | None) -> Operation | None:
    """The operation between two events at these positions, or None where it did not happen.
    `done` is None where it never completed."""
    if done is None or done.type == "info":
        outcome, result, seen, end, end_ns = "info", None, False, NEVER, -1
    elif done.type == "ok":
        outcome, seen, end_ns = "ok", True, done.time
        result = _frozen(done.observed if done.has_observed else done.value, end)
    elif done.error == "mismatch" and call.f == "cas":
        outcome, seen, end_ns = "mismatch", done.has_observed, done.time
        result = _frozen(done.observed, end) if seen else None
    else:
        return None
    return Operation(
        number,
        call.process,
        call.f,
        key_text(call.key),
        _frozen(call.value, start),
        outcome,
        result,
        seen,
        start,
        end,
        call.time,
        end_ns,
        call.node if done is None or done.node is None else done.node,
        seen and done is not None and done.has_observed,
        _place(done),
    )


def _place(done: Event | None) -> int | None:
    place = None if done is None or done.extra is None else done.extra.get("order")
    return place if place.__class__ is int and 0 <= place < NEVER else None


def _frozen(value: Json, position: int) -> Frozen:
    try:
        return freeze(value)
    except BadHistory as error:
        raise BadHistory(error.message, line=position + 1) from None
