"""The kernel, the reference and the enumeration must agree, on every history of every model.

ANTIPAXOS_DIFFERENTIAL says how many histories of each model are tried.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import pytest

from histories.budget import UNLIMITED
from histories.checker import check
from histories.checker.certificate import replay
from histories.checker.compiled import MODELS as KERNEL
from histories.checker.compiled import available
from histories.checker.evidence import fails_alone
from histories.checker.reference import judge_partition
from histories.checker.reference_search import search
from histories.errors import UnknownOperation
from histories.models import MODELS, Model, model_named, validate
from histories.models.interface import ANY
from histories.operations import Operation
from tests.histories.generating import history, in_range, linearizable, operations_of

COUNT = int(os.environ.get("ANTIPAXOS_DIFFERENTIAL", "2000"))

needs_kernel = pytest.mark.skipif(not available(), reason="the kernel is not built here")


@pytest.mark.parametrize("name", MODELS)
@needs_kernel
def test_kernel_reference_and_enumeration_agree(name: str) -> None:
    model = model_named(name)
    outcomes = {"valid": 0, "invalid": 0}
    refused = by_reference = 0
    for seed in range(COUNT):
        events = history(name, seed, largest=6 if seed % 8 else 10, junk=True)
        operations = operations_of(name, events)
        if not operations:
            continue
        if why := refusal(model, operations):
            for kernel in (True, False):
                with pytest.raises(UnknownOperation, match=re.escape(why)):
                    check(events, model=name, kernel=kernel)
            refused += 1
            continue
        truth = "valid" if linearizable(model, operations) else "invalid"
        verdict = check(events, model=name, linearization=True)
        assert verdict.outcome == truth, (name, seed)
        by_reference += verdict.checker != "kernel"
        if seed % 4 == 0:
            if name != "counter-range":  # its rule requires more than its steps
                assert search(model, operations).outcome == truth, (name, seed)
            assert judge_partition(None, operations, model, UNLIMITED).outcome == truth, (
                name,
                seed,
            )
        part = verdict.partitions[0]
        if truth == "valid":
            replay(model, operations, part.linearization or ())
        else:
            assert part.evidence is not None and part.evidence.minimal, (name, seed)
            if seed % 4 == 0:
                whole = operations
                assert is_violation(model, part.evidence.operations, whole), (name, seed)
        outcomes[truth] += 1
    assert name not in KERNEL or by_reference <= COUNT // 3
    if COUNT >= 1000:
        assert min(outcomes.values()) > COUNT // 50, "hardly any history of one of the two kinds"
        rare = ("kv", "queue", "unordered-queue")  # only deletes and drains
        signatures: Any = model.operations
        assert refused or name in rare or all(s.answer is ANY for s in signatures.values())


def is_violation(model: Model, part: Sequence[Operation], whole: list[Operation]) -> bool:
    """Whether the part by itself proves that the whole is not linearizable."""
    if model.name == "counter-range":
        return not in_range(list(part))
    return fails_alone(model, part, whole)


def refusal(model: Model, operations: list[Operation]) -> str | None:
    """Why the model refuses the operations."""
    try:
        validate(model, operations)
    except UnknownOperation as error:
        return error.message
    return None


@pytest.mark.parametrize("name", ["kv", "set", "queue"])
def test_partitions_are_judged_separately(name: str) -> None:
    model = model_named(name)
    for seed in range(300):
        events = history(name, seed, keys=3, largest=12)
        operations = operations_of(name, events)
        own = {op.key: [o for o in operations if o.key == op.key] for op in operations}
        truth = {key: linearizable(model, part) for key, part in own.items()}
        for kernel in (True, False):
            verdict = check(events, model=name, kernel=kernel)
            found = {part.key: part.outcome == "valid" for part in verdict.partitions}
            assert found == truth, (name, seed, kernel)


@pytest.mark.parametrize("name", MODELS)
def test_the_references_evidence_fails_by_itself(name: str) -> None:
    model = model_named(name)
    for seed in range(400):
        events = history(name, seed)
        verdict = check(events, model=name, kernel=False)
        operations = operations_of(name, events)
        for part in verdict.partitions:
            if part.outcome == "valid":
                replay(model, operations, part.linearization or ())
            else:
                assert part.evidence is not None
                assert is_violation(model, part.evidence.operations, operations), (name, seed)
