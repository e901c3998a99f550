"""Which containers another session, or a run, has faults in already.

Two agents cannot share a container: both attach their filters at the same place of its network
namespace, and both set the clocks of its processes, so each would undo the faults of the other.
The agents' labels say which containers they have joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import docker
from docker.errors import NotFound

from harness.errors import UsageError
from harness.inject.containers import Container
from harness.runtimes.docker.engine import LABEL, LABEL_JOINED, LABEL_ROLE, engine_errors

PRESENT: Final = ("created", "running", "restarting", "paused")


class Holder(NamedTuple):
    """An agent in a container. `run_id` is that of its session or run."""

    identity: str
    run_id: str
    container: Container
    runs: bool


def require_free(
    api: docker.APIClient,
    containers: Sequence[Container],
    own: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raises UsageError if an agent of somebody else is in one of the containers. `own`: by
    container, the agents that this session has created, but not started; of two sessions that
    create theirs at the same time the later one gives way."""
    with engine_errors("looking for other agents"):
        for other in _holders(api, containers, frozenset(own.values())):
            mine = own.get(other.container.identity)
            if other.runs or mine is None or _is_older(api, other.identity, mine):
                raise _is_held(other)


def _holders(
    api: docker.APIClient, containers: Sequence[Container], own: frozenset[str]
) -> Iterator[Holder]:
    for found in api.containers(all=True, filters={"label": f"{LABEL_ROLE}=agent"}):
        if found["Id"] in own or found.get("State", "running") not in PRESENT:
            continue
        joined = {found["Id"], *found["Labels"].get(LABEL_JOINED, "").split()}
        for container in containers:
            if container.namespaces & joined:
                runs = found.get("State", "running") != "created"
                yield Holder(found["Id"], found["Labels"].get(LABEL, ""), container, runs)


def _is_older(api: docker.APIClient, other: str, own: str) -> bool:
    try:
        theirs = _created(api.inspect_container(other))
    except NotFound:
        return False
    return theirs < _created(api.inspect_container(own))


def _created(said: dict[str, Any]) -> tuple[str, str, str]:
    """When a container was created, comparable: the engine leaves out zeros at the end."""
    seconds, _, fraction = said["Created"].rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0"), said["Id"]


def _is_held(other: Holder) -> UsageError:
    return UsageError(
        f"{other.run_id} has an agent in the container {other.container.name!r}, or in one whose "
        "namespaces it uses: faults of two sessions would undo each other",
        remedy="inject all faults in one session, or wait for the end of the other one; what a "
        f"killed one has left is removed by: antipaxos clean --run {other.run_id}",
    )
