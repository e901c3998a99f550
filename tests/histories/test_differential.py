"""The kernel, the reference and the enumeration must agree, on every history of every model.

ANTIPAXOS_DIFFERENTIAL says how many histories of each model are tried.
"""

from __future__ import annotations

import os

import pytest

from histories.budget import UNLIMITED
from histories.checker import check
from histories.checker.certificate import replay
from histories.checker.compiled import available
from histories.checker.evidence import fails_alone
from histories.checker.reference import judge_partition
from histories.checker.search import search
from histories.models import MODELS, model_named
from histories.operations import pair
from tests.histories.making import history, linearizable

COUNT = int(os.environ.get("ANTIPAXOS_DIFFERENTIAL", "20000"))

needs_kernel = pytest.mark.skipif(not available(), reason="the kernel is not built here")


@pytest.mark.parametrize("name", MODELS)
@needs_kernel
def test_kernel_reference_and_enumeration_agree(name: str) -> None:
    model = model_named(name)
    outcomes = {"valid": 0, "invalid": 0}
    for seed in range(COUNT):
        events = history(name, seed, largest=6 if seed % 8 else 10)
        operations = pair(events)
        if not operations:
            continue
        truth = "valid" if linearizable(model, operations) else "invalid"
        verdict = check(events, model=name, linearization=True)
        assert verdict.outcome == truth, (name, seed)
        assert verdict.checker == "kernel", (name, seed)
        if seed % 4 == 0:
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
                assert fails_alone(model, part.evidence.operations, operations), (name, seed)
        outcomes[truth] += 1
    if COUNT >= 1000:
        assert min(outcomes.values()) > COUNT // 50, "hardly any history of one of the two kinds"


@pytest.mark.parametrize("name", ["kv", "set", "queue"])
def test_partitions_are_judged_apart(name: str) -> None:
    model = model_named(name)
    for seed in range(300):
        events = history(name, seed, keys=3, largest=12)
        operations = pair(events)
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
        operations = pair(events)
        for part in verdict.partitions:
            if part.outcome == "valid":
                replay(model, operations, part.linearization or ())
            else:
                assert part.evidence is not None
                assert fails_alone(model, part.evidence.operations, operations), (name, seed)
