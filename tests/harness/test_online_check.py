"""The checker during a run: it finds a violation while the run is in progress, and can end it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.online_check import BackgroundCheck, InlineCheck, online_check_for
from harness.run.run_sequence import again, execute, schedule_for
from harness.run.simulation import simulate_and_judge
from histories.events import Event
from histories.formats.native import read
from histories.reader import read_history

STALE: dict[str, Any] = {
    "target": "multi-paxos",
    "on": "sim",
    "mutant": "M3",
    "faults": ("partition", "kill"),
    "nodes": 3,
}


def a_stale_read(then: int = 0) -> list[Event]:
    """Two acknowledged writes and a read of the first; `then` more reads of the second."""
    events: list[Event] = []

    def operation(f: str, value: int, told: int) -> None:
        for kind, shown in (("invoke", value if f == "write" else None), ("ok", told)):
            n = len(events)
            events.append(Event(n, n * 1000, 1, kind, f, "x", shown))

    operation("write", 1, 1)
    operation("write", 2, 2)
    operation("read", 0, 1)
    for _ in range(then):
        operation("read", 0, 2)
    return events


def test_a_background_check_reports_the_first_violation() -> None:
    online_check, told, words = BackgroundCheck("kv"), threading.Event(), []

    def violated(found: str) -> None:
        words.append(found)
        told.set()

    online_check.violated = violated
    for event in a_stale_read():
        online_check.feed(event)
    assert told.wait(30)
    online_check.close()
    assert len(words) == 1
    assert words[0].startswith("key x: client 1 read x=1")
    assert online_check.progress.violation is not None
    assert online_check.progress.fed == 6


def test_a_background_check_reports_how_far_it_has_judged() -> None:
    online_check = BackgroundCheck("kv")
    for event in a_stale_read()[:4]:
        online_check.feed(event)
    judged = threading.Event()
    for _ in range(300):
        if online_check.progress.judged == 4:
            break
        judged.wait(0.1)
    online_check.close()
    assert online_check.progress == (4, 4, None)


def test_an_invalid_history_ends_the_online_check_but_not_the_run() -> None:
    online_check = BackgroundCheck("kv")
    online_check.feed(Event(0, 0, 1, "ok", "read", "x", 1))  # a completion without an invocation
    for _ in range(300):
        if online_check.problem is not None:
            break
        threading.Event().wait(0.1)
    online_check.close()
    assert online_check.problem is not None
    assert online_check.progress.violation is None


def test_a_synchronous_check_reports_at_the_same_event_every_time() -> None:
    def told_at() -> int:
        online_check, at = InlineCheck("kv"), [0]
        online_check.violated = lambda _: at.append(online_check.progress.fed)
        for event in a_stale_read(then=400):
            online_check.feed(event)
        return at[-1]

    assert told_at() == told_at() == 250


def test_no_run_is_checked_online_without_request() -> None:
    assert online_check_for(RunConfig.of(target="multi-paxos", on="sim")) is None
    assert online_check_for(RunConfig.of(target="multi-paxos", on="docker")) is None


@pytest.fixture
def seed() -> int:
    """A seed whose run continues long after its first violation unless it is stopped."""
    for seed in range(1, 40):
        config = RunConfig.of(**STALE, seed=seed)
        run = simulate_and_judge(config, schedule_for(config))
        wrong = run.verdict is not None and run.verdict.linearizability.outcome == "invalid"
        if wrong:
            return seed
    raise AssertionError("no seed shows the bug to clients")


def test_a_run_stops_at_its_first_violation(tmp_path: Path, seed: int) -> None:
    whole = execute(RunConfig.of(**STALE, seed=seed), tmp_path / "whole", Observer())
    config = RunConfig.of(**STALE, seed=seed, stop_at_first=True)
    stopped = execute(config, tmp_path / "stopped", Observer())
    assert stopped.verdict.outcome == "invalid"
    assert stopped.verdict.detectors()["liveness"] == "unknown"
    assert stopped.verdict.liveness.reason.startswith("the run was stopped at the first violation")
    short, long = (read(r.folder.history).events for r in (stopped, whole))
    assert len(short) < len(long)
    assert "--stop-at-first" in again(config)
    rerun = execute(config, tmp_path / "rerun", Observer())
    assert read_history(rerun.folder.history).events == short


def test_a_correct_run_is_not_stopped(tmp_path: Path) -> None:
    config = RunConfig.of(target="multi-paxos", on="sim", time_us=5_000_000, stop_at_first=True)
    result = execute(config, tmp_path, Observer())
    assert result.verdict.outcome == "valid"
    assert not result.stats.interrupted
