"""An agent that has joined the namespaces of a process of others, as in an existing container."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agent.pods import Agent, lone_agent, running_agent, until
from tests.faults.agent.real_links import inside, settings

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the clock's code is x86-64"),
]

HOUR_NS = 3600 * 10**9
TELL_TIME = """
import sys, time
for line in sys.stdin:
    print(time.time_ns(), flush=True)
"""


class Container:
    """A program that tells the time, with a PID namespace of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.pid = int(until(children.read_text, "its first process").split()[0])
        assert not self.is_ahead()

    def is_ahead(self) -> bool:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        ahead_ns = int(self._process.stdout.readline()) - time.time_ns()
        assert min(abs(ahead_ns), abs(ahead_ns - HOUR_NS)) < 60 * 10**9
        return ahead_ns > HOUR_NS // 2

    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]


OWN_PIDS = ("unshare", "--pid", "--fork", "--kill-child")


@contextmanager
def container_in(netns: str, *by: str) -> Iterator[Container]:
    """`by`: the command by which its first process starts the program, if another one does."""
    with subprocess.Popen(
        ["nsenter", f"--net={netns}", *OWN_PIDS, *by, sys.executable, "-c", TELL_TIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Container(process)
        finally:
            process.kill()


@contextmanager
def agent_at(container: Container, *options: str) -> Iterator[Agent]:
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", sys.executable]
    command += ["-m", "faults.agent", "--probe-port", "7899", "--linger-s", "60", *options]
    with running_agent([*command, "--target-pid", str(container.pid)]) as agent:
        yield agent


def kill_with_guard(agent: Agent) -> None:
    """As an engine kills all processes of a container that uses the host's PID namespace."""
    pid = agent.process.pid
    (guard,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(guard), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    agent.process.wait(20)


def inject_all(agent: Agent, container: Container, **clock: int) -> None:
    """A cut, a delay, a false clock, and a pause."""
    agent.do("links", drop_to=["10.98.0.9"])
    agent.do("shape", shapes={"10.98.0.8": {"delay_us": 10_000}})
    agent.do("clock", offset_ns=HOUR_NS, **clock)
    assert container.is_ahead()
    agent.do("pause")
    until(lambda: container.state() == "T", "the pause")


def end(agent: Agent) -> None:
    agent.process.terminate()
    assert agent.process.wait(20) == 0


def clock_of(agent: Agent, container: Container) -> dict[str, Any]:
    (seen,) = (it for it in agent.do("probe_clock")["processes"] if it["pid"] == container.pid)
    return dict(seen)


def test_an_agent_that_is_stopped_heals_everything_first() -> None:
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        pod.do("heal")
        before = settings(pod)
        with agent_at(container) as agent:
            inject_all(agent, container)
            assert settings(pod) != before
            end(agent)
            assert agent.process.stderr is not None
            assert '"problems": []' in agent.process.stderr.read()
        assert settings(pod) == before and container.state() != "T"
        assert not container.is_ahead()


def test_what_a_killed_agent_has_left_is_removed_by_the_next() -> None:
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        pod.do("heal")
        before = settings(pod)
        with agent_at(container) as agent:
            inject_all(agent, container, monotonic_offset_ns=7 * 10**9)
            kill_with_guard(agent)
        assert settings(pod) != before and container.state() == "T"
        with agent_at(container, "--after-killed", "--resume") as agent:
            left = agent.hello["left_behind"]
            assert left["problems"] == [] and left["rules"] >= 2
            assert left["clocks"] == left["resumed"] == [container.pid]
            assert container.state() != "T" and not container.is_ahead()
            seen = clock_of(agent, container)
            assert seen["offset_ns"] == 0
            assert seen["monotonic_ns"] == 7 * 10**9, "it never goes back"
            assert "10.98" not in settings(pod)
            end(agent)
        assert settings(pod) == before
        with agent_at(container, "--after-killed", "--resume") as agent:
            left = agent.hello["left_behind"]
            assert left == {"rules": 0, "clocks": [], "resumed": [], "problems": []}


def test_a_program_in_a_namespace_of_its_own_is_the_containers_too() -> None:
    """As in a sandbox. One beside the container, in a namespace of its own, is not."""
    with (
        lone_agent() as pod,
        container_in(f"/proc/{pod.pid}/ns/net", *OWN_PIDS) as container,
        container_in(f"/proc/{pod.pid}/ns/net") as other,
        agent_at(container) as agent,
    ):
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        program = int(children.read_text())
        agent.do("clock", offset_ns=HOUR_NS)
        assert container.is_ahead() and not other.is_ahead()
        pids = {container.pid, program}
        assert {p["pid"] for p in agent.do("probe_clock")["processes"]} == pids
        paused = agent.do("pause")["processes"]
        assert {p["pid"]: p["threads"] for p in paused} == dict.fromkeys(pids, "T")
        assert not other.is_ahead(), "it answers"
        agent.do("resume")
        agent.do("clock", offset_ns=0)
        assert not container.is_ahead()
        end(agent)


def test_it_is_removed_from_an_interface_that_is_down() -> None:
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        pod.do("heal")
        before = settings(pod)
        with agent_at(container) as agent:
            agent.do("links", drop_to=["10.98.0.9"])
            kill_with_guard(agent)
        inside(pod, "ip", "link", "set", "eth0", "down")
        with agent_at(container, "--after-killed") as agent:
            assert agent.hello["left_behind"]["rules"] >= 1
            end(agent)
        inside(pod, "ip", "link", "set", "eth0", "up")
        until(lambda: settings(pod) == before, "the interface as it was")


def test_a_clock_without_a_monotonic_offset_is_what_it_was() -> None:
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        with agent_at(container) as agent:
            agent.do("clock", offset_ns=0, drift_ppm=500_000, monotonic_drift_ppm=-100_000)
            kill_with_guard(agent)
        with agent_at(container) as agent:
            assert agent.hello["left_behind"]["clocks"] == [container.pid]
            assert not clock_of(agent, container)["patched"]


def test_what_others_have_done_is_left_as_it_is() -> None:
    """Only a session that knows of it resumes processes and removes an empty qdisc."""
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        pod.do("heal")
        inside = ["nsenter", f"--net=/proc/{pod.pid}/ns/net"]
        subprocess.run([*inside, "tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)
        before = settings(pod)
        os.kill(container.pid, signal.SIGSTOP)
        until(lambda: container.state() == "T", "the stop")
        with agent_at(container) as agent:
            left = agent.hello["left_behind"]
            assert left == {"rules": 0, "clocks": [], "resumed": [], "problems": []}
            end(agent)
        assert settings(pod) == before and container.state() == "T"
