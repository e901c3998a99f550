"""Drains of queues: operations that take elements until the queue is empty.

A client drains by taking one element after the other, so a drain is a single step only if no other
take overlaps it. Otherwise (Jepsen's tests end with all clients draining at once) the drain is
split here into its takes, each of which may have happened at any time within it. This loses the
order of the takes, and never makes a valid history invalid.

A drain of unknown outcome may have taken any element that was not taken otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from histories.events import NEMESIS, Event
from histories.operations import EMPTY, NEVER, SET

DRAIN: Final = "drain"
QUEUES: Final = frozenset(("queue", "unordered-queue"))


def drains_split(events: Sequence[Event]) -> tuple[list[Event], tuple[str, ...]]:
    """The events without drains that overlap other takes, and a note if there were any. Events that
    cannot be paired are unchanged, and refused later."""
    ends = _ends(events)
    takes = [
        (start, end)
        for start, end in ends.items()
        if events[start].f in ("dequeue", DRAIN) and _happened(events, end)
    ]
    split = {start for start, end in takes if _splits(events, start, end, takes)}
    if not split:
        return list(events), ()
    completions = {ends[start]: start for start in split if ends[start] != NEVER}
    left = _left_over(events, ends)
    found: list[Event] = []
    for position, event in enumerate(events):
        start = position if position in split else completions.get(position)
        if start is None:
            found.append(event)
            continue
        elements = _elements(events, ends[start])
        parts: Sequence[object] = [None] * left if elements is None else elements
        value = None if position in split else list(parts)
        found += _parts(event, start, len(parts), value, known=elements is not None)
    numbered = [event._replace(index=number) for number, event in enumerate(found)]
    note = (
        f"{len(split)} drains overlap other takes: each is read as the dequeues it was made of, in "
        f"any order"
    )
    return numbered, (note,)


def _ends(events: Sequence[Event]) -> dict[int, int]:
    """The position of each invocation's completion, or NEVER."""
    open_calls: dict[int | str, int] = {}
    ends: dict[int, int] = {}
    for position, event in enumerate(events):
        if event.process == NEMESIS:
            continue
        if event.type == "invoke":
            open_calls[event.process] = position
            ends[position] = NEVER
        elif (start := open_calls.pop(event.process, None)) is not None:
            ends[start] = position
    return ends


def _happened(events: Sequence[Event], end: int) -> bool:
    return end == NEVER or events[end].type != "fail" or events[end].error in EMPTY


def _splits(
    events: Sequence[Event], start: int, end: int, takes: Sequence[tuple[int, int]]
) -> bool:
    if events[start].f != DRAIN:
        return False
    if end == NEVER or events[end].type == "info":
        return True
    for call, ret in takes:
        unknown = ret == NEVER or events[ret].type == "info"
        if call != start and call < end and (unknown or start < ret):
            return True
    return False


def _elements(events: Sequence[Event], end: int) -> Sequence[object] | None:
    """The elements that a drain took; None if unknown."""
    if end == NEVER or events[end].type != "ok":
        return None
    value = events[end].value
    if isinstance(value, dict) and isinstance(value.get(SET), (list, tuple)):
        value = value[SET]
    return value if isinstance(value, (list, tuple)) else ()


def _left_over(events: Sequence[Event], ends: dict[int, int]) -> int:
    """How many elements were put in, or may have been, and are not known to have been taken."""
    put = taken = 0
    for start, end in ends.items():
        if events[start].f == "enqueue":
            put += _happened(events, end)
        elif events[start].f == "dequeue":
            done = None if end == NEVER else events[end]
            taken += done is not None and done.type == "ok" and done.value is not None
        elif events[start].f == DRAIN:
            taken += len(_elements(events, end) or ())
    return max(0, put - taken)


def _parts(
    event: Event, start: int, count: int, values: list[object] | None, *, known: bool
) -> list[Event]:
    kind = event.type if known or event.type == "invoke" else "info"
    return [
        event._replace(
            process=f"{event.process}, drain at event {start + 1}, part {number + 1}",
            f="dequeue",
            type=kind,
            value=None if values is None else values[number],
        )
        for number in range(count)
    ]
