"""The same seed and options give the same history, to the byte, whatever Python hashes with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faults.schedule import schedule_from_json
from harness.config import RunConfig
from harness.rehearsal import rehearse, simulate
from harness.swarm import SweepPlan, draw
from histories.recorder import event_line

HASH_A_FEW = """
import hashlib
from harness.rehearsal import rehearse
from harness.swarm import SweepPlan, draw
from histories.recorder import event_line
plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 4_000_000})
digest = hashlib.sha256()
for seed in range(6):
    run = rehearse(*draw(plan, seed))
    for event in run.events:
        digest.update(event_line(event).encode())
    for node, decided in run.runtime.decided().items():
        digest.update(repr((node, decided)).encode())
print(digest.hexdigest())
"""


def test_histories_and_logs_are_the_same_under_two_hash_seeds() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", HASH_A_FEW],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4242")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("seed", range(8))
def test_what_is_recorded_is_enough_to_replay(seed: int) -> None:
    config, schedule = draw(SweepPlan(protocol="multi-paxos", fixed={"time_us": 3_000_000}), seed)
    first = simulate(config, schedule)
    second = simulate(RunConfig.from_json(config.to_json()), schedule_from_json(schedule.to_json()))
    assert list(map(event_line, first.events)) == list(map(event_line, second.events))


@pytest.mark.parametrize("seed", range(8))
def test_watching_every_message_changes_nothing(seed: int) -> None:
    """The slow path, which looks at every send, draws and orders exactly as the fast one does."""
    config, schedule = draw(SweepPlan(protocol="multi-paxos", fixed={"time_us": 3_000_000}), seed)
    plain, traced = simulate(config, schedule), simulate(config, schedule, traced=True)
    assert plain.events == traced.events
    assert traced.runtime.trace and not plain.runtime.trace


def test_another_seed_is_another_run() -> None:
    plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 2_000_000})
    assert rehearse(*draw(plan, 1)).events != rehearse(*draw(plan, 2)).events
