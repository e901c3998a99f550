"""priority-queue: insert, delete-min, delete-max.

insert v, delete-min -> the least v, delete-max -> the greatest; null when empty.

An element is a number, its own priority, or [priority, item]. Also known as enqueue, add; dequeue,
poll, extract-min; extract-max. Of elements of one priority any may come out first.

Where every element is different and the takes are all of one end, a rule decides without a search
(`_bag_rule.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from histories.events import Json
from histories.models._bag import bag_of, owing, with_element, without
from histories.models._bag_rule import decide
from histories.models.interface import ANY, ILLEGAL, LIST, Decision, Kind, Signature, State
from histories.models.queue import TAKE
from histories.operations import Operation, elements_of, freeze

INSERTS: Final = frozenset(("insert", "enqueue", "add"))
LEAST: Final = frozenset(("delete-min", "extract-min", "dequeue", "poll"))
GREATEST: Final = frozenset(("delete-max", "extract-max"))


def _is_element(value: Any) -> bool:
    if isinstance(value, tuple):
        listed = elements_of(value)
        return bool(listed) and len(value) == 2 and isinstance(value[0], (int, float))
    return isinstance(value, (int, float))


ELEMENT: Final = Kind("a number, or [priority, item]", _is_element)
TAKEN: Final = Kind("a number, [priority, item], or null", lambda v: v is None or _is_element(v))


def priority_of(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


class PriorityQueue:
    """The state is a bag."""

    name = "priority-queue"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        **dict.fromkeys(sorted(INSERTS), Signature(ELEMENT, ANY)),
        **dict.fromkeys(sorted(LEAST | GREATEST), TAKE._replace(answer=TAKEN)),
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = bag_of((priority_of(v), v) for v in map(freeze, initial or ()))

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f in INSERTS:
            return with_element(state, priority_of(operation.value), operation.value)
        if not state:
            return state if not operation.seen or operation.result is None else ILLEGAL
        first = state[0 if operation.f in LEAST else -1].priority
        if not operation.seen:
            return owing(state, first)
        if operation.result is None or priority_of(operation.result) != first:
            return ILLEGAL
        rest = without(state, first, operation.result)
        return ILLEGAL if rest is None else rest

    def decide(self, operations: Sequence[Operation]) -> Decision | None:
        """The verdict where it needs no search."""
        takes = {op.f for op in operations} - INSERTS
        if self._initial or (takes & LEAST and takes & GREATEST):
            return None
        sign = 1 if takes & GREATEST else -1
        return decide(operations, INSERTS, lambda value: sign * priority_of(value))


MODEL = PriorityQueue
