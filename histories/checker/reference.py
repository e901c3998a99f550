"""The reference: every rule of the checker once, in plain Python, one partition after the other.

It is the oracle of the differential tests, and what runs where the kernel could not be built or
does not know the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from histories.budget import Budget, LimitReached
from histories.checker.certificate import BadCertificate, replay
from histories.checker.explain import explain, explain_part, explain_range
from histories.checker.reference_search import SearchResult, search
from histories.checker.verdict import PartitionVerdict
from histories.checker.zones import zones
from histories.models import Decision, Model
from histories.operations import Operation


def partitions(operations: Sequence[Operation]) -> dict[str | None, list[Operation]]:
    """The operations by key, in the order in which the keys first appear."""
    found: dict[str | None, list[Operation]] = {}
    for op in operations:
        found.setdefault(op.key, []).append(op)
    return found


def judge(
    operations: Sequence[Operation],
    model: Model,
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]] = frozenset(),
) -> tuple[PartitionVerdict, ...]:
    """The verdict on every partition. `failed_writes` are the (key, value) of writes that did not
    happen: a read that returns one is a dirty read."""
    return tuple(
        judge_partition(key, part, model, budget, failed_writes)
        for key, part in partitions(operations).items()
    )


def judge_partition(
    key: str | None,
    operations: Sequence[Operation],
    model: Model,
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]] = frozenset(),
) -> PartitionVerdict:
    """The verdict on the operations of one key."""
    try:
        budget.check()
    except LimitReached as reached:
        return PartitionVerdict(
            key=key,
            outcome="unknown",
            operations=len(operations),
            method="search",
            judged=0,
            reason=str(reached),
        )
    by_rule = _by_rule(key, operations, model, budget, failed_writes)
    if by_rule is not None:
        return by_rule
    by_zones = _by_zones(key, operations, model, budget, failed_writes)
    if by_zones is not None:
        return by_zones
    hint = hinted(model, operations)
    found = hint if hint is not None else search(model, operations, budget)
    calls = {op.id: op.call for op in operations}
    evidence = None
    if found.outcome == "invalid":
        failed = next(op for op in operations if op.id == found.failed_at)
        limit = budget.within(EXPLAIN_SECONDS)
        evidence = explain(model, operations, failed, limit, failed_writes)
    return PartitionVerdict(
        key=key,
        outcome=found.outcome,
        operations=len(operations),
        method="search" if hint is None else "hint",
        judged=len(operations) if found.outcome == "valid" else found.judged,
        evidence=evidence,
        linearization=tuple(calls[i] for i in found.order) if found.outcome == "valid" else None,
        reason=found.reason,
    )


def _by_rule(
    key: str | None,
    operations: Sequence[Operation],
    model: Model,
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]],
) -> PartitionVerdict | None:
    """The verdict of the model's own rule, where it has one that can tell."""
    decide = getattr(model, "decide", None)
    found: Decision | None = decide(operations) if decide is not None else None
    if found is None:
        return None
    evidence = None
    if found.order is None:
        limit = budget.within(EXPLAIN_SECONDS)
        if found.bounds is not None:
            evidence = explain_range(found.part, found.bounds)
        else:
            part = list(found.part)
            evidence = explain_part(model, operations, part, limit, failed_writes)
    calls = {op.id: op.call for op in operations}
    return PartitionVerdict(
        key=key,
        outcome="invalid" if found.order is None else "valid",
        operations=len(operations),
        method=model.name,
        judged=len(operations),
        evidence=evidence,
        linearization=None if found.order is None else tuple(calls[i] for i in found.order),
    )


def hinted(model: Model, operations: Sequence[Operation]) -> SearchResult | None:
    """The order that the system itself reported, if it covers every completed operation and is a
    linearization. It may save the search; an order that the verifier rejects is ignored."""
    placed = [op for op in operations if op.order is not None]
    if not placed or any(op.order is None and op.outcome != "info" for op in operations):
        return None
    placed.sort(key=lambda op: (op.order, op.f in model.reads or op.outcome == "mismatch", op.call))
    try:
        replay(model, operations, [op.call for op in placed])
    except BadCertificate:
        return None
    return SearchResult("valid", order=tuple(op.id for op in placed), judged=len(operations))


def _by_zones(
    key: str | None,
    operations: Sequence[Operation],
    model: Model,
    budget: Budget,
    failed_writes: frozenset[tuple[str | None, object]],
) -> PartitionVerdict | None:
    """The verdict by zones, where they decide."""
    found = zones(model.initial(), operations) if model.name in REGISTERS else None
    if found is None:
        return None
    calls = {op.id: op.call for op in operations}
    evidence = None
    if found.order is None:
        limit = budget.within(EXPLAIN_SECONDS)
        evidence = explain_part(model, operations, list(found.part), limit, failed_writes)
    return PartitionVerdict(
        key=key,
        outcome="invalid" if found.order is None else "valid",
        operations=len(operations),
        method="zones",
        judged=len(operations),
        evidence=evidence,
        linearization=None if found.order is None else tuple(calls[i] for i in found.order),
    )


REGISTERS = ("register", "cas-register", "kv")

EXPLAIN_SECONDS = 5.0
"""The time limit for minimising an invalid partition; unminimised evidence is correct, only
longer."""
