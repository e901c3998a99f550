"""Disk faults in containers: each takes effect, is observed by a program beside the node, and is
healed; exactly what was not fsynced is lost; and everything is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest

from faults.description import Fault
from faults.kinds.clock import ClockJump
from faults.kinds.disk_damage import DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.slow_disk import SlowDisk
from faults.schedule import Schedule
from harness.run.config import RunConfig
from harness.run.run_sequence import RunResult, execute
from harness.runtimes.docker.engine import LABEL_ROLE
from tests.docker.conftest import Quiet, chaos

pytestmark = pytest.mark.docker
MS = 1_000
SECOND = 1_000_000
HOUR = 3600 * SECOND


def run(
    store: Path, *faults: Fault, target: str = "multi-paxos", mutant: str | None = None
) -> RunResult:
    """Three nodes under a schedule written by hand, with a second after the last fault."""
    time_us = max(fault.end_us for fault in faults) + SECOND
    schedule = Schedule(faults=faults, duration_us=time_us)
    config = RunConfig.of(
        target=target,
        mutant=mutant,
        nodes=3,
        time_us=time_us,
        rate=60.0,
        seed=5,
        on="docker",
        faults=tuple(schedule.kinds()),
    )
    return execute(config, store, Quiet(), schedule=schedule)


def evidence(result: RunResult) -> dict[str, Any]:
    """The evidence of the faults by id; each was verified after injecting and after healing."""
    faults = {fault["id"]: fault for fault in result.verdict.faults}
    for fault in faults.values():
        assert fault["inject"]["verified"] and fault["heal"]["verified"], fault
    return faults


def test_every_disk_fault_takes_effect_and_is_healed(tmp_path: Path) -> None:
    times = {"duration_us": 900 * MS}
    result = run(
        tmp_path,
        SlowDisk(id="slow", start_us=300 * MS, nodes=(1, 2), fsync_us=50 * MS, **times),
        DiskStall(id="stall", start_us=1_500 * MS, nodes=(3,), **times),
        DiskFull(id="full", start_us=3_000 * MS, nodes=(2,), left_bytes=0, **times),
        PowerCut(id="power", start_us=5_500 * MS, nodes=(1, 2, 3), **times),
        DiskDamage(id="damage", start_us=8_500 * MS, nodes=(1,), mode="flip", seed=1, **times),
    )
    seen = evidence(result)
    assert result.verdict.outcome == "valid", result.verdict.reasons
    slow = seen["slow"]["inject"]["evidence"]
    assert min(slow["n1"]["look"]["fsync_us"] + slow["n2"]["look"]["fsync_us"]) >= 50 * MS
    assert seen["stall"]["inject"]["evidence"]["n3"]["look"]["error"] == "hangs"
    assert seen["full"]["inject"]["evidence"]["n2"]["look"]["error"] == "ENOSPC"
    for node in ("n1", "n2", "n3"):
        canary = seen["power"]["heal"]["evidence"][node]["canary"]
        assert canary == {"error": None, "synced": 4096, "unsynced": 0}
    damaged = seen["damage"]["inject"]["evidence"]["n1"]
    assert damaged["file"].startswith("wal") and damaged["digest"][0] != damaged["digest"][1]
    log = (result.folder.path / "nodes" / "n1.log.jsonl").read_text()
    assert '"log-repaired"' in log and "damaged log" not in log


def test_faults_of_one_disk_add_up_and_all_are_proven(tmp_path: Path) -> None:
    nodes = (3,)
    result = run(
        tmp_path,
        SlowDisk(
            id="slow", start_us=300 * MS, duration_us=7 * SECOND, nodes=nodes, fsync_us=20_000
        ),
        DiskFull(id="full", start_us=1_500 * MS, duration_us=4 * SECOND, nodes=nodes, left_bytes=0),
        DiskStall(id="stall", start_us=3 * SECOND, duration_us=SECOND, nodes=nodes),
    )
    seen = evidence(result)
    looks = {name: seen[name]["inject"]["evidence"]["n3"]["look"] for name in seen}
    if looks["full"] is not None:  # the node may have ended by then, because its disk was full
        assert looks["full"]["error"] == "ENOSPC" and min(looks["full"]["fsync_us"]) >= 20_000
    if looks["stall"] is not None:
        assert looks["stall"]["error"] == "ENOSPC" and "after_ms" in looks["stall"]
    assert seen["slow"]["heal"]["evidence"]["n3"]["look"]["error"] is None


def test_clocks_and_pauses_of_nodes_whose_disks_stall(tmp_path: Path) -> None:
    """A node hangs in an fsync then, and cannot be stopped before the disk answers."""
    times = {"start_us": 2 * SECOND, "duration_us": 900 * MS}
    result = run(
        tmp_path,
        DiskStall(id="stall", start_us=500 * MS, duration_us=4 * SECOND, nodes=(1, 2, 3)),
        ClockJump(id="clock", nodes=(1,), offset_us=-HOUR, **times),
        Pause(id="pause", nodes=(2,), **times),
    )
    seen = evidence(result)
    (threads,) = seen["pause"]["inject"]["evidence"]["n2"]["states"]
    assert set(threads) == {"T", "D"}
    assert result.verdict.outcome == "valid", result.verdict.reasons


def test_etcd_survives_power_cuts(tmp_path: Path) -> None:
    """etcd: preallocated logs, a memory-mapped database, renamed directories."""
    times = {"duration_us": 900 * MS}
    result = run(
        tmp_path,
        PowerCut(id="one", start_us=500 * MS, nodes=(1,), **times),
        PowerCut(id="all", start_us=3_500 * MS, nodes=(1, 2, 3), **times),
        target="etcd",
    )
    seen = evidence(result)
    assert result.verdict.outcome == "valid", result.verdict.reasons
    for node in ("n1", "n2", "n3"):
        assert seen["all"]["heal"]["evidence"][node]["canary"]["unsynced"] == 0


def slow_then_dark() -> tuple[Fault, ...]:
    """All disks are slow, and all machines lose power twice meanwhile: what was answered before it
    was on a disk is lost. (Where fsync takes a fraction of a millisecond, a cut seldom falls into
    it: the seeds' own mix found B5 on a busy machine, and not on an idle one.)"""
    nodes = (1, 2, 3)
    slow = SlowDisk(id="f1", start_us=0, duration_us=7 * SECOND, nodes=nodes, fsync_us=200 * MS)
    cuts = (
        PowerCut(id=f"f{n}", start_us=n * 1_500 * MS, duration_us=500 * MS, nodes=nodes)
        for n in (2, 3)
    )
    return (slow, *cuts)


@pytest.mark.parametrize(("mutant", "outcome"), [("B5", "invalid"), (None, "valid")])
def test_replies_before_the_fsync_are_found(
    tmp_path: Path, mutant: str | None, outcome: str
) -> None:
    result = run(tmp_path, *slow_then_dark(), mutant=mutant)
    assert result.verdict.outcome == outcome, result.verdict.reasons


def test_a_run_without_disk_faults_requests_no_additional_capabilities(
    tmp_path: Path, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    real = docker.APIClient.create_container_from_config

    def create(self: docker.APIClient, config: Any, *more: Any, **named: Any) -> Any:
        if (config.get("Labels") or {}).get(LABEL_ROLE) == "agent":
            made.append(config["HostConfig"])
        return real(self, config, *more, **named)

    monkeypatch.setattr(docker.APIClient, "create_container_from_config", create)
    chaos(tmp_path, target="multi-paxos", nodes=3, faults=("kill",), time_us=2 * SECOND, seed=1)
    assert len(made) == 3
    for host in made:
        assert "SYS_ADMIN" not in host["CapAdd"] and not host.get("Binds")
        assert all("fuse" not in device["PathOnHost"] for device in host.get("Devices") or [])
