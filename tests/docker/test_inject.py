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
from harness.start import INTERRUPTED
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
    one = others.start(
        "one", cpu_period=50_000, cpu_quota=40_000, mem_limit=200 << 20, memswap_limit=300 << 20
    )
    before = limits.limits_of(api, one)
    with faults.slow_cpu(one, "10%"), faults.memory(one, "16MiB"):
        meanwhile = limits.limits_of(api, one)
        assert (meanwhile.quota_us, meanwhile.period_us) == (10_000, 100_000)
        assert meanwhile.memory < 100 << 20
    assert limits.limits_of(api, one) == before


def test_a_container_with_cpus_has_its_memory_limit_back_even_after_a_kill(
    others: Others, api: docker.APIClient
) -> None:
    one = others.start("one", nano_cpus=10**9, mem_limit=200 << 20)
    before, before_agents = limits.limits_of(api, one), set(agents(api))
    with pytest.raises(UsageError, match="was started with --cpus"), faults.slow_cpu(one, "10%"):
        pytest.fail("it was injected")
    command = [sys.executable, "-m", "antipaxos", "inject", one, "--memory", "16MiB", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["verified"]
        assert limits.limits_of(api, one).memory < before.memory
        running.kill()
    until(lambda: limits.limits_of(api, one) == before, "end of the limit")
    until(lambda: set(agents(api)) <= before_agents, "end of the agents")


HOG = """
import socket
server = socket.create_server(("", 7000))
peer, _ = server.accept()
hoard = b"x" * (150 << 20)
"""


def test_a_container_that_the_kernel_kills_for_memory_runs_again(
    others: Others, api: docker.APIClient
) -> None:
    one = others.start("one", HOG)
    with faults.memory(one, "8MiB"):
        others.times(one)
        until(lambda: not api.inspect_container(one)["State"]["Running"], "end of the container")
    assert api.inspect_container(one)["State"]["Running"]


def test_nested_blocks_share_containers_and_join_others(others: Others) -> None:
    one, two = others.start("one"), others.start("two")
    with faults.clock(one, "+1h"), faults.loss(one, "30%", to=two) as lossy:
        assert lossy.evidence["measured"]
        with faults.partition([two, one]) as cut, faults.pause(one):
            assert cut.evidence["links"][two] == "all others"
        assert others.is_off(one) and not others.is_off(two)
    assert not others.is_off(one)


def test_a_second_session_is_refused_and_leaves_the_first_as_it_is(
    others: Others, api: docker.APIClient
) -> None:
    one, two = others.start("one"), others.start("two")
    with Session([one]) as session:
        for fault in (
            fault_for("clock", "c", 1, offset_us=3_600_000_000),
            fault_for("partition", "p", 1),
        ):
            assert session.inject(fault).verified
        for words in ([one, "--delay", "20ms"], [two, "--to", one, "--clock", "+1h"]):
            command = [sys.executable, "-m", "antipaxos", "inject", *words, "--for", "1s"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == UsageError.exit_code
            assert f"{session.run_id} has an agent in the container" in " ".join(
                done.stderr.split()
            )
        assert others.times(one) is None
        assert session.heal(fault).verified
        assert others.is_off(one)
    assert not others.is_off(one) and session.run_id not in agents(api)


def test_a_container_that_uses_the_network_of_another_is_measured(others: Others) -> None:
    one = others.start("one")
    sidecar = others.start(
        "sidecar", "import time; time.sleep(600)", network_mode=f"container:{one}"
    )
    with faults.delay(sidecar, "60ms") as report:
        (measured,) = report.evidence["measured"].values()
        assert 50_000 < measured["delay_us_p50"] < 150_000
        with pytest.raises(UsageError, match="the same network namespace"), faults.pause(one):
            pytest.fail("it was injected")


def test_agents_that_are_removed_heal_first(others: Others, api: docker.APIClient) -> None:
    one = others.start("one")
    with Session([one]) as session:
        for fault in (
            fault_for("clock", "c", 1, offset_us=3_600_000_000),
            fault_for("partition", "p", 1),
            fault_for("pause", "s", 1),
        ):
            assert session.inject(fault).verified
        remove_labelled(api, session.run_id)
        assert others.times(one) is not None and not others.is_off(one)


@pytest.mark.parametrize("paused", [False, True])
def test_what_a_killed_agent_has_left_is_removed(
    others: Others, api: docker.APIClient, paused: bool
) -> None:
    """The engine kills its guard, too: all its processes are in one container."""
    one, two = others.start("one"), others.start("two")
    kinds = (
        ("clock", {"offset_us": 3_600_000_000}),
        ("delay", {"delay_us": 20_000}),
        ("partition", {}),
        *((("pause", {}),) if paused else ()),
    )
    with Session([one, two]) as session:
        own = [fault_for(kind, kind, 1, **fields) for kind, fields in kinds]
        for fault in own:
            assert session.inject(fault, among=[1]).verified
        (agent,) = api.containers(
            filters={"label": [f"antipaxos.run={session.run_id}", joined_label(api, one)]}
        )
        api.kill(agent["Id"])
        until(lambda: not is_there(api, agent["Id"]), "end of the agent")
        report = session.heal(own[0])
        assert not report.verified and report.problem is not None
        assert f"the agent of {one} ended meanwhile" in report.problem
        assert "processes with a false clock: 1" in report.problem
        assert len(report.evidence["left"][one]["resumed"]) == paused
        assert others.times(one) is not None and not others.is_off(one)
        for fault in own[1:]:
            assert not session.heal(fault).verified
        late = fault_for("clock", "late", 1, offset_us=3_600_000_000)
        assert session.inject(late, among=[2]).verified and session.heal(late).verified


def joined_label(api: docker.APIClient, name: str) -> str:
    return f"antipaxos.joined={api.inspect_container(name)['Id']}"


def is_there(api: docker.APIClient, identity: str) -> bool:
    return any(found["Id"] == identity for found in api.containers(all=True))


def test_an_interrupt_during_the_start_injects_nothing(
    others: Others, api: docker.APIClient
) -> None:
    one, before = others.start("one"), set(agents(api))
    running = subprocess.Popen(
        [sys.executable, "-m", "antipaxos", "inject", one, "--clock", "+1h", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_at_a_terminal,  # noqa: PLW1509
    )
    assert running.stderr is not None
    while "joining" not in (line := running.stderr.readline()):
        assert line, "it ended by itself"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == INTERRUPTED and out == "" and "Traceback" not in err
    assert set(agents(api)) <= before and not others.is_off(one)


def test_an_error_in_the_block_heals_too(others: Others) -> None:
    one = others.start("one")
    with pytest.raises(ZeroDivisionError), faults.clock(one, "+1h"):
        assert others.is_off(one)
        raise ZeroDivisionError
    assert not others.is_off(one)


def test_a_container_that_ends_meanwhile_is_told_in_a_sentence(
    others: Others, api: docker.APIClient
) -> None:
    one, before = others.start("one"), set(agents(api))
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
        sessions = set(agents(api)) - before
    until(lambda: not sessions & set(agents(api)), "end of the agents")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_heals_however_it_ends(
    how: signal.Signals, others: Others, api: docker.APIClient
) -> None:
    one = others.start("one", cpu_period=100_000, cpu_quota=80_000)
    before = set(agents(api))
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
    sessions = set(agents(api)) - before
    os.kill(running.pid, how)
    rest = [json.loads(line) for line in running.stdout.read().splitlines()]
    code = running.wait(timeout=TIMEOUT_S)
    if how != signal.SIGKILL:
        assert code == 0 and all(line["verified"] for line in rest) and len(rest) == 3
    until(lambda: not others.is_off(one), "end of the clock fault")
    until(lambda: limits.limits_of(api, one).quota_us == 80_000, "end of the limit")
    until(lambda: not sessions & set(agents(api)), "end of the agents")


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
