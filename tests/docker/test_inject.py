"""Faults in containers that were started by others: they take effect, and always end."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from antipaxos import faults
from harness.errors import UsageError
from harness.inject.parse_options import fault_for
from harness.inject.session import Session
from harness.runtimes.docker import limits
from harness.runtimes.docker.engine import labels
from harness.runtimes.docker.removal import remove_labelled
from tests.terminal import as_at_a_terminal

pytestmark = pytest.mark.docker

NS = 10**9
HOUR = 3600 * NS
TIMEOUT_S = 30.0
PROGRAM = """
import socket, time
server = socket.create_server(("", 7000))
while True:
    peer, _ = server.accept()
    peer.sendall(f"{time.time_ns()} {time.monotonic_ns()}".encode())
    peer.close()
"""


class Others:
    """Existing containers, which send their time on port 7000."""

    def __init__(self, api: docker.APIClient, image: str) -> None:
        self._api = api
        self._image = image
        self.run = f"others-{secrets.token_hex(3)}"
        api.create_network(self.run, driver="bridge", labels=labels(self.run, "network"))

    def start(self, name: str, program: str = PROGRAM, **host: Any) -> str:
        host = {"network_mode": self.run, **host}
        made = self._api.create_container(
            self._image,
            entrypoint=["python3", "-c", program],
            name=f"{self.run}-{name}",
            host_config=self._api.create_host_config(**host),
            labels=labels(self.run, "node"),
        )
        self._api.start(made["Id"])
        return f"{self.run}-{name}"

    def times(self, name: str) -> tuple[int, int] | None:
        """The clocks of a container, as it reports them; None where it does not answer."""
        said = self._api.inspect_container(name)
        address = said["NetworkSettings"]["Networks"][self.run]["IPAddress"]
        ask = f"socket.create_connection(('{address}', 7000), 1).recv(99).decode()"
        code = f"import socket; print({ask})"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
        )
        words = found.stdout.split()
        return (int(words[0]), int(words[1])) if len(words) == 2 else None

    def is_off(self, name: str) -> bool:
        times = self.times(name)
        return times is not None and abs(times[0] - HOUR - time.time_ns()) < 60 * NS


@pytest.fixture
def others(api: docker.APIClient, image: str) -> Iterator[Others]:
    found = Others(api, image)
    try:
        yield found
    finally:
        remove_labelled(api, found.run)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


def agents(api: docker.APIClient) -> list[str]:
    """Sessions that have an agent."""
    found = api.containers(all=True, filters={"label": "antipaxos.role=agent"})
    runs = {c["Labels"]["antipaxos.run"] for c in found}
    return sorted(run for run in runs if run.startswith("inject-"))


def test_from_python_for_the_duration_of_a_block(others: Others) -> None:
    one, two = others.start("one"), others.start("two")
    until(lambda: others.times(one) is not None, "answer")
    with faults.clock(one, "+1h") as report:
        assert report.verified and one in report.evidence
        assert others.is_off(one) and not others.is_off(two)
    assert not others.is_off(one)
    with faults.delay(one, "60ms", to=two) as report:
        (measured,) = report.evidence["measured"].values()
        assert 50_000 < measured["delay_us_p50"] < 150_000
    with faults.partition(one):
        assert others.times(one) is None and others.times(two) is not None
    assert others.times(one) is not None
    with faults.pause(one):
        assert others.times(one) is None
    assert others.times(one) is not None


def test_limits_are_set_back_to_what_they_were(others: Others, api: docker.APIClient) -> None:
    one = others.start("one", cpu_period=100_000, cpu_quota=80_000, mem_limit=200 << 20)
    with faults.slow_cpu(one, "10%"), faults.memory(one, "16MiB"):
        assert limits.limits_of(api, one).quota_us == 10_000
        assert limits.limits_of(api, one).memory < 100 << 20
    assert limits.limits_of(api, one).quota_us == 80_000
    assert limits.limits_of(api, one).memory == 200 << 20


def test_an_error_in_the_block_heals_too(others: Others) -> None:
    one = others.start("one")
    with pytest.raises(ZeroDivisionError), faults.clock(one, "+1h"):
        assert others.is_off(one)
        raise ZeroDivisionError
    assert not others.is_off(one)


def test_a_container_that_ends_meanwhile_is_told_in_a_sentence(
    others: Others, api: docker.APIClient
) -> None:
    one = others.start("one")
    with Session([one]) as session:
        api.kill(one)
        api.wait(one)
        for kind, fields in (
            ("clock", {"offset_us": 3_600_000_000}),
            ("delay", {"delay_us": 20_000}),
            ("slow-cpu", {"percent": 30}),
            ("pause", {}),
        ):
            report = session.inject(fault_for(kind, kind, 1, **fields))
            assert not report.verified
            assert report.problem == f"{one} ended meanwhile: there is nothing left to affect"
        sessions = agents(api)
    until(lambda: not set(sessions) & set(agents(api)), "end of the agents")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_heals_however_it_ends(
    how: signal.Signals, others: Others, api: docker.APIClient
) -> None:
    one = others.start("one", cpu_period=100_000, cpu_quota=80_000)
    command = [sys.executable, "-m", "antipaxos", "inject", one, "--clock", "+1h"]
    command += ["--slow-cpu", "30%", "--delay", "20ms", "--json"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=as_at_a_terminal,  # noqa: PLW1509
    )
    assert running.stdout is not None
    told = [json.loads(running.stdout.readline()) for _ in range(3)]
    assert [line["what"] for line in told] == ["injected"] * 3
    assert all(line["verified"] for line in told)
    assert others.is_off(one)
    sessions = agents(api)
    os.kill(running.pid, how)
    rest = [json.loads(line) for line in running.stdout.read().splitlines()]
    code = running.wait(timeout=TIMEOUT_S)
    if how != signal.SIGKILL:
        assert code == 0 and all(line["verified"] for line in rest) and len(rest) == 3
    until(lambda: not others.is_off(one), "end of the clock fault")
    until(lambda: limits.limits_of(api, one).quota_us == 80_000, "end of the limit")
    until(lambda: not set(sessions) & set(agents(api)), "end of the agents")


def test_containers_that_share_the_hosts_namespaces_are_refused(
    others: Others, api: docker.APIClient
) -> None:
    host = others.start("host", network_mode="host")
    waiting = "import time; time.sleep(600)"
    joined = others.start("joined", waiting, network_mode=f"container:{host}")
    gone = others.start("gone")
    api.kill(gone)
    api.wait(gone)
    for names, words in (
        (["no-such-container"], "there is no container"),
        ([host], "runs in the host's network"),
        ([joined], "runs in the host's network"),
        ([gone], "does not run"),
        ([], "at least one"),
    ):
        with pytest.raises(UsageError, match=words):
            Session(names)
    one = others.start("one")
    with pytest.raises(UsageError, match="named twice"):
        Session([one, one])
    with Session([one]) as session, pytest.raises(UsageError, match="kill faults are not for"):
        session.inject(fault_for("kill", "k", 1))
