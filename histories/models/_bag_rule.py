"""Unordered queues and priority queues whose elements are all different: decided in time n log n.

Lee and Mathur ("Efficient decrease-and-conquer linearizability monitoring", OOPSLA 2025) show that
this is possible. The rule here goes by falling rank (what must come out first, first):

- An element is present at least from the return of its insert to its take, and it need not be
  present any longer: it is put in as late as possible and taken as early as possible.
- It is taken at the first point in time, after its take is called, at which nothing of a higher
  rank has to be present. If there is none before the take returns, no order explains the history.
- A take that found nothing has the lowest rank of all; in an unordered queue all others are equal.

Points in time are *slots*: slot p lies just after position p of the history, and an operation from
`call` to `ret` may take effect in the slots call to ret - 1. In one slot, takes of elements that
were present before come first, by falling rank, then elements that are put in and taken at once,
and takes that found nothing, then inserts: so an element blocks others only in the slots strictly
between its own two.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from histories.models.interface import Decision
from histories.operations import NEVER, Operation

AFTER: Final = NEVER + 1
"""The slot of the take of an element that was never taken."""


class _Element(NamedTuple):
    """An element's two operations; `take` is None where it was never taken. A take that found
    nothing has no insert."""

    rank: Any
    insert: Operation | None
    take: Operation | None

    @property
    def first(self) -> int:
        """The first slot in which it can be taken."""
        calls = [op.call for op in (self.insert, self.take) if op is not None]
        return max(calls) if self.take is not None else AFTER

    @property
    def last(self) -> int:
        return self.take.ret - 1 if self.take is not None else AFTER

    @property
    def put(self) -> int:
        """The last slot in which it can be put in."""
        return self.insert.ret - 1 if self.insert is not None else NEVER

    @property
    def operations(self) -> list[Operation]:
        return [op for op in (self.insert, self.take) if op is not None]


class _Placed(NamedTuple):
    element: _Element
    taken: int


def decide(
    operations: Sequence[Operation], inserts: Collection[str], rank_of: Callable[[Any], Any]
) -> Decision | None:
    """The verdict on inserts and takes; None where elements are not all different, or where it
    depends on what takes of unknown outcome took. A higher `rank_of` comes out first."""
    elements: dict[Any, _Element] = {}
    for op in operations:
        if op.f in inserts:
            if op.value in elements:
                return None
            elements[op.value] = _Element(rank_of(op.value), op, None)
    found = []
    for op in operations:
        if op.f in inserts or not op.seen:
            continue
        if op.result is None:
            found.append(_Element(None, None, op))
            continue
        element = elements.get(op.result)
        if element is None:
            return Decision(None, (op,))
        if element.take is not None:
            return Decision(None, tuple(sorted((*element.operations, op), key=_call)))
        elements[op.result] = element._replace(take=op)
    happened = [e for e in elements.values() if e.take is not None or e.insert.outcome == "ok"]  # type: ignore[union-attr]
    placed, part = _place(happened, found)
    if part is None:
        return Decision(_order(placed))
    doubtful = any(op.f not in inserts and not op.seen for op in operations)
    return None if doubtful else Decision(None, tuple(sorted(part, key=_call)))


def _call(op: Operation) -> int:
    return op.call


def _place(
    elements: list[_Element], empties: list[_Element]
) -> tuple[list[_Placed], set[Operation] | None]:
    """The slot in which each element is taken; or, where that is impossible, the operations of a
    part for which it is."""
    by_rank: dict[Any, list[_Element]] = {}
    for element in elements:
        by_rank.setdefault(element.rank, []).append(element)
    groups = [by_rank[rank] for rank in sorted(by_rank, reverse=True)]
    blocked, placed = _Slots(), list[_Placed]()
    for group in (*groups, empties):
        own = []
        for element in group:
            slot = blocked.first_free(element.first)
            if slot > element.last:
                return placed, _cover(placed, element)
            own.append(_Placed(element, slot))
        for element, slot in own:
            if element.insert is not None:
                blocked.block(element.put + 1, slot - 1)
        placed += own
    return placed, None


def _cover(placed: list[_Placed], element: _Element) -> set[Operation]:
    """The element's operations, those of the elements that together block it all the time, and,
    where one of these is taken late, of those that block it."""
    part: set[Operation] = set()
    waiting = [(element, element.last)]
    while waiting:
        late, end = waiting.pop()
        if part.issuperset(late.operations):
            continue
        part.update(late.operations)
        slot = late.first
        higher = [p for p in placed if late.rank is None or p.element.rank > late.rank]
        while slot <= end:
            ways = [p for p in higher if p.element.put < slot < p.taken]
            if not ways:
                break
            widest = max(ways, key=lambda p: p.taken)
            if widest.element.take is None:
                part.update(widest.element.operations)
                break
            waiting.append((widest.element, widest.taken - 1))
            slot = widest.taken
    return part


def _order(placed: list[_Placed]) -> tuple[int, ...]:
    """The ids of all operations in the order of their slots."""
    points: list[tuple[int, int, int, int]] = []
    for number, (element, slot) in enumerate(placed):
        insert, take = element.insert, element.take
        at_once = insert is not None and slot <= element.put
        if insert is not None:
            points.append(
                (slot, 1, 2 * number, insert.id) if at_once else (element.put, 2, 0, insert.id)
            )
        if take is not None:
            phase = 0 if insert is not None and not at_once else 1
            points.append((slot, phase, 2 * number + 1, take.id))
    return tuple(point[3] for point in sorted(points))


class _Slots:
    """Ranges of slots, disjoint and in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def first_free(self, slot: int) -> int:
        """The first slot from this one on that no range covers."""
        at = bisect_right(self._starts, slot) - 1
        return self._ends[at] + 1 if at >= 0 and self._ends[at] >= slot else slot

    def block(self, start: int, end: int) -> None:
        if start > end:
            return
        low, high = bisect_left(self._ends, start - 1), bisect_right(self._starts, end + 1)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
