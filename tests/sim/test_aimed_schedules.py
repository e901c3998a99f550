"""Schedules of `examples/` that are aimed at one planted bug: they find it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.schedule_file import read_schedule
from harness.run.config import RunConfig
from harness.run.simulation import SimulatedRun, Symptom, simulate_and_judge

SCHEDULES = Path(__file__).parent.parent.parent / "examples" / "schedules"
NODES = (1, 2, 3, 4, 5)


def late_accept(protocol: str, mutant: str | None, seed: int) -> SimulatedRun:
    schedule = read_schedule(SCHEDULES / "late-accept.toml", NODES, seed)
    config = RunConfig.of(
        target=protocol,
        mutant=mutant,
        nodes=len(NODES),
        on="sim",
        seed=seed,
        time_us=schedule.duration_us,
        rate=20.0,
    )
    return simulate_and_judge(config, schedule)


@pytest.mark.parametrize("protocol", ["flexible-paxos", "multi-paxos"])
def test_a_vote_that_promises_nothing_is_found_by_a_late_accept(protocol: str) -> None:
    runs = (late_accept(protocol, "B4", seed) for seed in range(6))
    found = next(run for run in runs if run.outcome == "invalid")
    assert Symptom("agreement", "two-values") in found.symptoms
    assert all(late_accept(protocol, None, seed).outcome == "valid" for seed in range(3))
