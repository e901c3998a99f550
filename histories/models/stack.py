"""stack: last in, first out: push, pop.

push v, pop -> v, or null from an empty stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, LIST, Signature, State
from histories.operations import Operation, freeze


class Stack:
    name = "stack"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        "push": Signature(ANY, ANY),
        "pop": Signature(ANY, ANY),
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = tuple(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "push":
            return (*state, operation.value)
        if operation.seen and operation.result != (state[-1] if state else None):
            return ILLEGAL
        return state[:-1]


MODEL = Stack
