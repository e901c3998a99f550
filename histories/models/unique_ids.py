"""unique-ids: generate an id that was never given before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, LIST, Decision, Kind, Signature, State
from histories.operations import Operation, freeze

ID = Kind("an id, not null", lambda v: v is not None)


class UniqueIds:
    """`initial` lists ids that were given before. The state is the set of all that were given."""

    name = "unique-ids"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {"generate": Signature(ANY, ID)}
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = frozenset(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if not operation.seen:
            return state
        return ILLEGAL if operation.result in state else state | {operation.result}

    def decide(self, operations: Sequence[Operation]) -> Decision:
        """The two operations that were given one id; else any order."""
        by_id: dict[Any, Operation] = {}
        for op in operations:
            if not op.seen:
                continue
            if op.result in self._initial:
                return Decision(None, (op,))
            first = by_id.setdefault(op.result, op)
            if first is not op:
                return Decision(None, (first, op))
        return Decision(tuple(op.id for op in operations if op.outcome == "ok"))


MODEL = UniqueIds
