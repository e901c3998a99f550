"""kv: one key of a map: read, write, cas, append, delete.

One key of a key-value map: read, write, cas, append (to null or a list), delete.

This is the map of our own nodes. A key that is not there, or was deleted, holds null. A delete may
answer true or false: whether the key was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.cas_register import step_cas
from histories.models.interface import ANY, CAS, ILLEGAL, READ, WRITE, Kind, Signature, State
from histories.models.register import step_read
from histories.operations import Bool, Operation, elements_of, freeze

DELETED = Kind(
    "true, false, null, or how many keys were deleted (0 or 1)",
    lambda v: v is None or isinstance(v, Bool) or (v.__class__ is int and v in (0, 1)),
)
DELETE = Signature(ANY, DELETED)


class KeyValue:
    name = "kv"
    begins = ANY
    operations: ClassVar[Mapping[str, Signature]] = {
        "read": READ,
        "write": WRITE,
        "cas": CAS,
        "append": Signature(ANY, ANY),
        "delete": DELETE,
    }
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = freeze(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        match operation.f:
            case "read":
                return step_read(state, operation)
            case "write":
                return operation.value
            case "cas":
                return step_cas(state, operation)
            case "delete":
                return step_delete(state, operation)
        held = elements_of(state) if isinstance(state, tuple) or state is None else None
        if held is None:
            return ILLEGAL if operation.outcome == "ok" else state
        return (*held, operation.value)


def step_delete(state: Any, operation: Operation) -> Any:
    """Delete a key that holds `state` (null: not there); an answer says whether it was there."""
    if operation.seen and operation.result is not None:
        there = state is not None
        if there != bool(operation.result):
            return ILLEGAL
    return None


MODEL = KeyValue
