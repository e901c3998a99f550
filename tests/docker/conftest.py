"""Real containers: every test leaves the engine as it found it, also when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.run.config import RunConfig
from harness.run.engine import RunResult, execute
from harness.run.observer import Observer
from harness.runtimes.docker.engine import LABEL, LABEL_OWNER, connect, is_owned, labels
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.pods import remove_labelled


class Quiet(Observer):
    """Remembers what it was told."""

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


def leftovers(api: docker.APIClient) -> dict[str, str]:
    """Names, with their runs, of everything on this engine that belongs to a run of this process,
    or to one that nobody drives any more; what other controllers are at is theirs."""
    wanted = {"label": LABEL}
    found = [(c["Names"][0], c["Labels"]) for c in api.containers(all=True, filters=wanted)]
    found += [(n["Name"], n["Labels"]) for n in api.networks(filters=wanted)]
    found += [(v["Name"], v["Labels"]) for v in api.volumes(filters=wanted)["Volumes"] or []]
    own = labels("", "")[LABEL_OWNER]
    return {
        name: its[LABEL] for name, its in found if its.get(LABEL_OWNER) == own or not is_owned(its)
    }


@pytest.fixture(autouse=True)
def nothing_left(api: docker.APIClient, image: str) -> Iterator[None]:
    """What the test did not remove is a failure; and is removed."""
    before = leftovers(api)
    yield
    left = {name: run for name, run in leftovers(api).items() if name not in before}
    for run in set(left.values()):
        remove_labelled(api, run)
    assert not left


def chaos(store: Path, **settings: Any) -> RunResult:
    """One short run in containers."""
    return execute(RunConfig.of(on="docker", **settings), store, Quiet())
