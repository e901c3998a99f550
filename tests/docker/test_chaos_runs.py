"""Whole runs on real containers: a cluster, faults, a history, a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faults.planner import Schedule
from harness.run.config import RunConfig
from harness.run.run_sequence import execute
from tests.docker.conftest import Quiet, chaos

pytestmark = pytest.mark.docker


def test_a_correct_cluster_survives_every_kind_of_fault(tmp_path: Path) -> None:
    result = chaos(
        tmp_path,
        target="multi-paxos",
        faults=("partition", "kill", "pause", "clock"),
        time_us=12_000_000,
        rate=100.0,
        seed=7,
    )
    verdict = result.verdict
    assert verdict.outcome == "valid", verdict.reasons
    assert set(verdict.detectors().values()) == {"valid"}
    assert {fault["kind"] for fault in verdict.faults} == {"partition", "kill", "pause", "clock"}
    for fault in verdict.faults:
        assert fault["inject"]["verified"] and fault["heal"]["verified"]
        assert fault["inject"]["moments"]
    assert result.stats.outcomes["ok"] > 200

    folder = result.folder
    assert json.loads(folder.run.read_text())["seed"] == 7
    assert json.loads(folder.schedule.read_text())["faults"]
    assert json.loads(folder.verdict.read_text())["verdict"] == "valid"
    for node in range(1, 6):
        log = folder.node_log(node).read_text().splitlines()
        assert all("time" in line or "monotonic_ns" in line for line in log) and log
        assert folder.node_decided(node).stat().st_size > 0
        assert json.loads((folder.nodes / f"n{node}.status.json").read_text())["counters"]


FAMILY = {
    "basic-paxos": {},
    "flexible-paxos": {"options": {"q1": 4, "q2": 2}},
    "fast-paxos": {},
    "epaxos": {},
    "raft": {},
    "two-phase-commit": {},
}


@pytest.mark.parametrize("protocol", FAMILY)
def test_the_whole_family_survives_on_containers(protocol: str, tmp_path: Path) -> None:
    result = chaos(
        tmp_path,
        target=protocol,
        faults=("partition", "kill", "pause", "clock"),
        fault_gap_us=1_500_000,
        time_us=6_000_000,
        rate=60.0,
        seed=11,
        settings=FAMILY[protocol],
    )
    verdict = result.verdict
    assert verdict.outcome == "valid", verdict.reasons
    assert set(verdict.detectors().values()) == {"valid"}
    assert len(verdict.faults) >= 3
    assert result.stats.outcomes["ok"] > 50


def test_udp_between_the_nodes(tmp_path: Path) -> None:
    result = chaos(
        tmp_path,
        target="multi-paxos",
        nodes=3,
        faults=("partition",),
        time_us=4_000_000,
        transport="udp",
        seed=3,
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons


def test_no_faults_at_all(tmp_path: Path) -> None:
    result = execute(
        RunConfig.of(target="multi-paxos", nodes=3, time_us=2_000_000, on="docker"),
        tmp_path,
        Quiet(),
        schedule=Schedule(seed=0, duration_us=2_000_000, faults=()),
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    assert result.stats.outcomes["info"] == 0
