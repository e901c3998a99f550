"""Which containers `antipaxos inject` takes, and which others have faults in already."""

from __future__ import annotations

from typing import Any, cast

import docker
import pytest
import requests
from docker.errors import NotFound

from harness.errors import UsageError
from harness.inject.containers import Container, find_containers
from harness.inject.holders import require_free
from harness.runtimes.docker.engine import LABEL, LABEL_JOINED, LABEL_ROLE


class Engine:
    """Has the containers that it is told of."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}

    def has(
        self,
        name: str,
        network: str = "bridge",
        *,
        pids: str = "",
        networks: tuple[str, ...] = ("bridge",),
        state: str = "running",
        created: str = "2026-01-01T00:00:00Z",
        **labels: str,
    ) -> None:
        self.by_name[name] = {
            "Name": f"/{name}",
            "Id": f"id-{name}",
            "State": {"Running": state == "running", "Pid": 77},
            "HostConfig": {"NetworkMode": network, "PidMode": pids},
            "NetworkSettings": {"Networks": {each: {} for each in networks}},
            "Created": created,
            "Labels": {
                {"run": LABEL, "role": LABEL_ROLE, "joined": LABEL_JOINED}[k]: v
                for k, v in labels.items()
            },
            "listed": state,
        }

    def inspect_container(self, name: str) -> dict[str, Any]:
        for said in self.by_name.values():
            if name in (said["Name"][1:], said["Id"]):
                return said
        answer = requests.Response()
        answer.status_code = 404
        raise NotFound("no such container", response=answer)

    def containers(self, **how: Any) -> list[dict[str, Any]]:
        assert how == {"all": True, "filters": {"label": f"{LABEL_ROLE}=agent"}}
        return [
            {"Id": said["Id"], "Labels": said["Labels"], "State": said["listed"]}
            for said in self.by_name.values()
            if said["Labels"].get(LABEL_ROLE) == "agent"
        ]


@pytest.fixture
def engine() -> Engine:
    made = Engine()
    made.has("app", networks=("front", "back"))
    made.has("sidecar", "container:id-app", pids="container:id-app", networks=())
    made.has("db")
    return made


def found(engine: Engine, *names: str) -> list[Container]:
    return find_containers(cast("docker.APIClient", engine), names)


def check(engine: Engine, *names: str, own: dict[str, str] | None = None) -> None:
    require_free(cast("docker.APIClient", engine), found(engine, *names), own or {})


def test_a_container_has_the_networks_of_the_one_whose_network_it_uses(engine: Engine) -> None:
    (sidecar,) = found(engine, "sidecar")
    assert sidecar.networks == ("back", "front")
    assert sidecar.namespaces == {"id-sidecar", "id-app"}
    (app,) = found(engine, "app")
    assert app.networks == ("back", "front") and app.namespaces == {"id-app"}


@pytest.mark.parametrize("mode", ["network", "pids"])
def test_a_namespace_of_a_removed_container_is_taken_for_the_hosts(
    engine: Engine, mode: str
) -> None:
    engine.has("left", **{mode: "container:id-removed"})  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match="'left' uses a namespace of the container id-removed, whi"
    ):
        found(engine, "left")


def test_a_container_that_is_being_restarted_is_refused(engine: Engine) -> None:
    engine.by_name["db"]["State"] |= {"Restarting": True, "Pid": 0}
    with pytest.raises(UsageError, match="'db' is being restarted by the engine"):
        found(engine, "db")


def test_an_agent_holds_the_containers_whose_namespaces_it_has_joined(engine: Engine) -> None:
    engine.has("agent", run="inject-1", role="agent", joined="id-app id-sidecar")
    for names in (["app"], ["sidecar"], ["db", "app"]):
        with pytest.raises(UsageError, match="inject-1 has an agent in the container") as refused:
            check(engine, *names)
        assert "antipaxos clean --run inject-1" in refused.value.remedy
    check(engine, "db")
    check(engine, "app", own={"id-app": "id-agent"})


def test_a_node_of_a_run_has_the_agent_of_its_pod(engine: Engine) -> None:
    engine.has("pod", run="20260101-raft", role="agent")
    engine.has("node", "container:id-pod", run="20260101-raft", role="node")
    with pytest.raises(UsageError, match="20260101-raft has an agent in the container 'node'"):
        check(engine, "node")


def test_an_agent_that_has_ended_holds_nothing(engine: Engine) -> None:
    engine.has("agent", run="inject-1", role="agent", joined="id-app", state="exited")
    check(engine, "app")


@pytest.mark.parametrize(
    ("ours", "theirs", "state", "gives_way"),
    [
        ("2026-01-01T00:00:00.12Z", "2026-01-01T00:00:00.119999999Z", "created", True),
        ("2026-01-01T00:00:00.12Z", "2026-01-01T00:00:00.120000001Z", "created", False),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00.9Z", "created", True),
        ("2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.2Z", "running", True),
    ],
)
def test_of_two_that_start_at_once_the_later_gives_way(
    engine: Engine, ours: str, theirs: str, state: str, gives_way: bool
) -> None:
    engine.has("ours", run="inject-1", role="agent", joined="id-app", state="created", created=ours)
    engine.has("theirs", run="inject-2", role="agent", joined="id-app", state=state, created=theirs)
    if gives_way:
        with pytest.raises(UsageError, match="inject-2 has an agent"):
            check(engine, "app", own={"id-app": "id-ours"})
    else:
        check(engine, "app", own={"id-app": "id-ours"})
