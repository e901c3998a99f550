"""The comparison of the protocols in containers: links that are really longer, counters of real
nodes, nodes that are really dead."""

from __future__ import annotations

import pytest

from harness.bench.compare import cost, latency, survival
from harness.bench.compare.result import Section
from harness.bench.compare.settings import Settings

pytestmark = pytest.mark.docker

RAFT = Settings(nodes=3, delay_us=40_000, protocols=("raft",), on="docker")


def measured(section: Section, row: str) -> float | None:
    return next(r for r in section.rows if r.id == row).figures["raft"].measured


def test_latencies_are_whole_numbers_of_one_way_delays() -> None:
    section = latency.measure(RAFT)
    assert measured(section, "latency.write") == pytest.approx(4, abs=0.5)
    assert measured(section, "latency.read-lease") == pytest.approx(2, abs=0.5)


def test_messages_of_one_write() -> None:
    assert measured(cost.measure(RAFT), "cost.write") == pytest.approx(4, abs=1)


def test_deaths_survived() -> None:
    (column,) = RAFT.columns
    assert survival.deaths_survived(RAFT, column, spared=False) == (1, 1)
