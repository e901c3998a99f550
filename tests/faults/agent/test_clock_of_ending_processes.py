"""Processes that end while their clocks are being changed: the others get the clock and lose it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from faults.agent import clock as clock_module
from faults.agent.clock import Clock, Setting
from faults.agent.node_processes import NodeProcesses
from faults.agent.processes import read_process, thread_states
from faults.agent.vdso_patch import PatchedProcess
from tests.faults.agent.pods import beside, lone_agent

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the clock's code is x86-64"),
]

HOUR = 3600 * 10**9
SLACK = 60 * 10**9
TELLS_TIME = "import sys, time\nfor line in sys.stdin:\n    print(time.time_ns(), flush=True)"
STEPS = ("has_code", "write_code", "patch", "_is_clear", "set_skews", "restore", "_jump")
"""Methods of PatchedProcess, before each of which the process may end."""


@contextmanager
def telling() -> Iterator[subprocess.Popen[str]]:
    """A program that tells the time whenever it is asked."""
    with subprocess.Popen(
        [sys.executable, "-c", TELLS_TIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            off_by_ns(process)
            yield process
        finally:
            process.kill()


def off_by_ns(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline()) - time.time_ns()


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_ends_between_two_steps(
    monkeypatch: pytest.MonkeyPatch, step: str, reaped: bool
) -> None:
    """It is killed just before the step, and the step is carried out all the same."""
    with telling() as victim, telling() as other:
        pids = (victim.pid, other.pid)
        found = [process for process in map(read_process, pids) if process is not None]
        monkeypatch.setattr(clock_module, "node_processes", lambda: found)
        original: Callable[..., Any] = getattr(PatchedProcess, step)
        killed: list[int] = []

        def end_first(self: PatchedProcess, *arguments: Any) -> Any:
            if self.pid == victim.pid and not killed:
                os.kill(victim.pid, signal.SIGKILL)
                how = os.WEXITED if reaped else os.WEXITED | os.WNOWAIT
                os.waitid(os.P_PID, victim.pid, how)
                killed.append(victim.pid)
            return original(self, *arguments)

        monkeypatch.setattr(PatchedProcess, step, end_first)
        clock = Clock(NodeProcesses())
        try:
            clock.set(Setting(offset_ns=HOUR))
            clock.set(Setting(offset_ns=2 * HOUR))
            assert abs(off_by_ns(other) - 2 * HOUR) < SLACK
            clock.heal()
            assert abs(off_by_ns(other)) < SLACK
            assert killed, f"{step} was never reached"
            assert set(thread_states(other.pid)) <= {"S", "R"}
            assert not [reading for reading in clock.readings() if reading.patched]
        finally:
            clock.close()
            with suppress(ChildProcessError):
                os.waitpid(victim.pid, os.WNOHANG)


def test_processes_that_end_at_once_while_the_clock_changes() -> None:
    """Hundreds of short programs, each at some other step when its clock is set."""
    many = "i=0; while [ $i -lt 100000 ]; do /bin/true; i=$((i+1)); done"
    with lone_agent() as agent, beside(agent, "sh", "-c", many) as shell:
        for _ in range(60):
            assert agent.do("clock", offset_ns=HOUR)["wall_ns"] == HOUR
            agent.do("clock", offset_ns=0)
        assert not agent.do("probe_clock")["patched"]
        assert not agent.do("status")["clock_active"]
        assert shell.state() in ("S", "R", "D"), "it runs, and is not left stopped"
