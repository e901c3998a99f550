"""unordered-queue: a queue that gives its elements in any order.

enqueue v, dequeue -> any element, or null from an empty queue, drain -> all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from histories.events import Json
from histories.models._bag import Level, bag_of, owing, with_element, without
from histories.models._bag_rule import decide
from histories.models.interface import ANY, ILLEGAL, LIST, Decision, Signature, State
from histories.models.queue import TAKE
from histories.models.set import ELEMENTS
from histories.operations import Operation, elements_of, freeze


class UnorderedQueue:
    """The state is a bag of one level."""

    name = "unordered-queue"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        "enqueue": Signature(ANY, ANY),
        "dequeue": TAKE,
        "drain": Signature(ANY, ELEMENTS),
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = bag_of((0, freeze(v)) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "enqueue":
            return with_element(state, 0, operation.value)
        if operation.f == "drain":
            return () if not operation.seen or _holds(state, operation.result) else ILLEGAL
        if not operation.seen:
            return owing(state, 0)
        rest = without(state, 0, operation.result)
        if rest is not None:
            return rest
        return state if operation.result is None and not state else ILLEGAL

    def decide(self, operations: Sequence[Operation]) -> Decision | None:
        """The verdict where it needs no search."""
        if self._initial or any(op.f == "drain" for op in operations):
            return None
        return decide(operations, ("enqueue",), lambda _: 0)


def _holds(state: tuple[Level, ...], result: Any) -> bool:
    """Whether a queue in this state can hold exactly these elements."""
    drained = result if isinstance(result, frozenset) else elements_of(result) or ()
    if not state:
        return not drained
    there, got = dict(state[0].counts), Counter(drained)
    return len(drained) == state[0].left and all(there.get(v, 0) >= n for v, n in got.items())


MODEL = UnorderedQueue
