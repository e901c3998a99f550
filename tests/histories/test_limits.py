"""Limits of time and memory, live checking, and user-defined models."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from histories.budget import Budget, LimitReached, resident_bytes
from histories.checker import LiveChecker, check
from histories.checker.anomalies import describe
from histories.checker.compiled import available
from histories.errors import BadHistory
from histories.events import Event
from histories.formats import native
from histories.formats.jepsen import write_edn
from histories.models import ILLEGAL, model_named
from histories.operations import Operation, pair
from tests.histories.generating import history

needs_kernel = pytest.mark.skipif(not available(), reason="the kernel is not built here")


def hopeless(clients: int = 40) -> list[Event]:
    """Many even additions to a counter at once, and a read of an odd sum, which none of their 2^40
    subsets has."""
    draw = random.Random(5)
    numbers = [2 * draw.randrange(1, 1 << 28) for _ in range(clients)]
    events = [Event(c, c, c, "invoke", "add", "hard", number) for c, number in enumerate(numbers)]
    events.append(Event(clients, clients, 99, "invoke", "read", "hard"))
    events.append(Event(clients + 1, clients + 1, 99, "ok", "read", "hard", (1 << 30) + 1))
    for c in range(clients):
        events.append(Event(len(events), len(events), c, "ok", "add", "hard", events[c].value))
    at = len(events)
    events.append(Event(at, at, 99, "invoke", "add", "easy", 1))
    events.append(Event(at + 1, at + 1, 99, "ok", "add", "easy", 1))
    return events


@needs_kernel
def test_a_memory_limit_holds_and_other_partitions_keep_their_verdicts() -> None:
    verdict = check(hopeless(), model="counter", memory_limit_bytes=20_000_000, time_limit_s=60)
    parts = {part.key: part for part in verdict.partitions}
    assert verdict.outcome == "unknown"
    assert verdict.exit_code == 2
    assert parts["easy"].outcome == "valid"
    assert parts["hard"].reason == "the memory limit"
    assert 0 <= parts["hard"].judged < parts["hard"].operations
    assert "key hard: undecided after" in verdict.sentence


@pytest.mark.parametrize("kernel", [pytest.param(True, marks=needs_kernel), False])
def test_a_time_limit_holds(kernel: bool) -> None:
    started = time.monotonic()
    verdict = check(hopeless(), model="counter", time_limit_s=0.5, kernel=kernel)
    assert verdict.outcome == "unknown"
    assert verdict.partitions[0].reason == "the time limit"
    assert (
        time.monotonic() - started < 30
    )  # not a measurement: without the limit this would not end


@pytest.mark.parametrize("kernel", [pytest.param(True, marks=needs_kernel), False])
@pytest.mark.parametrize("name", ["kv", "queue", "counter"])
def test_live_agrees_with_the_check_of_every_prefix(name: str, kernel: bool) -> None:
    for seed in range(60):
        events = history(name, seed, keys=2, largest=12)
        live = LiveChecker(name, kernel=kernel)
        for end in range(1, len(events) + 1):
            live.feed(events[end - 1 : end])
            progress = live.judge()
            invalid = check(events[:end], model=name).outcome == "invalid"
            assert (progress.violation is not None) == invalid, (seed, end)
            assert progress.fed == end
            if invalid:
                assert progress.violation is not None
                assert progress.violation.evidence is not None
                break
            assert progress.judged == end


def test_polling_spends_a_tenth_of_the_time() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    live = LiveChecker(clock=clock)
    for at, event in enumerate(history("kv", 3)):
        live.feed([event])
        judged = live.poll().judged
        if at:
            assert judged < at + 1
            break


def test_live_refuses_what_cannot_be_a_history() -> None:
    live = LiveChecker()
    live.feed([Event(0, 0, 1, "ok", "write", "k", 1)])
    with pytest.raises(BadHistory, match="never began"):
        live.judge()


class Toggle:
    """A user-defined model: flip returns the previous value."""

    name = "toggle"
    operations = frozenset(("flip",))
    reads: frozenset[str] = frozenset()

    def initial(self) -> Any:
        return 0

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.seen and operation.result != state:
            return ILLEGAL
        return 1 - state


def test_a_user_defined_model() -> None:
    def flips(*answers: int) -> list[Event]:
        return [
            event
            for i, answer in enumerate(answers)
            for event in (
                Event(2 * i, 0, 0, "invoke", "flip"),
                Event(2 * i + 1, 0, 0, "ok", "flip", None, answer),
            )
        ]

    assert check(flips(0, 1, 0), model=Toggle()).outcome == "valid"
    verdict = check(flips(0, 1, 1), model=Toggle())
    assert verdict.outcome == "invalid"
    assert verdict.checker == "reference"


@needs_kernel
def test_the_user_may_set_the_initial_value() -> None:
    read = [Event(0, 0, 0, "invoke", "read"), Event(1, 1, 0, "ok", "read", None, 5)]
    for kernel in (True, False):
        assert check(read, initial=5, kernel=kernel).outcome == "valid"
        assert check(read, kernel=kernel).outcome == "invalid"


def many(count: int) -> list[Event]:
    """A valid history of one client, with long texts."""
    events = []
    for n in range(count):
        kind, at = ("ok" if n % 2 else "invoke"), n
        events.append(Event(at, at, 0, kind, "write", "k", f"{n // 2:0200}"))
    return events


@pytest.mark.parametrize("kernel", [pytest.param(True, marks=needs_kernel), False])
@pytest.mark.parametrize(
    ("how", "reason"),
    [(how, reason) for how in ("native", "jepsen") for reason in ("time", "memory")]
    + [("memory", "time")],
)
def test_limits_hold_while_a_history_is_read(
    tmp_path: Path, reason: str, how: str, kernel: bool
) -> None:
    events: Any = many(20_000)
    if how == "native":
        native.write(tmp_path / "h", events)
    elif how == "jepsen":
        write_edn(tmp_path / "h", events)
    source = events if how == "memory" else tmp_path / "h"
    limits: Any = {"time_limit_s": 1e-9} if reason == "time" else {"memory_limit_bytes": 100_000}
    verdict = check(source, kernel=kernel, **limits)
    assert verdict.outcome == "unknown"
    assert verdict.partitions[0].reason is not None
    assert verdict.partitions[0].reason.startswith(f"the {reason} limit")
    assert f"the {reason} limit" in verdict.sentence


def test_the_reference_keeps_to_its_memory_limit() -> None:
    before = resident_bytes()
    verdict = check(
        hopeless(), model="counter", memory_limit_bytes=30_000_000, time_limit_s=60, kernel=False
    )
    parts = {part.key: part for part in verdict.partitions}
    assert parts["hard"].reason == "the memory limit"
    # There are 256 steps between two checks: what they add is small compared with the limit.
    assert resident_bytes() - before < 120_000_000


def stale(reads: int = 1) -> list[Event]:
    """Two writes, one after the other, and reads of the first one's value."""
    events = []
    for f, value in [("write", 1), ("write", 2), *[("read", 1)] * reads]:
        at = len(events)
        events.append(Event(at, at, 0, "invoke", f, "k", None if f == "read" else value))
        events.append(Event(at + 1, at + 1, 0, "ok", f, "k", value))
    return events


@pytest.mark.parametrize("kernel", [pytest.param(True, marks=needs_kernel), False])
@pytest.mark.parametrize("how", ["native", "jepsen", "memory"])
def test_a_violation_is_reported_where_no_time_is_left_for_evidence(
    tmp_path: Path, how: str, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = stale() if how == "memory" else tmp_path / "h"
    write: Any = native.write if how == "native" else write_edn
    if how != "memory":
        write(source, stale())
    # The limit is reached just when the verdict is known.
    monkeypatch.setattr(Budget, "beyond", lambda self, seconds: self.within(-1.0))
    verdict = check(source, model="register", time_limit_s=60, kernel=kernel)
    assert verdict.outcome == "invalid"
    assert verdict.exit_code == 1
    part = verdict.partitions[0]
    assert part.evidence is not None
    assert part.evidence.could == ()
    if kernel:
        assert "the time limit" in part.evidence.sentence
    assert part.weaker == (
        "weaker consistency levels were not checked: the time limit was reached",
    )


@needs_kernel
def test_evidence_from_edn_does_not_read_the_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: Any) -> Any:
        raise LimitReached("the time limit")

    write_edn(tmp_path / "h.edn", stale())
    whole = check(tmp_path / "h.edn", model="register")
    monkeypatch.setattr("histories.checker.api.read_history", reached)
    verdict = check(tmp_path / "h.edn", model="register", time_limit_s=60)
    assert verdict.outcome == "invalid"
    assert whole.evidence is not None
    assert verdict.evidence is not None
    assert verdict.evidence.operations == whole.evidence.operations
    assert verdict.evidence.sentence == whole.evidence.sentence
    assert "although k=2 had been acknowledged" in verdict.evidence.sentence


def test_a_sentence_keeps_to_its_budget() -> None:
    model = model_named("register")
    operations = pair(stale(reads=600))
    named = describe(model, operations, operations, frozenset())
    assert named.anomaly == "stale-read"
    over = describe(model, operations, operations, frozenset(), Budget(-1.0))
    assert over.anomaly == "not-linearizable"
    assert "no order of these 602 operations" in over.sentence


def test_parts_of_a_budget() -> None:
    now = [0.0]
    budget = Budget(10.0, clock=lambda: now[0])
    assert budget.within(3.0).left_s == 3.0
    assert budget.within(30.0).left_s == 10.0
    assert budget.beyond(1.0).left_s == 11.0
    now[0] = 10.5
    assert budget.is_over
    assert budget.left_s == 0.0
    assert not budget.beyond(1.0).is_over
    with pytest.raises(LimitReached, match="the time limit"):
        budget.check_time()
    assert Budget(clock=lambda: now[0]).left_s is None
