"""The state of unordered queues and priority queues: a multiset of elements for each priority.

A take of unknown outcome takes any of the elements of its priority. Which one is left open: the
level then owes one element. This loses no possible order: such a take never returns, so whichever
element turns out to be missing, the take may have happened when that one was there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias


class Level(NamedTuple):
    """The elements of one priority, each with its count, and how many of them were taken without it
    being known which."""

    priority: Any
    counts: frozenset[tuple[Any, int]]
    owed: int

    @property
    def left(self) -> int:
        """The number of elements."""
        return sum(n for _, n in self.counts) - self.owed


Bag: TypeAlias = tuple[Level, ...]
"""The levels that hold something, by rising priority."""


def with_element(bag: Bag, priority: Any, value: Any) -> Bag:
    return _changed(bag, priority, value, 1)


def without(bag: Bag, priority: Any, value: Any) -> Bag | None:
    """The bag without one `value`; None where it has none."""
    level = level_of(bag, priority)
    if level is None or not any(value == held for held, _ in level.counts):
        return None
    return _changed(bag, priority, value, -1)


def owing(bag: Bag, priority: Any) -> Bag:
    """The bag after an unknown element of this priority was taken."""
    levels = [
        level._replace(owed=level.owed + 1) if level.priority == priority else level
        for level in bag
    ]
    return tuple(level for level in levels if level.left > 0)


def level_of(bag: Bag, priority: Any) -> Level | None:
    return next((level for level in bag if level.priority == priority), None)


def bag_of(elements: Iterable[tuple[Any, Any]]) -> Bag:
    """A bag of (priority, value)."""
    bag: Bag = ()
    for priority, value in elements:
        bag = with_element(bag, priority, value)
    return bag


def _changed(bag: Bag, priority: Any, value: Any, change: int) -> Bag:
    level = level_of(bag, priority) or Level(priority, frozenset(), 0)
    counts = dict(level.counts)
    counts[value] = counts.get(value, 0) + change
    kept = frozenset((held, n) for held, n in counts.items() if n)
    levels = [other for other in bag if other.priority != priority]
    if (level := level._replace(counts=kept)).left > 0:
        levels.append(level)
    return tuple(sorted(levels, key=lambda other: other.priority))
