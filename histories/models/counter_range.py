"""counter-range: a counter whose reads need only lie in a range.

As Jepsen's counter checker has it.

A read is right where it is at least the sum of what was surely added before it was called, and at
most the sum of what had begun to be added when it returned (what is subtracted: the other way
round). Two reads may see additions in different orders, so this is less than linearizability; the
rule is `decide`, and `step` constrains nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from histories.events import Json
from histories.models.counter import Counter
from histories.models.interface import Decision, Signature, State
from histories.operations import Operation


class CounterRange:
    name = "counter-range"
    begins = Counter.begins
    operations: ClassVar[Mapping[str, Signature]] = Counter.operations
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = 0 if initial is None else int(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        return state

    def decide(self, operations: Sequence[Operation]) -> Decision:
        """The first read that is out of its range, with all additions; else any order."""
        changes = [(op, amount(op)) for op in operations if op.f != "read"]
        surely = [(op, n) for op, n in changes if op.outcome == "ok"]
        up, down = _Sums(changes, 1), _Sums(changes, -1)
        sure_up, sure_down = _Sums(surely, 1, ended=True), _Sums(surely, -1, ended=True)
        for op in sorted(operations, key=lambda op: op.ret):
            if op.f != "read" or not op.seen:
                continue
            least = self._initial + sure_up.before(op.call) - down.before(op.ret)
            most = self._initial + up.before(op.ret) - sure_down.before(op.call)
            low, high = op.result if isinstance(op.result, tuple) else (op.result, op.result)
            if high < least or low > most:
                part = [other for other, _ in changes if other.call < op.ret] + [op]
                return Decision(None, tuple(sorted(part, key=lambda op: op.call)), (least, most))
        return Decision(tuple(op.id for op in operations))


class _Sums:
    """Sums of the amounts of one sign, by the positions at which they are called, or `ended`."""

    def __init__(
        self, changes: Sequence[tuple[Operation, int]], sign: int, *, ended: bool = False
    ) -> None:
        moments = sorted(
            (op.ret if ended else op.call, sign * n) for op, n in changes if sign * n > 0
        )
        self._moments = [moment for moment, _ in moments]
        self._sums = [0, *accumulate(n for _, n in moments)]

    def before(self, moment: int) -> int:
        return self._sums[bisect_left(self._moments, moment)]


def amount(op: Operation) -> int:
    """What an addition adds."""
    value = 1 if op.value is None else int(op.value)
    return -value if op.f == "dec" else value


MODEL = CounterRange
