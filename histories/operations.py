"""Converts events to operations, the input of a checker.

An operation spans the positions of its invocation and of its completion in the history; it may
take effect at any time between them. Its `outcome`:

    ok        it happened, and `result` is what it returned
    mismatch  a compare-and-set that found another value than it expected. If `seen`, then `result`
              is the value it found; else all that is known is that it was not the expected one
    info      it may have happened at any time from its invocation on, or never: its span has no
              end. Operations still open when the history ends are of this kind

Operations that failed did not happen, constrain nothing, and are dropped here; so is the nemesis.
A take from a queue (or a stack) that failed because it was "empty" did happen: it found nothing.

The value with which a write, or another operation that stores a value, completes is what it wrote,
as in Knossos: a completion with null, or with the same value, changes nothing; see `argument`.

Positions, not clock times, define the order: the recorder writes an invocation before the request
is sent and a completion after the answer arrived, in one process, so their order in the file is
sound even where two times are equal.

Values are frozen: lists are tuples, sets (the object {"#set": [...]}) frozensets, other objects
tuples of sorted pairs behind MAP, and booleans members of `Bool`, since Python holds True to be
equal to 1 and a checker must not.
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
    """A JSON true or false, which equals nothing else."""

    FALSE = False
    TRUE = True

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return "true" if self.value else "false"


class _Map(enum.Enum):
    MAP = "map"


MAP: Final = _Map.MAP
SET: Final = "#set"
"""The name of the one member of an object that stands for a set: {"#set": [1, 2]}."""


DEPTH_MAX: Final = 100
"""Lists and objects may be nested this deeply, in whatever format they come."""


def freeze(value: Json, depth: int = 0) -> Frozen:
    """A JSON value as a hashable value, equal exactly where the JSON values are.

    A frozen value is returned unchanged. `depth` is that of the value itself. Raises BadHistory for
    what is not a JSON value (NaN, a set, an object of a class) and for what is nested deeper than
    DEPTH_MAX.
    """
    if value.__class__ is int or value.__class__ is str or value is None:
        return value
    if isinstance(value, bool):
        return Bool.TRUE if value else Bool.FALSE
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, (list, tuple, dict, frozenset)):
        return _freeze_all(value, depth)
    if isinstance(value, (int, str, Bool, _Map)):
        return value
    raise BadHistory(f"{value!r} is not a JSON value")


def _freeze_all(value: Any, depth: int) -> Frozen:
    """The same for lists and objects."""
    if value and depth >= DEPTH_MAX:
        raise BadHistory(TOO_DEEP)
    if isinstance(value, dict):
        if value.keys() == {SET} and isinstance(value[SET], (list, tuple)):
            if value[SET] and depth + 1 >= DEPTH_MAX:
                raise BadHistory(TOO_DEEP)
            return frozenset(freeze(v, depth + 2) for v in value[SET])
        members = {str(k): freeze(v, depth + 1) for k, v in value.items()}
        return (MAP, *sorted(members.items(), key=lambda member: member[0]))
    if isinstance(value, frozenset):
        return frozenset(freeze(v, depth + 2) for v in value)
    return tuple(freeze(v, depth + 1) for v in value)


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
    """The elements of a frozen list, none for null; None for other values."""
    if value is None:
        return ()
    if isinstance(value, tuple) and not (value and value[0] is MAP):
        return value
    return None


def members_of(value: Frozen) -> dict[str, Any] | None:
    """The members of a frozen object; None for other values."""
    if isinstance(value, tuple) and value and value[0] is MAP:
        return dict(value[1:])
    return None


def key_text(key: Json) -> str | None:
    """A key as its text; a whole number is the same key as its text.

    Raises BadHistory for anything else.
    """
    if key is None or isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise BadHistory(f"key {key!r} is neither a text nor a whole number")


def thaw(value: Any) -> Json:
    """The inverse of `freeze`."""
    if isinstance(value, Bool):
        return value.value
    if isinstance(value, frozenset):
        return {SET: sorted((thaw(v) for v in value), key=repr)}
    if isinstance(value, tuple):
        if value and value[0] is MAP:
            return {k: thaw(v) for k, v in value[1:]}
        return [thaw(v) for v in value]
    return value


class Operation(NamedTuple):
    """One operation of one process. `call` and `ret` are positions in the history; `id` is its
    position among the operations; times are nanoseconds, `ret_ns` of an open operation is -1.
    `observed`: the result came as the completion's `observed`, not as its value. `order` is the
    position that the system itself reports for the operation: a log's slot, a revision."""

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
        """For evidence: complete for a reader, and enough to check the part again."""
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


def pair(events: Sequence[Event], *, jepsen: bool = False) -> list[Operation]:
    """The operations of a history, in the order of their invocations; ids are 0, 1, 2, …

    With `jepsen` a process may continue after an operation that timed out; an `info` that completes
    nothing is ignored; and one of another name (`crash`) completes whatever is open.
    Raises BadHistory, with the event's number, for a completion without an invocation, a process
    with two operations open, and a process that acts again after `info`.
    """
    return list(_paired(events, jepsen))


def _paired(events: Sequence[Event], jepsen: bool) -> Iterable[Operation]:
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
        if jepsen and kind == "info":
            if start is not None:
                ends[start] = position
            continue
        if start is None:
            raise BadHistory(f"process {process} completes what it never began", line=position + 1)
        _check_completion(events[start], event, position + 1)
        ends[start] = position
        if kind == "info":
            gone.add(process)
    number = 0
    for start, end in ends.items():
        done = None if end == NEVER else events[end]
        operation = between(number, start, events[start], end, done)
        if operation is not None:
            yield operation
            number += 1


def _check_completion(call: Event, done: Event, line: int) -> None:
    if call.f != done.f:
        raise BadHistory(
            f"process {done.process} began {call.f!r} and completes {done.f!r}", line=line
        )
    if done.key is not None and key_text(done.key) != key_text(call.key):
        raise BadHistory(
            f"process {done.process} began on key {call.key!r} and completes on {done.key!r}",
            line=line,
        )


PUTS: Final = frozenset(("write", "enqueue", "push"))
"""Operations whose completion's value is what they wrote."""
GROWS: Final = frozenset(("append", "add", "insert"))
"""Operations whose completion's value is what they added, where the invocation has no value;
otherwise it may be an answer."""
TAKES: Final = frozenset(
    ("dequeue", "pop", "poll", "delete-min", "delete-max", "extract-min", "extract-max")
)
EMPTY: Final = frozenset(("empty", ":empty"))


def failed_write(event: Event) -> tuple[str | None, Frozen] | None:
    """The (key, value) that was certainly not written, according to an event; None for other
    events."""
    if event.type != "fail" or event.error == "mismatch":
        return None
    value = event.value
    if event.f == "cas":
        pair = isinstance(value, (list, tuple)) and len(value) == 2
        return (key_text(event.key), freeze(value[1])) if pair else None
    return (key_text(event.key), freeze(value)) if event.f in (*PUTS, *GROWS, "put") else None


def argument(f: str, given: Frozen, told: Frozen) -> Frozen:
    """The value that an operation wrote: the one it completed with (`told`), where that differs
    from the one it was invoked with."""
    if told is None or told == given:
        return given
    if f in PUTS or (f in GROWS and given is None and not isinstance(told, Bool)):
        return told
    if f == "put" and given is None and isinstance(told, str):  # otherwise it may be a revision
        return told
    if f == "cas" and isinstance(told, tuple) and len(told) == 2 and told[0] is not MAP:
        return told
    return given


def between(number: int, start: int, call: Event, end: int, done: Event | None) -> Operation | None:
    """The operation between two events at these positions, or None where it did not happen.
    `done` is None where it never completed."""
    value = _frozen(call.value, start)
    if done is None or done.type == "info":
        outcome, result, seen, end, end_ns = "info", None, False, NEVER, -1
    elif done.type == "ok":
        outcome, seen, end_ns = "ok", True, done.time
        result = told = _frozen(done.value, end)
        if done.has_observed:
            result = _frozen(done.observed, end)
        value = argument(call.f, value, told)
    elif done.error in EMPTY and call.f in TAKES:
        outcome, seen, end_ns, result = "ok", True, done.time, None
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
        value,
        outcome,
        result,
        seen,
        start,
        end,
        call.time,
        end_ns,
        call.node if done is None or done.node is None else done.node,
        outcome != "info" and done is not None and done.has_observed,
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
