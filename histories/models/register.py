"""register: one value: read, write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, READ, WRITE, Signature, State
from histories.operations import Operation, freeze


class Register:
    """`initial` is what it holds at first."""

    name = "register"
    begins = ANY
    operations: ClassVar[Mapping[str, Signature]] = {"read": READ, "write": WRITE}
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = freeze(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "read":
            return step_read(state, operation)
        return operation.value


def step_read(state: Any, operation: Operation) -> Any:
    """A read of the whole state."""
    return state if not operation.seen or operation.result == state else ILLEGAL


MODEL = Register
