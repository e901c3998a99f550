"""Pods without containers: network namespaces joined by a bridge, an agent as process 1 of a PID
namespace in each, and processes added to it as an engine would.

Everything is removed by the context managers, also when a test fails.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)
ROOT = Path(__file__).parents[3]
TIMEOUT_S = 20.0
_names = itertools.count(1)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`; fails when there is none for long."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.002)
    raise AssertionError(f"waited {TIMEOUT_S:.0f} s without success: {what}")


class Agent:
    """A conversation with an agent over its standard input and output."""

    def __init__(self, process: subprocess.Popen[str], address: str = "") -> None:
        self.process = process
        self.address = address
        self._ids = itertools.count(1)
        self.hello = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the agent has closed its output"
        return json.loads(line)

    def send(self, do: str, **what: Any) -> int:
        assert self.process.stdin is not None
        number = next(self._ids)
        self.process.stdin.write(json.dumps({"id": number, "do": do, **what}) + "\n")
        self.process.stdin.flush()
        return number

    def ask(self, do: str, **what: Any) -> Any:
        """The answer to one request, ok or not."""
        number = self.send(do, **what)
        answer = self.read()
        assert answer["id"] == number
        return answer

    def do(self, what: str, **how: Any) -> Any:
        """The answer to a request that must be ok."""
        answer = self.ask(what, **how)
        assert answer["ok"], answer
        return answer

    def hang_up(self) -> str:
        """End its input, as when the controller dies; returns its standard error."""
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.close()
        return self.process.stderr.readline()

    @property
    def pid(self) -> int:
        """Its process number outside: the child of `unshare`."""
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(children[0])


def compiled(source: str | Path, folder: Path, *options: str) -> str:
    """A program made of a C file, by name of one beside this; skips the test where there is no
    compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / Path(source).stem
    command = [compiler, *options, "-o", str(program), str(Path(__file__).parent / source)]
    subprocess.run(command, check=True)
    return str(program)


@contextmanager
def agent_in(netns: str, address: str = "", linger_s: float = 0.0) -> Iterator[Agent]:
    command = ["ip", "netns", "exec", netns, "unshare", "--pid", "--fork", "--mount-proc"]
    command += ["--kill-child", sys.executable, "-m", "faults.agent", "--linger-s", str(linger_s)]
    with running_agent(command, address) as agent:
        yield agent


@contextmanager
def running_agent(command: Sequence[str], address: str = "") -> Iterator[Agent]:
    """The agent that this command starts; at the end it is killed, and with it its child, and all
    of the child's namespace."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Agent(process, address)
        finally:
            process.kill()


def _joining(agent: Agent) -> Callable[[], None]:
    """For `preexec_fn`: the program becomes process N of the agent's PID namespace, while its
    parent stays outside and waits for it, as an engine's does. (nsenter would stop with its child.)
    """

    def join() -> None:
        with open(f"/proc/{agent.pid}/ns/pid") as namespace:  # noqa: PTH123
            if _LIBC.setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        child = os.fork()
        if child:
            os.closerange(0, 256)
            os.waitpid(child, 0)
            os._exit(0)

    return join


class Beside:
    """A process in an agent's PID namespace, started there as an engine would."""

    def __init__(self, agent: Agent, command: list[str]) -> None:
        self._parent = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_joining(agent),  # noqa: PLW1509  (before the test starts any thread)
        )
        parent = self._parent.pid
        self.pid = int(Path(f"/proc/{parent}/task/{parent}/children").read_text())

    def ask(self, line: str = "") -> list[int]:
        """Write a line, read back a line of numbers."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(line + "\n")
        self._parent.stdin.flush()
        return self.read()

    def read(self) -> list[int]:
        """A line of numbers."""
        assert self._parent.stdout is not None
        return [int(word) for word in self._parent.stdout.readline().split()]

    def say_nothing_more(self) -> str:
        """End its input; returns the rest of its output."""
        return self._parent.communicate(timeout=TIMEOUT_S)[0]

    def state(self) -> str:
        """The state of its main thread, seen from outside; "" when it is gone."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ""

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._parent.kill()
        self._parent.wait()
        for pipe in (self._parent.stdin, self._parent.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


@contextmanager
def beside(agent: Agent, *command: str) -> Iterator[Beside]:
    process = Beside(agent, list(command))
    try:
        yield process
    finally:
        process.close()


@contextmanager
def pods(count: int, **options: Any) -> Iterator[list[Agent]]:
    """Agents in namespaces of their own, 10.98.0.1 and so on, on one bridge that is in another."""
    prefix = f"apx{os.getpid()}-{next(_names)}"
    with ExitStack() as stack:
        hub = f"{prefix}-hub"
        _namespace(stack, hub)
        ip("-n", hub, "link", "add", "hub", "type", "bridge")
        ip("-n", hub, "link", "set", "hub", "up")
        agents = []
        for number in range(1, count + 1):
            name, address = f"{prefix}-{number}", f"10.98.0.{number}"
            _namespace(stack, name)
            ip("-n", hub, "link", "add", f"p{number}", "type", "veth",
               "peer", "name", "eth0", "netns", name)  # fmt: skip
            ip("-n", hub, "link", "set", f"p{number}", "master", "hub", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "addr", "add", f"fd98::{number}/64", "dev", "eth0", "nodad")
            for link in ("lo", "eth0"):
                ip("-n", name, "link", "set", link, "up")
            agents.append(stack.enter_context(agent_in(name, address, **options)))
        yield agents


def _namespace(stack: ExitStack, name: str) -> None:
    ip("netns", "add", name)
    stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True, check=False)


@contextmanager
def lone_agent(**options: Any) -> Iterator[Agent]:
    with pods(1, **options) as (agent,):
        yield agent
