"""Real containers: every test removes what it created, also when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.run_sequence import RunResult, execute
from harness.runtimes.docker.engine import LABEL, connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.pods import PodEngine
from harness.runtimes.docker.removal import remove_labelled


class Quiet(Observer):
    """Records what is reported to it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="session")
def api() -> Iterator[docker.APIClient]:
    client = connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(api: docker.APIClient) -> str:
    """The image of this source tree."""
    return ensure_image(api, lambda _: None).name


def leftovers(api: docker.APIClient, store: Path) -> list[str]:
    """Names of everything on this engine that belongs to a run of this process, or to one that is
    recorded under `store`; not what other controllers are using."""
    runs = OWN_RUNS | {json.loads(p.read_text())["id"] for p in store.rglob("run.json")}
    wanted = {"label": LABEL}
    found = [(c["Names"][0], c["Labels"]) for c in api.containers(all=True, filters=wanted)]
    found += [(n["Name"], n["Labels"]) for n in api.networks(filters=wanted)]
    found += [(v["Name"], v["Labels"]) for v in api.volumes(filters=wanted)["Volumes"] or []]
    return [name for name, labels in found if labels[LABEL] in runs]


OWN_RUNS: set[str] = set()
"""The runs that this process has made."""


@pytest.fixture(autouse=True, scope="session")
def own_runs() -> Iterator[None]:
    """Records every run of this process."""
    made = PodEngine.__init__

    def noting(
        self: PodEngine, api: docker.APIClient, run_id: str, *more: Any, **named: Any
    ) -> None:
        OWN_RUNS.add(run_id)
        made(self, api, run_id, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PodEngine, "__init__", noting)
        yield


@pytest.fixture(autouse=True)
def nothing_left(api: docker.APIClient, image: str, tmp_path: Path) -> Iterator[None]:
    """Anything that the test did not remove is removed, and makes it fail."""
    yield
    left = leftovers(api, tmp_path)
    for run in OWN_RUNS | {json.loads(p.read_text())["id"] for p in tmp_path.rglob("run.json")}:
        remove_labelled(api, run)
    assert not left


def chaos(store: Path, **settings: Any) -> RunResult:
    """One short run in containers."""
    return execute(RunConfig.of(on="docker", **settings), store, Quiet())
