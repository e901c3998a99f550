"""The containers that faults are injected into: found by name, and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import NotFound

from harness.errors import UsageError
from harness.runtimes.docker.engine import engine_errors


@dataclass(frozen=True)
class Container:
    """A running container. `pid` is that of its first process on the host."""

    name: str
    identity: str
    pid: int
    networks: tuple[str, ...]


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
        container = _checked(name, said)
        if any(container.identity == other.identity for other in found):
            raise UsageError(f"the container {name!r} is named twice")
        found.append(container)
    return found


def _checked(name: str, said: Mapping[str, Any]) -> Container:
    state, host = said["State"], said["HostConfig"]
    if not state["Running"]:
        raise UsageError(f"the container {name!r} does not run", remedy=f"docker start {name}")
    if state.get("Paused"):
        raise UsageError(f"the container {name!r} is paused", remedy=f"docker unpause {name}")
    if host.get("NetworkMode") == "host":
        raise UsageError(
            f"the container {name!r} runs in the host's network: a fault there would hit the host",
            remedy="start it in a network of its own (without --network host)",
        )
    if host.get("PidMode") == "host":
        raise UsageError(
            f"the container {name!r} runs in the host's PID namespace: a fault there would hit the "
            "host's processes",
            remedy="start it without --pid host",
        )
    networks = tuple(sorted((said["NetworkSettings"].get("Networks") or {}).keys()))
    own = tuple(n for n in networks if n not in ("none", "host"))
    return Container(said["Name"].lstrip("/"), said["Id"], int(state["Pid"]), own)
