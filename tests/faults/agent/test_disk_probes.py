"""The agent's probes of a disk: where there is no process to start one from, or one fails."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from faults.agent.disk import disk as disk_module
from faults.agent.disk import probe as probe_module
from faults.agent.disk.disk import Disk
from faults.agent.disk.probe import Probe
from faults.agent.disk.store import Store
from faults.agent.errors import Failed
from faults.agent.node_processes import NodeProcesses
from faults.agent.synchronized_start import no_wait

GONE = 2**22 + 1
LEFT = {"error": None, "synced": 4096, "unsynced": 4096}
CONDITIONS: dict[str, Any] = {
    "fsync_us": 0,
    "stalled": False,
    "left_bytes": None,
    "fail_fsync": False,
    "within_s": 1,
    "rounds": 1,
}


class FakeProbe:
    """`starts`: whether it gets there, from this process. `results`: by what it is asked for."""

    starts: ClassVar[dict[int, bool]] = {}
    results: ClassVar[dict[str, dict[str, Any]]] = {}
    made: ClassVar[list[int]] = []
    closed: ClassVar[list[int]] = []

    def __init__(self, pid: int, _: str, what: str, __: int) -> None:
        self.pid, self.what = pid, what
        self.made.append(pid)

    def get_there(self) -> bool:
        if not self.starts.get(self.pid, True):
            NODE[:] = [pid for pid in NODE if pid != self.pid or self.pid in STAY]
            return False
        return True

    def result(self, _: float) -> dict[str, Any]:
        if not self.starts.get(self.pid, True):
            return {"error": "the probe ended with 1"}
        return self.results[self.what]

    def close(self) -> None:
        self.closed.append(self.pid)


NODE: list[int] = []
"""The node's processes."""
STAY: set[int] = set()
"""Those that are there still when their probe did not start."""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    NODE[:] = [5]
    STAY.clear()
    FakeProbe.starts, FakeProbe.made, FakeProbe.closed = {}, [], []
    FakeProbe.results = {
        "look": {"error": None, "fsync_us": [300]},
        "leave": LEFT,
        "check": {"error": None, "synced": 4096, "unsynced": 0},
    }
    monkeypatch.setattr(disk_module, "Probe", FakeProbe)
    monkeypatch.setattr(disk_module, "node_pids", lambda: list(NODE))
    made = Disk(NodeProcesses())
    made._store = Store(tmp_path, ())
    yield made
    made.store.shut()
    assert sorted(FakeProbe.closed) == sorted(FakeProbe.made)


def test_there_is_no_look_where_there_is_no_process(disk: Disk) -> None:
    NODE.clear()
    assert disk.set(no_wait, **CONDITIONS)["look"] is None
    assert disk.probe(1, 1)["look"] is None


def test_a_probe_that_does_not_start_beside_a_process_says_so(disk: Disk) -> None:
    FakeProbe.starts = {5: False}
    STAY.add(5)
    answer = disk.set(no_wait, **{**CONDITIONS, "left_bytes": 7})
    assert answer["look"] == {"error": "the probe ended with 1"}
    assert answer["left_bytes"] == 7, "it is set all the same"
    assert disk.probe(1, 1)["look"] == {"error": "the probe ended with 1"}


def test_a_probe_whose_process_has_ended_is_started_from_another_one(disk: Disk) -> None:
    NODE[:] = [5, 6]
    FakeProbe.starts = {5: False}
    assert disk.probe(1, 1)["look"] == {"error": None, "fsync_us": [300]}
    assert FakeProbe.made == [5, 6]
    NODE[:] = [5]
    assert disk.probe(1, 1)["look"] is None, "the node has ended"
    NODE[:] = list(range(10, 30))
    FakeProbe.starts = dict.fromkeys(NODE, False)
    assert disk.probe(1, 1)["look"] == {"error": "the probe ended with 1"}, "not for ever"


def test_why_no_file_was_left_before_a_cut(disk: Disk) -> None:
    def why() -> Any:
        answer = disk.leave_canary()
        assert answer["canary"] == (None if answer["why"] else LEFT)
        return answer["why"]

    assert why() is None
    disk.set(no_wait, **{**CONDITIONS, "stalled": True})
    assert why() == "stalled"
    disk.set(no_wait, **{**CONDITIONS, "left_bytes": 0})
    assert why() == "full"
    disk.heal()
    FakeProbe.results["leave"] = {"error": "EIO"}
    assert why() == "EIO"
    FakeProbe.results["leave"] = {"error": "hangs", "after_ms": 10_000}
    assert why() == "hangs"
    FakeProbe.starts = {5: False}
    STAY.add(5)
    assert why() == "the probe ended with 1"
    NODE.clear()
    assert why() == "down"


def test_the_file_is_looked_at_once_and_not_before_there_is_a_process(disk: Disk) -> None:
    assert disk.leave_canary()["canary"] == LEFT
    NODE.clear()
    assert disk.probe(1, 1)["canary"] is None
    assert disk.leave_canary()["why"] == "down", "a second cut while the node is down"
    NODE[:] = [6]
    assert disk.probe(1, 1)["canary"] == {"error": None, "synced": 4096, "unsynced": 0}
    assert "canary" not in disk.probe(1, 1)


def test_a_failed_attempt_to_leave_a_file_replaces_an_earlier_one(disk: Disk) -> None:
    disk.leave_canary()
    FakeProbe.results["leave"] = {"error": "EIO"}
    disk.leave_canary()
    assert "canary" not in disk.probe(1, 1)


def test_a_disk_that_met_an_unexpected_error_proves_nothing(disk: Disk) -> None:
    disk.store.broken = "OverflowError('unexpected')"
    for ask in (lambda: disk.probe(1, 1), lambda: disk.set(no_wait, **CONDITIONS)):
        with pytest.raises(Failed, match="unexpected"):
            ask()
    disk.heal()
    assert disk._store is not None
    disk._store.broken = None


def test_after_a_cut_that_fails_processes_are_answered_and_nothing_is_proven(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FakeSession:
        answered = False

        def answer_held(self) -> None:
            self.answered = True

    def kill(wait: Callable[[], None], signalled: Callable[[], None]) -> None:
        wait()
        signalled()

    def fail(_: str) -> None:
        raise OSError(28, "no space on the host")

    session = FakeSession()
    monkeypatch.setattr(disk, "_session", session)
    monkeypatch.setattr(disk._node, "kill", kill)
    monkeypatch.setattr(disk.store, "lose", fail)
    with pytest.raises(OSError):
        disk.cut("1", no_wait)
    assert session.answered
    with pytest.raises(Failed, match="no space on the host"):
        disk.probe(1, 1)
    assert disk._store is not None
    disk._store.broken = None


# ----------------------------------------------------------------------------------- real ones


def test_a_probe_that_does_not_get_there_says_why(tmp_path: Path) -> None:
    probe = Probe(GONE, str(tmp_path), "look", 1)
    try:
        assert not probe.get_there()
        error = probe.result(10)["error"]
        assert error.startswith("the probe ended with 1: ") and "No such file" in error
    finally:
        probe.close()


def test_a_probe_that_takes_too_long_to_start_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "START_S", 0.0)
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    probe = Probe(os.getpid(), str(tmp_path), "look", 1)
    try:
        assert not probe.get_there()
        assert probe.result(10) == {"error": "the probe had not started after 0 s"}
    finally:
        probe.close()


def test_an_agent_with_many_open_files_has_probes(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 2_000:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2_000, limits[1]))
    files: list[int] = []
    try:
        while not files or files[-1] < 1_100:
            files.append(os.open("/dev/null", os.O_RDONLY))
        probe = Probe(GONE, str(tmp_path), "look", 1)
        try:
            assert not probe.get_there()
        finally:
            probe.close()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
