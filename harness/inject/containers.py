"""The containers that faults are injected into: found by name, and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import docker
from docker.errors import NotFound

from harness.errors import UsageError
from harness.runtimes.docker.engine import engine_errors

JOINED_MAX: Final = 10
"""A container that joins a container that joins a container, and so on: refused beyond this."""


@dataclass(frozen=True)
class Container:
    """A running container. `pid` is that of its first process on the host. The owners are the ids
    of the containers whose namespaces it uses, as a rule its own; `networks` are those of the
    network namespace's owner."""

    name: str
    identity: str
    pid: int
    networks: tuple[str, ...]
    network_owner: str
    pid_owner: str

    @property
    def namespaces(self) -> frozenset[str]:
        """The containers that a fault in this one affects."""
        return frozenset((self.identity, self.network_owner, self.pid_owner))


def find_containers(api: docker.APIClient, names: Sequence[str]) -> list[Container]:
    """Raises UsageError for one that does not exist, does not run, or would reach the host."""
    found: list[Container] = []
    for name in names:
        with engine_errors(f"looking at {name}"):
            try:
                said = api.inspect_container(name)
            except NotFound:
                raise UsageError(
                    f"there is no container {name!r}", remedy="docker ps lists the running ones"
                ) from None
        container = _checked(api, name, said)
        if any(container.identity == other.identity for other in found):
            raise UsageError(f"the container {name!r} is named twice")
        found.append(container)
    return found


def has_ended(api: docker.APIClient, container: Container) -> bool:
    """Whether its first process is gone; it may have been started again since."""
    with engine_errors(f"looking at {container.name}"):
        try:
            state = api.inspect_container(container.identity)["State"]
        except NotFound:
            return True
    return not state["Running"] or int(state["Pid"]) != container.pid


def _checked(api: docker.APIClient, name: str, said: Mapping[str, Any]) -> Container:
    state = said["State"]
    if not state["Running"]:
        raise UsageError(f"the container {name!r} does not run", remedy=f"docker start {name}")
    if state.get("Restarting") or not int(state["Pid"]):
        raise UsageError(
            f"the container {name!r} is being restarted by the engine",
            remedy=f"wait until it runs; docker logs {name} says why it ends",
        )
    if state.get("Paused"):
        raise UsageError(f"the container {name!r} is paused", remedy=f"docker unpause {name}")
    network = _owner(api, said, "NetworkMode")
    if network is None:
        raise UsageError(
            f"the container {name!r} runs in the host's network: a fault there would hit the host",
            remedy="start it in a network of its own (without --network host)",
        )
    pids = _owner(api, said, "PidMode")
    if pids is None:
        raise UsageError(
            f"the container {name!r} runs in the host's PID namespace: a fault there would hit the "
            "host's processes",
            remedy="start it without --pid host",
        )
    networks = sorted((network["NetworkSettings"].get("Networks") or {}).keys())
    own = tuple(n for n in networks if n not in ("none", "host"))
    return Container(
        said["Name"].lstrip("/"), said["Id"], int(state["Pid"]), own, network["Id"], pids["Id"]
    )


def _owner(api: docker.APIClient, said: Mapping[str, Any], mode: str) -> Mapping[str, Any] | None:
    """The container whose namespace this one uses, itself or one that it joins; None if the
    namespace is the host's. Raises UsageError if that cannot be known."""
    name = said["Name"].lstrip("/")
    for _ in range(JOINED_MAX):
        kind, _, joined = (said["HostConfig"].get(mode) or "").partition(":")
        if kind != "container":
            return None if kind == "host" else said
        try:
            said = api.inspect_container(joined)
        except NotFound:
            raise UsageError(
                f"the container {name!r} uses a namespace of the container {joined[:12]}, which "
                "was removed: it may be the host's",
                remedy=f"start {name} again, with a network and a PID namespace of its own, or of "
                "a container that exists",
            ) from None
    return None
