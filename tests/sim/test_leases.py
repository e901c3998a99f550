"""Leases hold while clocks run within the configured bound of one another, and break beyond it.

The worst case, three times in each run: the leader's clock is slow, the leader is cut off from the
others but not from its clients, and there are so many clients that some of them keep using it. With
a bound of 50 ms on a lease of 1 s the leader may be 5 % slow."""

from __future__ import annotations

import pytest

from faults.description import LEADER, Fault
from faults.kinds.drift import Drift
from faults.kinds.partition import Partition
from harness.run.simulation import SimulatedRun
from tests.sim.runs import SECOND, run

BOUND = {"lease_us": SECOND, "clock_drift_max_us": 50_000}
PATIENCE = {"election_min_us": 300_000, "election_max_us": 1_500_000}
PROTOCOLS = ("multi-paxos", "flexible-paxos", "raft")


def slow_leaders_cut_off(protocol: str, slow_ppm: int, seed: int) -> SimulatedRun:
    faults: list[Fault] = []
    for episode in range(3):
        start_us = SECOND // 2 + episode * 7 * SECOND // 2
        faults += [
            Drift(
                id=f"slow{episode}",
                start_us=start_us,
                duration_us=3 * SECOND,
                nodes=(LEADER,),
                ppm=-slow_ppm,
            ),
            Partition(
                id=f"cut{episode}",
                start_us=start_us + SECOND // 2,
                duration_us=2 * SECOND,
                nodes=(LEADER,),
                shape="isolate",
            ),
        ]
    return run(
        *faults,
        target=protocol,
        seed=seed,
        concurrency=200,
        rate=150.0,
        keys=1,
        time_us=11 * SECOND,
        settings={"reads": "lease", **BOUND, **PATIENCE},
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_leases_hold_within_the_bound(protocol: str) -> None:
    for seed in range(20):
        done = slow_leaders_cut_off(protocol, 45_000, seed)
        assert done.outcome == "valid", (seed, done.sentence)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_leases_break_beyond_the_bound(protocol: str) -> None:
    found = [slow_leaders_cut_off(protocol, 200_000, seed).symptoms for seed in range(2)]
    assert {str(symptom) for symptoms in found for symptom in symptoms} == {
        "linearizability: stale-read"
    }
