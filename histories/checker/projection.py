"""Evidence about lists, cut down to the few elements that matter.

A log only grows, so all its elements occur in every later read, and hardly any append can be left
out of a failing part as it is. But an order that explains a list explains each choice of its
elements as well: leave out the other appends, and the other elements in every read, and it still
explains what is left. So where no order explains the rest, none explains the whole.

Offsets that appends returned are wrong among fewer elements; they are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from histories.budget import Budget
from histories.models import Model
from histories.operations import Operation, elements_of

Unit = TypeVar("Unit")
Part = list[Operation]


def delta_debug(
    part: Part,
    units: list[Unit],
    without: Callable[[Part, Sequence[Unit]], Part],
    fails: Callable[[Part], bool],
    budget: Budget,
) -> Part:
    """The part without as many of the units as can be left out of it in turn, halves first (Zeller,
    Hildebrandt 2002); the result so far when the time is up."""
    size = max(1, len(units) // 2)
    while units and not budget.is_over:
        position, removed = 0, False
        while position < len(units) and not budget.is_over:
            rest = without(part, units[position : position + size])
            if fails(rest):
                part, removed = rest, True
                del units[position : position + size]
            else:
                position += size
        if size == 1 and not removed:
            break
        size = max(1, size // 2)
    return part


def elements(model: Model, part: Iterable[Operation]) -> list[Hashable]:
    """The elements appended or read, where the part consists of appends and of reads of lists that
    began empty; otherwise nothing."""
    found: dict[Hashable, None] = {}
    for op in part:
        if op.f == "append" and model.name in ("log", "kv"):
            found[op.value] = None
        elif op.f in model.reads and (read := elements_of(op.result)) is not None:
            found.update(dict.fromkeys(read))
        else:
            return []
    return [] if model.initial() else list(found)


def without_elements(part: Part, left_out: Sequence[Hashable]) -> Part:
    """The part as if these elements had never been appended."""
    gone = frozenset(left_out)
    rest = []
    for op in part:
        if op.f == "append":
            if op.value not in gone:
                rest.append(op._replace(seen=False, observed=False) if op.observed else op)
        elif op.result:
            kept = tuple(value for value in op.result if value not in gone)
            rest.append(op._replace(result=kept or None))
        else:
            rest.append(op)
    return rest


def only_elements(part: Part, whole: Iterable[Operation]) -> tuple[Part, int]:
    """The part with nothing in its lists but what is appended in it, or the one element that is
    never appended in the whole; and how many other elements they held."""
    appended = {op.value for op in part if op.f == "append"}
    before = held(part)
    if not appended:
        known = {op.value for op in whole if op.f == "append"}
        read = [value for op in part for value in op.result or ()]
        appended = set(next(([value] for value in read if value not in known), []))
    part = without_elements(part, list(before - appended))
    return part, len(before) - len(held(part))


def held(part: Iterable[Operation]) -> set[Hashable]:
    """Every element that some read of the part holds."""
    return {value for op in part if op.f != "append" for value in op.result or ()}


def doubled_first(part: Iterable[Operation], found: list[Hashable]) -> list[Hashable]:
    """The elements, beginning with those that a read holds twice: they are the likely cause."""
    twice: set[Hashable] = set()
    for op in part:
        if op.f != "append" and op.result:
            twice.update(value for value, n in Counter(op.result).items() if n > 1)
    return sorted(found, key=lambda value: value not in twice)
