"""An agent that has joined the namespaces of a process of others, as in an existing container."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.agent.pods import Agent, lone_agent, running_agent, until
from tests.faults.agent.test_shaping_netns import settings

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


@contextmanager
def container_in(netns: str) -> Iterator[Container]:
    command = ["nsenter", f"--net={netns}", "unshare", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", TELL_TIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Container(process)
        finally:
            process.kill()


@contextmanager
def agent_at(container: Container) -> Iterator[Agent]:
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", sys.executable]
    command += ["-m", "faults.agent", "--probe-port", "7899", "--linger-s", "60"]
    with running_agent([*command, "--target-pid", str(container.pid)]) as agent:
        yield agent


def test_an_agent_that_is_stopped_heals_everything_first() -> None:
    with lone_agent() as pod, container_in(f"/proc/{pod.pid}/ns/net") as container:
        pod.do("heal")
        before = settings(pod)
        with agent_at(container) as agent:
            agent.do("links", drop_to=["10.98.0.9"])
            agent.do("shape", shapes={"10.98.0.8": {"delay_us": 10_000}})
            agent.do("clock", offset_ns=HOUR_NS)
            assert settings(pod) != before and container.is_ahead()
            agent.do("pause")
            until(lambda: container.state() == "T", "the pause")
            agent.process.terminate()
            assert agent.process.wait(20) == 0
            assert agent.process.stderr is not None
            assert '"problems": []' in agent.process.stderr.read()
        assert settings(pod) == before and container.state() != "T"
        assert not container.is_ahead()
