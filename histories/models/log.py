"""log: a list that only grows: append, read.

append v (with `observed`: its offset), read -> every element in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, LIST, LIST_OR_NULL, NUMBER, Signature, State
from histories.operations import Operation, elements_of, freeze


class Log:
    name = "log"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        "append": Signature(ANY, ANY, NUMBER),
        "read": Signature(ANY, LIST_OR_NULL),
    }
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = tuple(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "append":
            if operation.observed and operation.result != len(state):
                return ILLEGAL
            return (*state, operation.value)
        same = not operation.seen or elements_of(operation.result) == state
        return state if same else ILLEGAL


MODEL = Log
