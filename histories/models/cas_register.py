"""cas-register: one value: read, write, compare-and-set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, CAS, ILLEGAL, READ, WRITE, Signature, State
from histories.models.register import step_read
from histories.operations import Operation, freeze


class CasRegister:
    """`initial` is what it holds at first; cas takes [expected, new]."""

    name = "cas-register"
    begins = ANY
    operations: ClassVar[Mapping[str, Signature]] = {"read": READ, "write": WRITE, "cas": CAS}
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = freeze(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "read":
            return step_read(state, operation)
        if operation.f == "write":
            return operation.value
        return step_cas(state, operation)


def step_cas(state: Any, operation: Operation) -> Any:
    """Compare-and-set: ok matched, mismatch did not (and may say what it saw), info may have."""
    expected, new = operation.value
    if operation.outcome == "mismatch":
        if operation.seen and operation.result != state:
            return ILLEGAL
        return ILLEGAL if expected == state else state
    if expected == state:
        return new
    return ILLEGAL if operation.outcome == "ok" else state


MODEL = CasRegister
