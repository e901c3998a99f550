"""A pod with two networks: a partition cuts both, as seen from inside, and healing opens both."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.shapes import cut_for
from harness.run.config import RunConfig
from harness.runtimes.docker.engine import labels
from harness.runtimes.docker.pods import PodEngine
from harness.runtimes.docker.runtime import DockerRuntime

pytestmark = pytest.mark.docker
NODES = (1, 2, 3)
ASK = "import socket; socket.create_connection(({address!r}, {port}), 2).close()"


@pytest.fixture
def runtime(api: docker.APIClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerRuntime]:
    """Three nodes, whose pods are connected to a second network as they are made."""
    config = RunConfig.of(target="multi-paxos", nodes=3, on="docker", faults=("partition", "loss"))
    made = DockerRuntime(config, f"two-networks-{secrets.token_hex(3)}")
    create_network, create_agent = PodEngine.create_network, PodEngine.create_agent
    second = f"antipaxos-{made.run_id}-second"

    def both(self: PodEngine) -> Any:
        self.api.create_network(second, driver="bridge", labels=labels(self.run_id, "network"))
        return create_network(self)

    def connected(self: PodEngine, node: int) -> Any:
        pod = create_agent(self, node)
        self.api.connect_container_to_network(pod.agent_id, second)
        return pod

    monkeypatch.setattr(PodEngine, "create_network", both)
    monkeypatch.setattr(PodEngine, "create_agent", connected)
    try:
        made.open()
        yield made
    finally:
        made.close()


def addresses(api: docker.APIClient, runtime: DockerRuntime, node: int) -> list[str]:
    """The addresses of a pod, one for each of its networks."""
    said = api.inspect_container(runtime.pod(node).agent_id)
    found = [network["IPAddress"] for network in said["NetworkSettings"]["Networks"].values()]
    assert len(found) == 2
    return found


def reached(api: docker.APIClient, runtime: DockerRuntime, source: int, node: int) -> list[bool]:
    """Whether the node answers a connection from another pod, at each of its addresses."""
    answers = []
    for address in addresses(api, runtime, node):
        code = ASK.format(address=address, port=7001)
        execution = api.exec_create(runtime.pod(source).agent_id, ["python3", "-c", code])
        api.exec_start(execution["Id"])
        answers.append(api.exec_inspect(execution["Id"])["ExitCode"] == 0)
    return answers


def test_every_interface_is_cut_and_opened_again(
    api: docker.APIClient, runtime: DockerRuntime
) -> None:
    common: dict[str, Any] = {"id": "cut", "start_us": 0, "duration_us": 0, "nodes": (1,)}
    cut = Partition(**common, shape="isolate", cut=cut_for("isolate", (1,), NODES))
    assert reached(api, runtime, 1, 2) == [True, True]
    report = runtime.inject_now(cut)
    assert report.verified, report.problem
    assert reached(api, runtime, 1, 2) == reached(api, runtime, 3, 1) == [False, False]
    assert reached(api, runtime, 2, 3) == [True, True]
    report = runtime.heal_now(cut)
    assert report.verified, report.problem
    assert reached(api, runtime, 1, 2) == reached(api, runtime, 3, 1) == [True, True]


def test_a_loss_of_all_packets_of_one_direction_is_of_both_networks(
    api: docker.APIClient, runtime: DockerRuntime
) -> None:
    common: dict[str, Any] = {"id": "loss", "start_us": 0, "duration_us": 0, "nodes": (1,)}
    loss = Loss(**common, links=((1, 2),), percent=100)
    report = runtime.inject_now(loss)
    assert report.verified, report.problem
    assert reached(api, runtime, 1, 2) == [False, False]
    assert reached(api, runtime, 1, 3) == [True, True]
    assert runtime.heal_now(loss).verified
    assert reached(api, runtime, 1, 2) == [True, True]
