"""A log of which both copies have lost the same record: a voter refuses to start, a learner starts
empty and is sent everything by the others."""

from __future__ import annotations

from typing import Any

import pytest

from faults.kinds.disk_damage import DiskDamage
from harness.run.simulation import SimulatedRun
from harness.runtimes.sim.disk import Disk
from tests.sim.runs import SECOND, run

PROTOCOLS = ("multi-paxos", "raft", "basic-paxos", "fast-paxos", "epaxos")
LEARNER = 4


@pytest.fixture(autouse=True)
def damage_of_both_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Disk.damage

    def of_both(disk: Disk, mode: str, seed: str) -> dict[str, Any]:
        done = original(disk, mode, seed)
        for copy in disk._copies:
            copy.bad.add(copy.size // 2)
        return done

    monkeypatch.setattr(Disk, "damage", of_both)


def damaged(protocol: str, node: int) -> SimulatedRun:
    fault = DiskDamage(
        id="f", start_us=SECOND, duration_us=SECOND, nodes=(node,), mode="flip", seed=1
    )
    return run(fault, target=protocol, nodes=4, learners=1)


def events_of(done: SimulatedRun, node: int) -> list[str]:
    return [event.what for event in done.runtime.world.processes.events if event.node == node]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_learner_is_sent_what_its_disk_has_lost(protocol: str) -> None:
    done = damaged(protocol, LEARNER)
    assert done.outcome == "valid", done.sentence
    first, crash, *rest = events_of(done, LEARNER)
    assert (first, crash, rest[-1]) == ("start", "crash", "start")
    if protocol in ("raft", "epaxos"):  # in the others a learner has too little on its disk
        assert rest == ["log-discarded", "start"]
    learner, voter = (done.runtime.world.nodes[node].protocol for node in (LEARNER, 1))
    assert learner is not None and voter is not None
    behind = voter.status().applied - learner.status().applied
    assert voter.status().applied > 100 and behind <= 2, "what was decided last is on its way"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_voter_refuses_to_start(protocol: str) -> None:
    done = damaged(protocol, 3)
    assert events_of(done, 3) == ["start", "crash", "refused"]
    assert not done.runtime.world.nodes[3].up
    assert done.outcome != "invalid", done.sentence
