"""Replicas' states are compared in simulated runs: a snapshot that lacks something is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faults.kinds.stop import Stop
from harness.run.simulation import SimulatedRun, Symptom, states_of, write_folder
from harness.run.verdict import judge_folder
from histories.replica_states import compare
from tests.sim.runs import SECOND, run

AWAY = Stop(id="f1", start_us=SECOND, duration_us=2 * SECOND, nodes=(3,))
LOGS = ["basic-paxos", "multi-paxos", "flexible-paxos", "fast-paxos", "raft"]


def away(protocol: str, mutant: str | None = None, seed: int = 1) -> SimulatedRun:
    """Node 3 is away until the others no longer hold what it lacks, and gets a snapshot."""
    settings = {"snapshot_every": 10}
    done = run(AWAY, target=protocol, mutant=mutant, settings=settings, rate=100.0, seed=seed)
    notes = [note.what for _, note in done.runtime.world.nodes[3].notes]
    assert "snapshot-installed" in notes
    return done


@pytest.mark.parametrize("mutant", ["M7", "M7b"])  # of a read or a no-op M7b loses nothing
@pytest.mark.parametrize("protocol", LOGS)
def test_a_snapshot_installed_wrongly_is_found_with_evidence(protocol: str, mutant: str) -> None:
    runs = (away(protocol, mutant, seed) for seed in range(1, 9))
    done = next(done for done in runs if done.outcome == "invalid")
    assert Symptom("agreement", "state-divergence") in done.symptoms
    assert done.verdict is not None and done.verdict.agreement is not None
    finding = next(f for f in done.verdict.agreement.findings if f.kind == "state-divergence")
    states = states_of(done.runtime)
    assert finding.divergence is not None
    for told in (finding.divergence.one, finding.divergence.other):
        digests = {s.digest for s in states[told.node] if s.slot == finding.slot}
        assert told.digest in digests and told.digest in finding.sentence
    assert f"slot {finding.slot} " in finding.sentence


def test_epaxos_replicas_are_compared_too() -> None:
    assert Symptom("agreement", "state-divergence") in away("epaxos", "M7").symptoms
    assert away("epaxos").outcome == "valid"


@pytest.mark.parametrize("protocol", LOGS)
def test_a_correct_protocol_agrees(protocol: str) -> None:
    done = away(protocol)
    assert done.outcome == "valid"
    states = states_of(done.runtime)
    assert all(len(states[n]) > 2 for n in (1, 2, 3)) and compare(states).slots > 2


def test_the_folder_of_such_a_run_is_judged_alike(tmp_path: Path) -> None:
    folder = write_folder(away("multi-paxos", "M7"), tmp_path, "run")
    verdict = judge_folder(folder)
    assert verdict.outcome == "invalid" and verdict.exit_code == 1
    assert verdict.reasons[0].startswith("state after slot ")
    document = json.loads(folder.run.read_text())
    assert document["expected"]["state_digests"] is True
    assert {"n1.states.jsonl", "n2.states.jsonl", "n3.states.jsonl"} <= set(document["collected"])
