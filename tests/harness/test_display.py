"""Something is shown from the first moment, on a terminal and in a log; limits are kept."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.cli.display import Progress, RunDisplay, Ticker
from harness.errors import UsageError
from harness.reproduce.replay import load, replay_timings
from harness.reproduce.shrink import shrink
from harness.run.config import RunConfig
from harness.run.run_sequence import execute, schedule_for
from harness.run.simulation import TimeIsUp, simulate


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=terminal, width=80, _environ={"TERM": "xterm"}), shown


def test_a_terminal_shows_something_at_once_and_keeps_nothing() -> None:
    console, shown = _console(terminal=True)
    with Ticker(console, "counting"):
        assert "counting" in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_log_gets_a_line_now_and_then() -> None:
    console, shown = _console(terminal=False)
    with Progress(console, lambda: "drawn", lambda: "a line", every_s=0.01):
        deadline = time.monotonic() + 30
        while shown.getvalue().count("a line") < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert shown.getvalue().splitlines()[:3] == ["a line"] * 3
    assert "drawn" not in shown.getvalue()


def test_a_run_says_its_steps_and_keeps_notes(tmp_path: Path) -> None:
    console, shown = _console(terminal=False)
    config = RunConfig.of(target="raft", nodes=3, on="sim", time_us=300_000, seed=1)
    with RunDisplay(console) as display:
        display.say("note: kept")
        execute(config, tmp_path, display)
    lines = shown.getvalue().splitlines()
    assert lines[0] == "note: kept"
    assert any("collecting the nodes' logs" in line for line in lines)
    assert any("judging the history" in line for line in lines)


def test_the_line_of_a_run_says_phase_operations_and_faults(tmp_path: Path) -> None:
    class Looking(RunDisplay):
        def stop(self) -> None:
            if self._conductor is not None:
                seen.append(self._line())
            super().stop()

    seen: list[str] = []
    console, _ = _console(terminal=False)
    config = RunConfig.of(
        target="raft", nodes=3, on="sim", time_us=3_000_000, seed=1, faults=("kill",)
    )
    with Looking(console) as display:
        execute(config, tmp_path, display)
    assert "done" in seen[0] and "operations" in seen[0] and "faults" in seen[0]


# ------------------------------------------------------------------------------- limits


def _long() -> RunConfig:
    """A run that takes minutes to simulate."""
    return RunConfig.of(
        target="multi-paxos",
        on="sim",
        nodes=3,
        seed=1,
        time_us=600_000_000,
        rate=400.0,
        faults=("kill", "partition"),
    )


def test_a_simulation_is_given_up_at_its_deadline() -> None:
    config = _long()
    began = time.monotonic()
    with pytest.raises(TimeIsUp) as up:
        simulate(config, schedule_for(config), until_s=began + 0.3)
    assert time.monotonic() - began < 5  # it would take minutes
    assert 0 < up.value.at_us < 600_000_000


def test_a_run_that_is_too_large_for_the_limit_is_refused_in_time() -> None:
    config = _long()
    began = time.monotonic()
    with pytest.raises(UsageError, match="too short"):
        shrink(config, schedule_for(config), limit_s=1.0)
    assert time.monotonic() - began < 5


def test_timings_are_given_up_at_the_deadline(tmp_path: Path) -> None:
    short = RunConfig.of(target="multi-paxos", on="sim", nodes=3, seed=1, time_us=300_000)
    recorded = load(execute(short, tmp_path).folder.path)
    config = _long()
    long = dataclasses.replace(recorded, config=config, schedule=schedule_for(config))
    began = time.monotonic()
    assert not replay_timings(long, 50, until_s=began + 0.3).attempts
    assert time.monotonic() - began < 5


def test_shrink_of_a_valid_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = RunConfig.of(target="multi-paxos", on="sim", nodes=3, seed=1, time_us=300_000)
    folder = execute(short, tmp_path).folder.path
    with pytest.raises(SystemExit) as ended:
        main(["shrink", str(folder), "--store", str(tmp_path / "a b")])
    assert ended.value.code == UsageError.exit_code
    assert "nothing to shrink" in capsys.readouterr().err
