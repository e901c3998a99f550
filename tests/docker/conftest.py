"""Real containers: every test leaves the engine as it found it, also when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.config import RunConfig
from harness.run import RunResult, execute
from harness.runtimes.docker.engine import LABEL, connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.pods import remove_labelled
from harness.watcher import Watcher


class Quiet(Watcher):
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


def leftovers(api: docker.APIClient) -> list[str]:
    """Names of everything on this engine that carries a run's label."""
    wanted = {"label": LABEL}
    names = [c["Names"][0] for c in api.containers(all=True, filters=wanted)]
    names += [n["Name"] for n in api.networks(filters=wanted)]
    names += [v["Name"] for v in api.volumes(filters=wanted)["Volumes"] or []]
    return names


@pytest.fixture(autouse=True)
def nothing_left(api: docker.APIClient, image: str) -> Iterator[None]:
    """What the test did not remove is a failure; and is removed."""
    before = set(leftovers(api))
    yield
    left = sorted(set(leftovers(api)) - before)
    if left:
        remove_labelled(api)
    assert not left


def chaos(store: Path, **settings: Any) -> RunResult:
    """One short run in containers."""
    return execute(RunConfig(on="docker", **settings), store, Quiet())
