"""Processes: reading /proc, and what the agent refuses outside a namespace of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent import libc
from faults.agent.errors import AgentError, BadRequest, Failed, Unsupported
from faults.agent.node_processes import NodeProcesses
from faults.agent.processes import (
    Process,
    is_engines,
    parse_stat,
    processes,
    read_process,
    thread_states,
)
from faults.agent.synchronized_start import poll_until, wait_until


@given(st.text(max_size=15), st.integers(1, 2**22), st.sampled_from("RSDZTtXI"))
def test_a_name_may_hold_anything(name: str, pid: int, state: str) -> None:
    fields = " ".join(["1"] * 18 + ["777", "5", "6"])
    assert parse_stat(f"{pid} ({name}) {state} {fields}\n") == Process(pid, name, state, 777)


def test_this_process_is_read() -> None:
    own = read_process(os.getpid())
    assert own is not None and own.state == "R"
    assert 0 < own.to_json()["start_ns"] < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert "R" in thread_states(os.getpid())
    assert not is_engines(own)
    assert os.getpid() not in [p.pid for p in processes()]


def test_a_process_that_does_not_exist_is_none() -> None:
    gone = 2**22 + 1
    assert read_process(gone) is None
    assert thread_states(gone) == ""
    assert is_engines(Process(gone, "x", "S", 1)), "not yet, or no more, a process of the node"


@pytest.mark.parametrize(
    ("name", "program", "engines"),
    [
        ("runc:[0:PARENT]", "/usr/sbin/runc", True),
        ("runc:[1:CHILD]", "/", True),
        ("runc:[2:INIT]", "/memfd:runc_cloned:/proc/self/exe (deleted)", True),
        ("youki:[2:INIT]", "/usr/local/bin/youki", True),
        ("crun", "/usr/bin/crun", True),
        ("3", "/memfd:crun_cloned:/proc/self/exe (deleted)", True),
        ("exe", "/app/exe", False),
        ("execd", "/usr/bin/execd", False),
        ("crunchy", "/usr/local/bin/crunchy", False),
        ("runcloud", "/usr/bin/runcloud", False),
        ("python3", "/opt/runc/bin/python3", False),
        ("node", "/app/node (deleted)", False),
        ("node", "/memfd:node (deleted)", False),
    ],
)
def test_the_engines_programs_are_known_by_their_whole_names(
    monkeypatch: pytest.MonkeyPatch, name: str, program: str, engines: bool
) -> None:
    monkeypatch.setattr(os, "readlink", lambda _: program)
    assert is_engines(Process(5, name, "S", 1)) == engines


@pytest.mark.parametrize("act", ["kill", "pause", "resume"])
def test_nothing_is_signalled_unless_the_agent_is_process_1(act: str) -> None:
    """Anywhere else the same call would kill every process of the machine."""
    with pytest.raises(Unsupported, match="not process 1 of a PID namespace"):
        getattr(NodeProcesses(), act)()


def test_a_wait_for_a_time_is_given_up_when_healing() -> None:
    closing = threading.Event()
    at_ns = time.monotonic_ns() + 3_000_000
    wait_until(at_ns, closing)()
    assert time.monotonic_ns() >= at_ns
    wait_until(0, closing)()  # long past
    closing.set()
    with pytest.raises(Failed, match="had to heal"):
        wait_until(time.monotonic_ns() + 10**10, closing)()
    with pytest.raises(BadRequest, match="more than 60 s ahead"):
        wait_until(time.monotonic_ns() + 10**12, closing)


def test_polling_ends() -> None:
    assert not poll_until(lambda: False, 0.01)
    assert poll_until(lambda: True, 0)


def test_every_error_has_a_remedy() -> None:
    kinds = {cls.kind for cls in AgentError.__subclasses__()}
    assert kinds == {"bad-request", "unsupported", "failed"}
    assert Failed("it did not", "try again").remedy == "try again"


def test_a_traced_process_is_held_also_when_its_trace_ends_meanwhile() -> None:
    """As while a node is being started: one that was left to its trace ran, or stayed stopped."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            libc.ptrace(libc.PTRACE_SEIZE, child.pid)
            libc.ptrace(libc.PTRACE_INTERRUPT, child.pid)
            assert poll_until(lambda: thread_states(child.pid) == "t", 10)
            os.waitpid(child.pid, 0)
            with NodeProcesses().held(child.pid):
                libc.ptrace(libc.PTRACE_DETACH, child.pid)
                assert poll_until(lambda: thread_states(child.pid) == "T", 10)
                time.sleep(0.05)
                assert thread_states(child.pid) == "T"
            assert poll_until(lambda: thread_states(child.pid) == "R", 10)
        finally:
            child.kill()


def test_a_process_that_somebody_else_has_stopped_stays_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            os.kill(child.pid, signal.SIGSTOP)
            assert poll_until(lambda: thread_states(child.pid) == "T", 10)
            with NodeProcesses().held(child.pid):
                assert thread_states(child.pid) == "T"
            time.sleep(0.05)
            assert thread_states(child.pid) == "T"
        finally:
            child.kill()
