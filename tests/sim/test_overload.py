"""Clients that send several times the load that a cluster can handle, and give up early: when the
load ends, the cluster answers at once. If abandoned commands were served first, an overload would
sustain itself without any fault."""

from __future__ import annotations

import pytest

from tests.sim.runs import SECOND, run

SLOW = {"link_min_us": 60_000, "link_max_us": 120_000}
ONE_AT_A_TIME = {"batch_max": 1, "pipeline_max": 1}
PROTOCOLS = (
    "basic-paxos",
    "multi-paxos",
    "flexible-paxos",
    "fast-paxos",
    "epaxos",
    "raft",
    "two-phase-commit",
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_overload_does_not_outlive_the_load(protocol: str) -> None:
    done = run(
        target=protocol,
        concurrency=16,
        rate=200.0,
        keys=1,
        settings=ONE_AT_A_TIME,
        world=SLOW,
        time_us=8 * SECOND,
        operation_timeout_us=SECOND,
        liveness_timeout_us=5 * SECOND,
    )
    outcomes = done.stats.outcomes
    assert outcomes["info"] + outcomes["fail"] > 100, f"no overload: {outcomes}"
    assert done.outcome == "valid", done.sentence
    assert done.stats.not_live is None
