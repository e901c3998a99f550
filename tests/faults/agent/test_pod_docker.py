"""Real containers: the agent's capabilities suffice for a node that has none and is another user; a
restart of the node keeps the faults, and a lost connection heals them.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
import struct
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound

from harness.runtimes.docker.attached import close_attached
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.pods import AGENT_CAPABILITIES, TUN
from tests.faults.agent.pods import ROOT, TIMEOUT_S, Agent, until

pytestmark = pytest.mark.docker

LABELS = {"antipaxos": "test"}
CAPABILITIES = AGENT_CAPABILITIES
NS = 10**9
HOUR, SLACK = 3600 * NS, 60 * NS
PORT = 7001
_names = itertools.count(1)

NODE = """
import ctypes, socket, time
PR_SET_DUMPABLE = 4
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0  # /proc/PID becomes root's
server = socket.create_server(("", 7001))
while True:
    client, _ = server.accept()
    client.sendall(b"%d %d" % (time.time_ns(), time.monotonic_ns()))
    client.close()
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    client = connect()
    yield client
    client.close()


class Attached:
    """An agent's standard input and output over the engine's socket, as files."""

    def __init__(self, engine: docker.APIClient, container: str) -> None:
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._kept = engine.attach_socket(container, params)
        self._socket: socket.socket = getattr(self._kept, "_sock", self._kept)
        self._socket.settimeout(TIMEOUT_S)
        self._lines = b""
        self.stdin = self.stdout = self

    def write(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def flush(self) -> None:
        """All is sent at once."""

    def readline(self) -> str:
        while b"\n" not in self._lines:
            stream, size = struct.unpack(">BxxxL", self._exactly(8))
            data = self._exactly(size)
            assert stream == 1, data.decode(errors="replace")
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        """As the kernel does for a process that was killed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        close_attached(self._kept)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            assert part, "the agent's stream has ended"
            data += part
        return data


class Pod:
    """An agent container, and the node container that joins its namespaces."""

    def __init__(
        self,
        stack: ExitStack,
        engine: docker.APIClient,
        network: str,
        capabilities: tuple[str, ...] = CAPABILITIES,
    ) -> None:
        self._engine = engine
        host = engine.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(capabilities),
            devices=[f"{TUN}:{TUN}:rwm"],
            network_mode=network,
            port_bindings={PORT: ("127.0.0.1", None)},
            security_opt=["no-new-privileges"],
        )
        command = ["python3", "-m", "faults.agent"]
        self.agent_id = self._create(
            stack,
            command,
            host,
            ports=[PORT],
            stdin_open=True,
            user="0",
            working_dir="/opt/antipaxos",
        )
        engine.put_archive(self.agent_id, "/", _package())
        attached = Attached(engine, self.agent_id)
        stack.callback(attached.close)
        engine.start(self.agent_id)
        details = engine.inspect_container(self.agent_id)["NetworkSettings"]
        self.port = int(details["Ports"][f"{PORT}/tcp"][0]["HostPort"])
        address = details["Networks"][network]["IPAddress"]
        self.agent = Agent(attached, address)  # type: ignore[arg-type]  # it has the two files
        join = f"container:{self.agent_id}"
        host = engine.create_host_config(
            cap_drop=["ALL"], pid_mode=join, network_mode=join, security_opt=["no-new-privileges"]
        )
        self.node_id = self._create(stack, ["python3", "-c", NODE], host, user="10001:10001")
        engine.start(self.node_id)

    def clocks(self) -> tuple[int, int]:
        """The node's wall and monotonic clock, as it reports them."""
        return until(self._ask, "an answer of the node")  # type: ignore[no-any-return]

    def _ask(self) -> tuple[int, int] | None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as node:
            words = node.recv(100).split()
            if len(words) == 2:
                return int(words[0]), int(words[1])
        return None

    def off_by(self) -> int:
        wall, monotonic = self.clocks()
        assert abs(monotonic - time.monotonic_ns()) < SLACK
        return wall - time.time_ns()

    def _create(self, stack: ExitStack, command: list[str], host: Any, **options: Any) -> str:
        image = ensure_image(self._engine, lambda _: None).name  # any image with Python will do
        made = self._engine.create_container(
            image, entrypoint=command, host_config=host, labels=LABELS, **options
        )
        stack.callback(_remove, self._engine, made["Id"])
        return str(made["Id"])


def _remove(engine: docker.APIClient, container: str) -> None:
    with suppress(NotFound, APIError):
        engine.remove_container(container, force=True, v=True)


def _package() -> bytes:
    """The `faults` package as an archive: all that the agent needs besides Python."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted((ROOT / "faults").rglob("*.py")):
            archive.add(path, f"opt/antipaxos/{path.relative_to(ROOT)}")
    return buffer.getvalue()


@contextmanager
def network_of(engine: docker.APIClient) -> Iterator[tuple[ExitStack, str]]:
    """A network of the test's own, removed after everything on the stack."""
    name = f"antipaxos-test-{os.getpid()}-{next(_names)}"
    engine.create_network(name, driver="bridge", labels=LABELS)
    try:
        with ExitStack() as stack:
            yield stack, name
    finally:
        engine.remove_network(name)


@pytest.fixture(scope="module")
def pair(engine: docker.APIClient) -> Iterator[list[Pod]]:
    with network_of(engine) as (stack, network):
        yield [Pod(stack, engine, network) for _ in range(2)]


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "pair" in request.fixturenames:
        for pod in request.getfixturevalue("pair"):
            assert pod.agent.do("heal")["problems"] == []


def test_the_capabilities_are_enough(pair: list[Pod]) -> None:
    assert all(can["ok"] for can in pair[0].agent.hello["can"].values()), pair[0].agent.hello


def test_without_them_the_agent_names_the_missing_ones(engine: docker.APIClient) -> None:
    with network_of(engine) as (stack, network):
        can = Pod(stack, engine, network, capabilities=()).agent.hello["can"]
    assert not can["links"]["ok"] and "NET_ADMIN" in can["links"]["remedy"]
    assert not can["processes"]["ok"] and "KILL" in can["processes"]["remedy"]
    assert not can["clock"]["ok"] and "SYS_PTRACE" in can["clock"]["remedy"]


def test_the_clock_of_a_node_that_hides_its_memory(pair: list[Pod]) -> None:
    """Another user's, not dumpable, without new privileges: still reached."""
    pod = pair[0]
    assert abs(pod.off_by()) < SLACK
    pod.agent.do("clock", offset_ns=-HOUR)
    assert abs(pod.off_by() + HOUR) < SLACK
    assert pod.agent.do("probe_clock")["patched"]
    assert abs(pair[1].off_by()) < SLACK, "the other node's clock is its own"
    pod.agent.do("clock", offset_ns=0)
    assert abs(pod.off_by()) < SLACK


def test_a_killed_node_starts_again_behind_the_same_rules_and_clock(
    pair: list[Pod], engine: docker.APIClient
) -> None:
    pod, other = pair
    pod.clocks()
    pod.agent.do("links", drop_to=[other.agent.address])
    pod.agent.do("clock", offset_ns=HOUR)
    assert len(pod.agent.do("kill")["pids"]) == 1
    assert engine.wait(pod.node_id, timeout=TIMEOUT_S)["StatusCode"] == 137
    waiting = pod.agent.send("await_process", timeout_s=TIMEOUT_S)
    engine.start(pod.node_id)
    answer = pod.agent.read()
    assert answer["id"] == waiting and answer["ok"], answer
    assert answer["name"].startswith("python3") and answer["clock"]["offset_ns"] == HOUR
    assert abs(pod.off_by() - HOUR) < SLACK, "the same port, the false clock"
    peers = {"1": pod.agent.address}
    assert other.agent.do("probe_links", peers=peers, nonce="r", listen_ms=50)["arrived"] == []


def test_links_between_containers(pair: list[Pod]) -> None:
    one, two = (pod.agent for pod in pair)
    for number, (drop, heard) in enumerate([([], ["1"]), ([two.address], []), ([], ["1"])]):
        one.do("links", drop_to=drop)
        for agent, peer in ((one, two), (two, one)):
            agent.send("probe_links", peers={"1": peer.address}, nonce=f"l{number}", listen_ms=100)
        assert [one.read()["arrived"], two.read()["arrived"]] == [["1"], heard]


def test_a_paused_node_answers_when_it_is_resumed(pair: list[Pod]) -> None:
    pod = pair[0]
    pod.clocks()
    assert [p["state"] for p in pod.agent.do("pause")["processes"]] == ["T"]
    assert pod._ask() is None
    pod.agent.do("resume")
    pod.clocks()


def test_a_controller_that_dies_leaves_no_fault(engine: docker.APIClient) -> None:
    with network_of(engine) as (stack, network):
        pod, other = (Pod(stack, engine, network) for _ in range(2))
        pod.clocks()
        pod.agent.do("clock", offset_ns=HOUR)
        pod.agent.do("links", drop_to=[other.agent.address])
        pod.agent.do("pause")
        pod.agent.process.stdin.close()  # type: ignore[union-attr]
        assert abs(pod.off_by()) < SLACK
        log = until(lambda: _log(engine, pod.agent_id), "a line in the agent's log")
        assert "controller is gone" in log["healed"] and log["problems"] == []


def _log(engine: docker.APIClient, container: str) -> Any:
    text = engine.logs(container, stdout=False, stderr=True).decode()
    return json.loads(text) if text else None
