"""Evidence: the smallest failing part of a history that is cheap to find, and a plain sentence.

The part must be unorderable by itself *and* because the whole is: leaving out an operation must
never create the failure. These may be left out:

- everything called after the point of failure; what returns after it becomes an open operation
  (unless the failure depends on what it returned later);
- an operation that changes nothing (a read, a compare-and-set that did not match);
- for registers: all that writes or sees one value, together, where no compare-and-set failed
  without saying what it saw; a compare-and-set from that value then counts as a write (see
  `evidence`);
- for sets, queues and stacks: all operations on one element together;
- for lists: an element, out of all reads that hold it (`projection.py`).

Each step is kept only if the rest still fails, so the result fails by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from histories.budget import Budget
from histories.checker.anomalies import describe
from histories.checker.descriptions import READS, described, saw, wrote
from histories.checker.evidence import fails_alone
from histories.checker.projection import (
    delta_debug,
    doubled_first,
    elements,
    held,
    only_elements,
    without_elements,
)
from histories.checker.verdict import Evidence
from histories.models import Model
from histories.operations import NEVER, Operation

ELEMENTS = frozenset(("queue", "stack", "set"))
REGISTERS = frozenset(("register", "cas-register"))
ELEMENTS_SHOWN = 6
"""Lists of so few elements are short enough to be shown whole."""


def explain(
    model: Model,
    operations: Sequence[Operation],
    failed: Operation,
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]],
) -> Evidence:
    """The evidence that `operations` of one key fail when `failed` returns."""

    part = [op for op in cut_at(operations, failed) if _constrains(model, op)]
    if not fails_alone(model, part, operations, budget):
        part = [op for op in operations if _constrains(model, op)]
    return explain_part(model, operations, part, budget, failed_writes)


def explain_part(
    model: Model,
    operations: Sequence[Operation],
    part: list[Operation],
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]],
) -> Evidence:
    """The same for a part of them that is known to fail by itself."""

    def fails(part: list[Operation]) -> bool:
        return fails_alone(model, part, operations, budget)

    minimal = fails(part)
    for units_of in (_classes, _unread):
        part = delta_debug(part, units_of(model, part), _without, fails, budget)
    part, left_out = fewer_elements(model, part, operations, budget)
    minimal = minimal and not budget.is_over
    return describe(
        model, part, operations, failed_writes, budget, minimal=minimal, left_out=left_out
    )


def explain_range(part: Sequence[Operation], bounds: tuple[int, int]) -> Evidence:
    """The evidence that the last read of a counter is outside its possible range."""
    read = max((op for op in part if op.f in READS), key=lambda op: op.ret)
    least, most = bounds
    fits = f"be {least}" if least == most else f"lie between {least} and {most}"
    return Evidence(
        anomaly="out-of-range",
        sentence=f"{described(read)}; by all that was added it must {fits}",
        operations=tuple(op._replace(id=i) for i, op in enumerate(part)),
        minimal=True,
    )


def fewer_elements(
    model: Model, part: list[Operation], whole: Sequence[Operation], budget: Budget
) -> tuple[list[Operation], int]:
    """A part about lists, reduced to the elements that matter, and how many others they held."""

    def fails(part: list[Operation]) -> bool:
        return fails_alone(model, part, whole, budget)

    units = elements(model, part)
    if len(units) <= ELEMENTS_SHOWN:
        return part, 0
    units = doubled_first(part, units)
    fewer = _one_element(part, units, fails, budget)
    if fewer is None:
        fewer = delta_debug(part, units[::-1], without_elements, fails, budget)
    if fewer is part:
        return part, 0
    fewer = delta_debug(fewer, _unread(model, fewer), _without, fails, budget)
    return fewer, len(held(part) - held(fewer))


def own_elements(
    model: Model, part: list[Operation], whole: Sequence[Operation], budget: Budget
) -> tuple[list[Operation], int]:
    """The same for the few operations that the kernel names where a list is wrong: the elements are
    those that these operations append, or the one that was never appended."""

    def fails(part: list[Operation]) -> bool:
        return fails_alone(model, part, whole, budget)

    shown = held(part)
    if len(shown) <= ELEMENTS_SHOWN:
        ids = {op.id for op in part}
        own = [op for op in whole if op.id in ids or (op.f == "append" and op.value in shown)]
        part, left_out = sorted(own, key=lambda op: op.call), 0
    else:
        part, left_out = only_elements(part, whole)
    return delta_debug(part, _unread(model, part), _without, fails, budget), left_out


def _one_element(
    part: list[Operation],
    units: list[Hashable],
    fails: Callable[[list[Operation]], bool],
    budget: Budget,
) -> list[Operation] | None:
    """The part with one element only, if one alone already fails: it usually does, and checking
    this is cheap, however hard the whole is to search."""
    for element in units:
        if budget.is_over:
            break
        alone = without_elements(part, [unit for unit in units if unit != element])
        if fails(alone):
            return alone
    return None


def _without(part: list[Operation], units: Sequence[frozenset[int]]) -> list[Operation]:
    gone = frozenset().union(*units)
    return [op for op in part if op.id not in gone]


def cut_at(operations: Iterable[Operation], failed: Operation) -> list[Operation]:
    """The history up to the return of `failed`: what is open at that point has an unknown
    outcome."""
    return [
        op if op.ret <= failed.ret else op._replace(outcome="info", ret=NEVER, seen=False)
        for op in operations
        if op.call < failed.ret
    ]


def _constrains(model: Model, op: Operation) -> bool:
    return not (op.outcome == "info" and op.f in model.reads)


def _unread(model: Model, part: list[Operation]) -> list[frozenset[int]]:
    """Operations that change nothing, and operations that may never have happened."""
    return [frozenset((op.id,)) for op in part if op.f in model.reads or op.outcome == "mismatch"]


def _classes(model: Model, part: list[Operation]) -> list[frozenset[int]]:
    """Operations that may be left out together, grouped by their value."""
    is_register = model.name in REGISTERS or (
        model.name == "kv" and not any(op.f == "append" for op in part)
    )
    if is_register:
        blind = [op for op in part if op.outcome == "mismatch" and not op.seen]
        return [] if blind else _register_classes(model, part)
    if model.name in ELEMENTS and not any(op.f in ("read", "drain") for op in part):
        return _element_classes(model, part)
    return []


def _register_classes(model: Model, part: list[Operation]) -> list[frozenset[int]]:
    """One class per value: the operations that write or see it. The initial value has none."""
    classes: dict[object, set[int]] = {}
    for op in part:
        for value in wrote(op) or saw(op):
            classes.setdefault(value, set()).add(op.id)
    classes.pop(model.initial(), None)
    return [frozenset(ids) for ids in classes.values()]


def _element_classes(model: Model, part: list[Operation]) -> list[frozenset[int]]:
    """One class per element; an operation that took an unknown element belongs to none."""
    if any(op.outcome == "info" and op.f in ("dequeue", "pop") for op in part):
        return []
    classes: dict[object, set[int]] = {}
    for op in part:
        if op.f in ("dequeue", "pop"):
            if op.result is not None:
                classes.setdefault(op.result, set()).add(op.id)
        else:
            classes.setdefault(op.value, set()).add(op.id)
    return [frozenset(ids) for ids in classes.values()]
