"""A simulated run that is interrupted ends between two events, and what was recorded is judged."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from harness.reproduce.replay import load, replay_simulated
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.record import FolderRecord
from harness.run.run_sequence import RunResult, execute
from harness.run.verdict import judge_folder
from harness.runtimes.sim import runtime
from histories.events import Event
from histories.folder import RunFolder
from histories.formats.native import read

CORRECT = {"target": "multi-paxos", "nodes": 3, "seed": 1, "faults": ("partition", "kill")}


class Interrupter(Observer, FolderRecord):
    """Interrupts the run when `when` is true of an event, `times` times."""

    def __init__(self, store: Path, when: Any, times: int = 1) -> None:
        FolderRecord.__init__(self, store)
        self._when, self._times = when, times
        self._runtime: Any = None

    def watch(self, conductor: Any, runtime: Any, online_check: Any) -> None:
        self._runtime = runtime

    def event(self, event: Event) -> None:
        super().event(event)
        if self._when(event):
            for _ in range(self._times):
                self._times -= 1
                self._runtime.interrupt()


def interrupted(store: Path, when: Any, *, times: int = 1, **changes: Any) -> RunResult:
    config = RunConfig.of(on="sim", time_us=60_000_000, **(CORRECT | changes))
    both = Interrupter(store, when, times)
    return execute(config, store, both, record=both)


def test_it_is_unknown_and_linearizable_so_far(tmp_path: Path) -> None:
    result = interrupted(tmp_path, lambda event: event.index == 1_000)
    assert result.verdict.outcome == "unknown"
    assert result.verdict.reasons == ["the run was interrupted: liveness was not checked"]
    assert result.verdict.detectors()["linearizability"] == "valid"
    events = read(result.folder.history).events
    assert 1_000 < len(events) < 1_500
    assert [e.value for e in events if e.f == "phase"] == ["chaos", "heal", "done"]
    assert all(a.time <= b.time for a, b in itertools.pairwise(events))
    assert all(f["heal"]["verified"] for f in result.verdict.faults)
    assert (result.folder.path / "verdict.json").exists()
    again = replay_simulated(load(result.folder.path))
    assert (again.identical, again.outcome) == (False, "unknown")


def test_a_violation_in_it_is_found(tmp_path: Path) -> None:
    """The cluster loses acknowledged writes long before the run is interrupted."""
    bug = {"mutant": "M3", "faults": ("partition", "pause", "loss", "delay")}
    outcomes = {
        interrupted(tmp_path, lambda e: e.time > 20 * 10**9, seed=seed, **bug).verdict.outcome
        for seed in range(6)
    }
    assert "invalid" in outcomes


def test_the_second_interrupt_stops_it_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        interrupted(tmp_path, lambda event: event.index == 1_000, times=2)
    [folder] = tmp_path.iterdir()
    assert str(stopped.value) == f"what was recorded can be judged: antipaxos check {folder}"
    assert judge_folder(RunFolder.open(folder)).outcome == "unknown"


def test_a_step_that_does_not_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "GRACE_S", 0.2)

    def hangs(event: Event) -> bool:
        if event.index == 1_001:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                pass
        return event.index == 1_000

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, hangs)
    assert time.monotonic() - began < 25
