"""A simulated run that is interrupted ends between two events, and what was recorded is judged."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
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
    healed = next(e for e in events if e.f == "phase" and e.value == "heal")
    assert again.same_until_s == healed.time / 1e9


def test_its_replay_says_that_it_was_interrupted_and_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(tmp_path, lambda event: event.index == 1_000).folder
    events = read(folder.history).events
    (at_ns,) = (e.time for e in events if e.f == "phase" and e.value == "heal")
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(folder.path), "--store", str(tmp_path)])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 2
    assert f"the recorded run was interrupted at {at_ns / 1e9:.2f} s; until then the" in said
    assert "the replay itself is valid, but the recorded run ended before" in said
    assert "the code has changed" not in said


def test_a_run_that_was_cut_off_is_compared_up_to_there(tmp_path: Path) -> None:
    """As after kill -9: the history ends anywhere, and the last files are missing."""
    folder = execute(RunConfig.of(on="sim", time_us=3_000_000, **CORRECT), tmp_path).folder
    lines = folder.history.read_text().splitlines(keepends=True)
    folder.history.write_text("".join(lines[:200]))
    again = replay_simulated(load(folder.path))
    assert again.same_until_s == read(folder.history).events[-1].time / 1e9
    other = json.loads(lines[100])
    lines[100] = json.dumps(other | {"process": "another"}) + "\n"
    folder.history.write_text("".join(lines[:200]))
    assert replay_simulated(load(folder.path)).same_until_s is None


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
