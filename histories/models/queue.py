"""queue: first in, first out: enqueue, dequeue, drain.

enqueue v, dequeue -> v, or null from an empty queue, drain -> all.

A dequeue that failed with the error "empty" is one that answered null. A drain is one step here;
one that overlaps other takes is split up before (`histories.drains`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, LIST, LIST_OR_NULL, Signature, State
from histories.operations import Operation, elements_of, freeze

TAKE = Signature(ANY, ANY)
DRAIN = Signature(ANY, LIST_OR_NULL)


class Queue:
    name = "queue"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        "enqueue": Signature(ANY, ANY),
        "dequeue": TAKE,
        "drain": DRAIN,
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = tuple(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "enqueue":
            return (*state, operation.value)
        if operation.f == "drain":
            same = not operation.seen or elements_of(operation.result) == state
            return () if same else ILLEGAL
        if operation.seen and operation.result != (state[0] if state else None):
            return ILLEGAL
        return state[1:]


MODEL = Queue
