"""The same seed and options give the same history, byte for byte, for any PYTHONHASHSEED."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults.schedule import schedule_from_json
from harness.run.config import RunConfig
from harness.run.simulation import simulate, simulate_and_judge
from harness.search.swarm import SweepPlan, draw
from histories.recorder import event_line

HASH_A_FEW = """
import hashlib
from harness.run.simulation import simulate_and_judge, states_of
from harness.search.swarm import SweepPlan, draw
from histories.recorder import event_line
plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 4_000_000})
digest = hashlib.sha256()
for seed in range(6):
    run = simulate_and_judge(*draw(plan, seed))
    for event in run.events:
        digest.update(event_line(event).encode())
    for node, decided in run.runtime.decided().items():
        digest.update(repr((node, decided)).encode())
    states = states_of(run.runtime)
    assert any(states.values())
    digest.update(repr(states).encode())
print(digest.hexdigest())
"""


ROOT = Path(__file__).parents[2]
OTHERS = ("/usr/bin/python3", "python3.11", "python3.12", "python3.13")


def digest(interpreter: str, hash_seed: str) -> str:
    """The digest of a few seeds in an interpreter. It gets the repository, and nothing
    installed."""
    done = subprocess.run(
        [interpreter, "-S", "-c", HASH_A_FEW],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def other_interpreters() -> dict[str, str]:
    """By version, the supported interpreters found here other than the one that runs this."""
    ask = "import sys; print(sys.version if sys.version_info >= (3, 11) else '')"
    found = {}
    for path in filter(None, map(shutil.which, OTHERS)):
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
        version = done.stdout.strip()
        if done.returncode == 0 and version and version != sys.version:
            found[version] = path
    return found


def test_histories_logs_and_states_are_the_same_under_two_hash_seeds() -> None:
    assert digest(sys.executable, "1") == digest(sys.executable, "4242")


def test_histories_and_logs_are_the_same_under_other_interpreters() -> None:
    others = other_interpreters()
    if not others:
        pytest.skip(f"no other interpreter from 3.11 on found here; looked for {', '.join(OTHERS)}")
    own = digest(sys.executable, "1")
    assert {version: digest(path, "1") for version, path in others.items()} == dict.fromkeys(
        others, own
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_is_recorded_is_enough_to_replay(seed: int) -> None:
    config, schedule = draw(SweepPlan(protocol="multi-paxos", fixed={"time_us": 3_000_000}), seed)
    first = simulate(config, schedule)
    second = simulate(RunConfig.from_json(config.to_json()), schedule_from_json(schedule.to_json()))
    assert list(map(event_line, first.events)) == list(map(event_line, second.events))


@pytest.mark.parametrize("seed", range(8))
def test_watching_every_message_changes_nothing(seed: int) -> None:
    """The slow path, which handles every send, draws and orders exactly as the fast one does."""
    config, schedule = draw(SweepPlan(protocol="multi-paxos", fixed={"time_us": 3_000_000}), seed)
    plain, traced = simulate(config, schedule), simulate(config, schedule, traced=True)
    assert plain.events == traced.events
    assert traced.runtime.record is not None and traced.runtime.record.messages
    assert plain.runtime.record is None


def test_another_seed_is_another_run() -> None:
    plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 2_000_000})
    assert simulate_and_judge(*draw(plan, 1)).events != simulate_and_judge(*draw(plan, 2)).events
