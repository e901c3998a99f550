"""`antipaxos inject` from one end to the other, with a session that does what a test says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faults.description import Fault
from harness.cli import inject as command
from harness.cli import main
from harness.errors import UsageError
from harness.run.interrupts import SIGNALS
from harness.runtimes.interface import FaultReport
from harness.start import INTERRUPTED


class FakeSession:
    """`when` is called with each step before it is done."""

    when: Callable[[str], None] = staticmethod(lambda _: None)
    steps: list[str]

    def __init__(self, names: list[str], say: Callable[[str], None]) -> None:
        self._active: set[str] = set()

    def open(self) -> None:
        self._do("open")

    def check(self, fault: Fault) -> None:
        self._do(f"check {fault.kind}")

    def inject(self, fault: Fault) -> FaultReport:
        self._active.add(fault.id)
        return self._do(f"inject {fault.kind}")

    def is_active(self, fault: Fault) -> bool:
        return fault.id in self._active

    def heal(self, fault: Fault) -> FaultReport:
        self._active.remove(fault.id)
        return self._do(f"heal {fault.kind}")

    def close(self) -> None:
        self._do("close")

    def _do(self, step: str) -> FaultReport:
        type(self).when(step)
        self.steps.append(step)
        return FaultReport({}, verified=True)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeSession]]:
    fake = type("Fake", (FakeSession,), {"steps": []})
    monkeypatch.setattr(command, "Session", fake)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield fake
    for number, handler in before.items():
        signal.signal(number, handler)


def inject(*words: str) -> Any:
    """The exit code."""
    with pytest.raises(SystemExit) as left:
        main(["inject", *words])
    return left.value.code


TWO = ("web-1", "--clock", "+1h", "--delay", "50ms", "--for", "1ms")
"""Read in the order in which kinds are listed: the delay comes first."""


def signals_at(step: str, number: int = signal.SIGINT) -> Callable[[str], None]:
    return lambda now: os.kill(os.getpid(), number) if now == step else None


def test_all_is_checked_then_injected_and_healed_in_the_opposite_order(
    session: type[FakeSession],
) -> None:
    assert inject(*TWO) == 0
    assert session.steps == [
        "open",
        "check delay",
        "check clock",
        "inject delay",
        "inject clock",
        "heal clock",
        "heal delay",
        "close",
    ]


def test_a_refused_kind_is_refused_before_anything_is_injected(
    session: type[FakeSession], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(step: str) -> None:
        if step == "check clock":
            raise UsageError("this machine cannot have clock faults", remedy="ask for another")

    session.when = staticmethod(refuse)
    assert inject(*TWO) == UsageError.exit_code
    assert session.steps == ["open", "check delay", "close"]
    assert "this machine cannot have clock faults" in capsys.readouterr().err


def test_a_fault_that_is_refused_at_its_injection_is_not_healed(
    session: type[FakeSession],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse = UsageError("it is refused all the same")

    class Refuses(session):  # type: ignore[valid-type, misc]
        def inject(self, fault: Fault) -> FaultReport:
            if fault.kind == "clock":
                raise refuse
            return super().inject(fault)  # type: ignore[no-any-return]

    monkeypatch.setattr(command, "Session", Refuses)
    assert inject(*TWO) == UsageError.exit_code
    assert session.steps[-3:] == ["inject delay", "heal delay", "close"]
    assert "it is refused all the same" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_start_ends_it_before_anything_is_injected(
    number: int, session: type[FakeSession], capsys: pytest.CaptureFixture[str]
) -> None:
    session.when = staticmethod(signals_at("open", number))
    assert inject(*TWO) == INTERRUPTED
    assert session.steps == ["close"]
    assert "interrupted; nothing is left running" in capsys.readouterr().err


def test_a_signal_before_the_first_injection_is_not_too_late(session: type[FakeSession]) -> None:
    session.when = staticmethod(signals_at("check clock"))
    assert inject(*TWO) == INTERRUPTED
    assert session.steps == ["open", "check delay", "check clock", "close"]


def test_a_signal_between_injections_leaves_out_the_rest(session: type[FakeSession]) -> None:
    session.when = staticmethod(signals_at("inject delay"))
    assert inject(*TWO, "--json") == 2
    assert session.steps[3:] == ["inject delay", "heal delay", "close"]


def test_further_signals_do_not_disturb_the_end(session: type[FakeSession]) -> None:
    def interrupt(step: str) -> None:
        if step in ("open", "close"):
            os.kill(os.getpid(), signal.SIGINT)

    session.when = staticmethod(interrupt)
    assert inject(*TWO) == INTERRUPTED
    assert session.steps == ["close"]


def test_a_hangup_that_is_ignored_stays_ignored(session: type[FakeSession]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    session.when = staticmethod(signals_at("open", signal.SIGHUP))
    assert inject(*TWO) == 0
    assert "heal delay" in session.steps
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_time_longer_than_can_be_waited_is_no_error(session: type[FakeSession]) -> None:
    with command.Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(10**18)


def test_json_has_a_line_for_each_step(
    session: type[FakeSession], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inject(*TWO, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["injected"] * 2 + ["healed"] * 2
