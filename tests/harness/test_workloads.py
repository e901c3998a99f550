"""Workloads: the properties on which judging depends."""

from __future__ import annotations

import pytest

from harness.workloads import WORKLOADS, Operation
from histories.models import model_class


def written(operations: list[Operation]) -> list[object]:
    return [
        operation.value[1] if operation.f == "cas" else operation.value
        for operation in operations
        if operation.f != "read"
    ]


@pytest.mark.parametrize("name", WORKLOADS)
def test_its_model_knows_its_operations_and_written_values_are_unique(name: str) -> None:
    workload = WORKLOADS[name](3, 4)
    asked = [workload.next() for _ in range(500)] + workload.finale()
    asked += [workload.again(operation) for operation in asked[-8:]]
    assert {operation.f for operation in asked} <= set(model_class(workload.model).operations)
    assert {operation.key for operation in asked} == {"k0", "k1", "k2", "k3"}
    values = written(asked)
    assert len(values) == len(set(values)) > 200


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_seed_gives_the_same_operations(name: str) -> None:
    one, same, other = (WORKLOADS[name](seed, 3) for seed in (1, 1, 2))
    first = [one.next() for _ in range(50)]
    assert first == [same.next() for _ in range(50)]
    assert first != [other.next() for _ in range(50)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_last_round_reads_changes_and_reads_every_key(name: str) -> None:
    rounds = [operation.f == "read" for operation in WORKLOADS[name](0, 3).finale()]
    assert rounds == [True] * 3 + [False] * 3 + [True] * 3
