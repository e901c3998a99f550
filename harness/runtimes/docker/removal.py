"""Removing what runs have made from the engine, by its labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import docker
from docker.errors import APIError, NotFound

from harness.runtimes.docker.engine import (
    LABEL,
    LABEL_JOINED,
    LABEL_ROLE,
    STREAM_ERRORS,
    engine_errors,
)

BUSY: Final = (403, 409, 500)
"""Statuses of what is being removed already, or of a network whose last endpoint is leaving."""
BUSY_S: Final = 10.0
AGAIN_S: Final = 0.05
WORKERS: Final = 8
HEAL_S: Final = 15
"""How long an agent may take to heal when it is told to end."""

Found = dict[str, Any]


def remove_labelled(
    api: docker.APIClient,
    run_id: str | None = None,
    *,
    spare_living: bool = False,
    spare_reaper: bool = False,
) -> list[str]:
    """Remove every container, network and volume of a run (None: of all runs); their names.
    `spare_living`: not what belongs to a run whose controller still works: its reaper runs as long
    as that does, and so do its agents. `spare_reaper`: not the reapers.

    Nodes go before the agents whose namespaces they use. What is already gone is not an error.
    Raises EngineError after everything was tried.
    """
    with engine_errors("removing what runs left"):
        living = living_runs(api) if spare_living else frozenset()
        removal = _Removal(api, run_id, living, spare_reaper=spare_reaper)
        removal.carry_out()
        if removal.errors:
            raise removal.errors[0]
    return removal.removed


class _Removal:
    def __init__(
        self,
        api: docker.APIClient,
        run_id: str | None,
        living: frozenset[str],
        *,
        spare_reaper: bool,
    ) -> None:
        self._api = api
        self._wanted = {"label": LABEL if run_id is None else f"{LABEL}={run_id}"}
        self._living = living
        self._spare_reaper = spare_reaper
        self.removed: list[str] = []
        self.errors: list[Exception] = []

    def carry_out(self) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for listed, remove in (
                (self._containers, self._remove_container),
                (self._networks, self._remove_network),
                (self._volumes, self._remove_volume),
            ):
                try:
                    tasks = [pool.submit(remove, found) for found in listed()]
                except STREAM_ERRORS as error:
                    self.errors.append(error)
                    continue
                failed = [task.exception() for task in tasks]
                self.errors += [error for error in failed if isinstance(error, Exception)]

    def _containers(self) -> list[Found]:
        """Agents come last."""
        found = self._of(self._api.containers(all=True, filters=self._wanted))
        if self._spare_reaper:
            found = [it for it in found if _role(it) != "reaper"]
        return sorted(found, key=lambda it: _role(it) == "agent")

    def _networks(self) -> list[Found]:
        return self._of(self._api.networks(filters=self._wanted))

    def _volumes(self) -> list[Found]:
        return self._of(self._api.volumes(filters=self._wanted)["Volumes"])

    def _of(self, found: Iterable[Found] | None) -> list[Found]:
        return [it for it in found or () if _labels(it).get(LABEL) not in self._living]

    def _remove_container(self, found: Found) -> None:
        name = found["Names"][0].lstrip("/") if found.get("Names") else found["Id"][:12]
        if _labels(found).get(LABEL_JOINED) and found.get("State") == "running":
            # It heals the container of others that it has joined; its removal would kill it.
            with suppress(APIError):
                self._api.stop(found["Id"], timeout=HEAL_S)
        self._gone(lambda: self._api.remove_container(found["Id"], force=True, v=True), name)

    def _remove_network(self, found: Found) -> None:
        self._gone(lambda: self._api.remove_network(found["Id"]), found["Name"])

    def _remove_volume(self, found: Found) -> None:
        self._gone(lambda: self._api.remove_volume(found["Name"], force=True), found["Name"])

    def _gone(self, remove: Callable[[], None], name: str) -> None:
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                remove()
                self.removed.append(name)
                return
            except NotFound:
                return
            except APIError as error:
                if error.status_code not in BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_S)


def _labels(found: Found) -> dict[str, str]:
    return found["Labels"] or {}


def _role(found: Found) -> str:
    return _labels(found).get(LABEL_ROLE, "")


def living_runs(api: docker.APIClient) -> frozenset[str]:
    """The ids of runs whose controller is there: it holds the input of their reaper and agents."""
    running = api.containers(filters={"label": LABEL})
    return frozenset(
        found["Labels"][LABEL]
        for found in running
        if found["Labels"].get(LABEL_ROLE) in ("reaper", "agent")
    )
