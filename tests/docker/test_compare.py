"""The comparison of the protocols in containers: links that are really longer, counters of real
nodes, nodes that are really dead."""

from __future__ import annotations

import pytest

from harness.bench.compare import collisions, cost, latency, quorums, regions, survival
from harness.bench.compare.settings import Settings

pytestmark = pytest.mark.docker

RAFT = Settings(nodes=3, delay_us=40_000, protocols=("raft",), on="docker")


@pytest.mark.parametrize(("row", "delays"), [("latency.write", 4), ("latency.read-lease", 2)])
def test_latencies_are_whole_numbers_of_one_way_delays(row: str, delays: int) -> None:
    (column,) = RAFT.columns
    (kind,) = (kind for kind in latency.KINDS if kind.row == row)
    line = latency.lines_of(RAFT, column, [kind])[kind]
    assert line is not None and line.slope == pytest.approx(delays, abs=0.5)


def test_messages_of_one_write() -> None:
    (column,) = RAFT.columns
    (write,) = (kind for kind in cost.KINDS if kind.row == "cost.write")
    assert cost.cost_of(RAFT, column, write).total == pytest.approx(4, abs=1)


def test_deaths_survived() -> None:
    (column,) = RAFT.columns
    assert survival.deaths_survived(RAFT, column, spared=False) == (1, 1)


def test_a_majority_decides_and_a_majority_elects() -> None:
    (column,) = RAFT.columns
    assert min(quorums.phase2(RAFT, column)) == 2
    assert quorums.phase1(RAFT, column) == 2


def test_commands_at_the_same_moment_miss_the_fast_path_only_on_one_key() -> None:
    settings = Settings(nodes=3, delay_us=50_000, protocols=("epaxos",), on="docker")
    (column,) = settings.columns
    apart = collisions.run_of(settings, column, 100, commands=12, same_key=False)
    assert (apart.fast, apart.slow, apart.missing) == (12, 0, 0)
    together = collisions.run_of(settings, column, 100, commands=12)
    assert together.missing == 0
    assert together.slow > 0


def test_a_region_is_served_as_its_distance_says() -> None:
    settings = Settings(nodes=5, protocols=("epaxos",), on="docker")
    (column,) = settings.columns
    found = regions.latencies_us(settings, column)
    tokyo_us, expected_us = found["Tokyo"], regions.expected_us(column, "Tokyo")
    one_more_us = regions.nearest_us("Tokyo", regions.phase2_size(column) + 1)
    assert expected_us < one_more_us
    assert tokyo_us is not None and expected_us < tokyo_us < one_more_us
