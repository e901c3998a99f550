"""Faults of processes whose threads hang in an fsync: such a thread is in state D, and cannot be
stopped before its disk answers; but neither does it execute its program."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.agent.mounted import Mounted
from tests.faults.agent.pods import Agent, Beside, beside, lone_agent, until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the clock's code is x86-64"),
]

HOUR = 3600 * 10**9
SLACK = 60 * 10**9

ONE_THREAD = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.write(file, b"record")
os.fsync(file)
print(time.time_ns(), flush=True)
sys.stdin.read()
"""
MAIN_THREAD_HANGS = """
import os, sys, threading, time
def tick():
    while True:
        print(time.time_ns(), flush=True)
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.write(file, b"record")
os.fsync(file)
print("synced", file=sys.stderr, flush=True)
sys.stdin.read()
"""


@contextmanager
def hanging(disk: Mounted, program: str) -> Iterator[tuple[Agent, Beside]]:
    """A process in the agent's pod whose main thread hangs in an fsync."""
    disk.delay.set(0.0, stalled=True)
    command = (sys.executable, "-c", program, str(disk.at / "log"))
    with lone_agent() as agent, beside(agent, *command) as node:
        until(disk.session.waiting, "an fsync that hangs")
        yield agent, node
        disk.delay.set(0.0, stalled=False)


def off_by(node: Beside) -> int:
    return node.read()[0] - time.time_ns()


def test_the_clock_of_a_process_that_hangs_in_an_fsync_is_set_and_healed(disk: Mounted) -> None:
    with hanging(disk, ONE_THREAD) as (agent, node):
        for offset_ns in (HOUR, 0, HOUR, 0, HOUR):
            answer = agent.do("clock", offset_ns=offset_ns)
            assert answer["done_ns"] - answer["began_ns"] < 3 * 10**9
            assert agent.do("probe_clock")["patched"] == bool(offset_ns)
        disk.delay.set(0.0, stalled=False)
        assert abs(off_by(node) - HOUR) < SLACK


def test_the_other_threads_of_such_a_process_are_stopped_meanwhile(disk: Mounted) -> None:
    with hanging(disk, MAIN_THREAD_HANGS) as (agent, node):
        assert abs(off_by(node)) < SLACK
        for offset_ns in (HOUR, 0) * 5:
            agent.do("clock", offset_ns=offset_ns)
            until(lambda asked=offset_ns: abs(off_by(node) - asked) < SLACK, "the new clock")


def test_a_process_that_hangs_in_an_fsync_is_paused(disk: Mounted) -> None:
    with hanging(disk, ONE_THREAD) as (agent, node):
        answer = agent.do("pause")
        assert [p["threads"] for p in answer["processes"]] == ["D"]
        disk.delay.set(0.0, stalled=False)
        until(lambda: node.state() == "T", "stopped as soon as the disk has answered")
        agent.do("clock", offset_ns=HOUR)
        assert agent.do("probe_process")["processes"][0]["threads"] == "T"
        agent.do("resume")
        assert abs(off_by(node) - HOUR) < SLACK


def test_a_pause_that_ends_before_the_disk_answers(disk: Mounted) -> None:
    with hanging(disk, ONE_THREAD) as (agent, node):
        agent.do("pause")
        agent.do("resume")
        disk.delay.set(0.0, stalled=False)
        assert abs(off_by(node)) < SLACK, "the pending SIGSTOP is gone"
