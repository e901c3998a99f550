"""Limits of a container that is just ending."""

from __future__ import annotations

from typing import cast

import docker
import pytest
from docker.errors import APIError

from harness.errors import EngineError
from harness.runtimes.docker import limits

ENDING = (
    "Cannot update container abc: cannot update a stopped container: unknown",
    "Cannot update container abc: container abc is not running: unknown",
    "Cannot update container abc: cannot set limits of a deleted process: unknown",
    "Cannot update container abc: task abc not found: not found",
    "Cannot update container abc: process abc not found: unknown",
    "Cannot update container abc: ttrpc: closed: unknown",
)
"""The words of Docker, containerd and runc, which differ by the moment."""


class Engine:
    """Refuses as many updates as it is told to."""

    def __init__(self, refusals: int, words: str = ENDING[0]) -> None:
        self.refusals = refusals
        self.words = words
        self.asked: list[dict[str, int]] = []

    def update_container(self, container: str, **asked: int) -> None:
        self.asked.append(asked)
        if len(self.asked) <= self.refusals:
            raise APIError(self.words)


def client(engine: Engine) -> docker.APIClient:
    return cast(docker.APIClient, engine)


@pytest.mark.parametrize("words", ENDING)
def test_it_is_asked_again_until_the_engine_has_seen_the_end(words: str) -> None:
    engine = Engine(refusals=2, words=words)
    limits.limit_cpu(client(engine), "abc", 5_000)
    assert engine.asked == [{"cpu_period": limits.PERIOD_US, "cpu_quota": 5_000}] * 3


def test_not_for_ever_and_not_for_other_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(refusals=1, words="No such container: abc")
    with pytest.raises(EngineError):
        limits.limit_memory(client(engine), "abc", 1 << 30)
    assert len(engine.asked) == 1
    monkeypatch.setattr(limits, "ENDING_S", 0.2)
    with pytest.raises(EngineError, match="stopped container"):
        limits.limit_memory(client(Engine(refusals=10**6)), "abc", 1 << 30)
