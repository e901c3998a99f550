"""The options of `antipaxos inject`, as faults."""

from __future__ import annotations

import pytest

from faults.kinds.delay import Delay
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from harness.errors import UsageError
from harness.inject import parse_options as parse
from harness.inject.parse_options import fault_for


def test_amounts_have_units() -> None:
    assert parse.time_us("50ms") == 50_000 and parse.time_us("-1.5h") == -5_400_000_000
    assert parse.size_kib("16MiB") == 16_384 and parse.rate_kbps("1.5mbit") == 1_500
    assert parse.percent("10%") == parse.percent(10) == parse.percent("10") == 10
    for reader in (parse.time_us, parse.size_kib, parse.rate_kbps, parse.percent):
        with pytest.raises(UsageError, match=r"'much%?' is not"):
            reader("much")


def test_without_other_containers_a_link_fault_affects_all_destinations() -> None:
    fault = fault_for("delay", "d", 2, delay_us=5)
    assert isinstance(fault, Delay)
    assert (fault.nodes, fault.direction, fault.clients, fault.links) == ((1, 2), "out", True, ())
    fault = fault_for("delay", "d", 2, 1, direction="both", delay_us=5)
    assert isinstance(fault, Delay) and not fault.clients
    assert sorted(fault.links) == [(1, 3), (2, 3), (3, 1), (3, 2)]
    fault = fault_for("delay", "d", 1, 2, direction="in", delay_us=5)
    assert isinstance(fault, Delay) and sorted(fault.links) == [(2, 1), (3, 1)]


def test_one_container_is_cut_from_all_hosts_and_several_from_one_another() -> None:
    alone = fault_for("partition", "p", 1)
    assert isinstance(alone, Loss) and (alone.percent, alone.direction) == (100, "both")
    first = fault_for("partition", "p", 3).resolve(1, (1, 2, 3))
    assert isinstance(first, Partition) and first.cut == ((1, 2), (1, 3), (2, 1), (3, 1))
    both = fault_for("partition", "p", 2, 1).resolve(1, (1, 2, 3))
    assert isinstance(both, Partition) and both.cut == ((1, 3), (2, 3), (3, 1), (3, 2))
    half = fault_for("partition", "p", 4, shape="halves")
    assert half.nodes == (1, 2)


def test_invalid_input_is_refused() -> None:
    for fields, words in (
        ({"kind": "flood"}, "no fault kind 'flood'"),
        ({"kind": "loss", "percent": 400}, "percent must be 1 to 100"),
        ({"kind": "loss", "percent": 4, "direction": "up"}, "no direction 'up'"),
        ({"kind": "partition", "shape": "bridge"}, "needs more than one container"),
        ({"kind": "partition", "count": 3, "shape": "star"}, "no partition shape 'star'"),
    ):
        with pytest.raises(UsageError, match=words):
            fault_for(**{"identity": "x", "count": 1, **fields})  # type: ignore[arg-type]
