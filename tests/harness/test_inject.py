"""The options of `antipaxos inject`, as faults."""

from __future__ import annotations

import pytest

from faults.kinds.delay import Delay
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from harness.cluster import Cluster
from harness.errors import UsageError
from harness.inject import parse_options as parse
from harness.inject.parse_options import fault_for


def test_amounts_have_units() -> None:
    assert parse.time_us("50ms") == 50_000 and parse.time_us("-1.5h") == -5_400_000_000
    assert parse.size_kib("16MiB") == 16_384 and parse.rate_kbps("1.5mbit") == 1_500
    assert parse.percent("10%") == parse.percent(10) == parse.percent("10.0") == 10
    for reader in (parse.time_us, parse.size_kib, parse.rate_kbps, parse.percent):
        with pytest.raises(UsageError, match=r"'much%?' is not"):
            reader("much")


@pytest.mark.parametrize("share", ["0.6%", "10.5", 0.5])
def test_a_share_that_would_be_rounded_is_refused(share: str | float) -> None:
    with pytest.raises(UsageError, match="is not a whole number of per cent"):
        parse.percent(share)


def test_no_amount_is_too_long_for_an_integer() -> None:
    digits = "9" * 400
    for amount in (
        parse.time_us(f"{digits}s"),
        parse.size_kib(f"{digits}kib"),
        parse.rate_kbps(f"{digits}gbit"),
        parse.percent(f"{digits}%"),
    ):
        assert amount == 10**18
    with pytest.raises(UsageError, match="percent must be 1 to 100"):
        fault_for("loss", "l", 1, percent=parse.percent(digits))


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
        ({"kind": "partition", "count": 2, "shape": "bridge"}, "among these 2 containers: it cuts"),
        ({"kind": "partition", "count": 3, "shape": "majorities-ring"}, "among these 3 containers"),
        ({"kind": "partition", "others": 1, "shape": "bridge"}, "among these 2 containers"),
    ):
        with pytest.raises(UsageError, match=words):
            fault_for(**{"identity": "x", "count": 1, **fields})  # type: ignore[arg-type]


def test_a_cluster_refuses_a_partition_that_cuts_nothing() -> None:
    cluster = Cluster("multi-paxos", nodes=3)
    with (
        pytest.raises(UsageError, match="would change nothing in this cluster: it cuts no link"),
        cluster.fault("partition", shape="majorities-ring", nodes=(1, 2, 3)),
    ):
        pytest.fail("it was injected")
