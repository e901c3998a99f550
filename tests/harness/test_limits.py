"""Limits of a container that is just ending."""

from __future__ import annotations

import io
import json
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from harness.errors import EngineError
from harness.inject import limits_guard
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


class Setting:
    """A container whose settings an engine changes, but those of its processor if it was started
    with --cpus."""

    def __init__(self, **settings: int) -> None:
        self.settings = settings
        self.updates = 0

    def inspect_container(self, _: str) -> dict[str, Any]:
        return {"HostConfig": dict(self.settings)}

    def update_container(self, _: str, **asked: int) -> None:
        if "cpu_quota" in asked and self.settings.get("NanoCpus"):
            raise APIError("CPU Period cannot be updated as NanoCPUs has already been set")
        self.updates += 1
        names = {"cpu_period": "CpuPeriod", "cpu_quota": "CpuQuota"}
        names |= {"mem_limit": "Memory", "memswap_limit": "MemorySwap"}
        self.settings |= {names[name]: value for name, value in asked.items()}

    def close(self) -> None:
        """As a client has it."""


def test_only_what_differs_is_restored() -> None:
    before = {"CpuQuota": 20_000, "CpuPeriod": 50_000, "Memory": 1 << 28, "MemorySwap": -1}
    setting = Setting(**before)
    api = cast(docker.APIClient, setting)
    found = limits.limits_of(api, "abc")
    assert found.quota_per_period_us == 40_000
    assert limits.restore(api, "abc", found) == [] and setting.updates == 0
    limits.limit_memory(api, "abc", 1 << 24)
    limits.limit_cpu(api, "abc", 1_000)
    assert limits.restore(api, "abc", found) == []
    assert setting.settings == before and setting.updates == 4
    none = limits.Limits(0, 0, 0, 0, 0)
    assert none.quota_per_period_us is None
    assert limits.restore(api, "abc", none) == []
    assert setting.settings["CpuQuota"] == -1 and setting.settings["Memory"] == limits.NO_LIMIT
    assert limits.restore(api, "abc", none) == [] and setting.updates == 6


def test_a_limit_that_cannot_be_restored_does_not_keep_the_other() -> None:
    setting = Setting(NanoCpus=2 * 10**9, CpuQuota=5_000, Memory=1 << 24)
    api = cast(docker.APIClient, setting)
    (problem,) = limits.restore(api, "abc", limits.Limits(0, 0, 0, 1 << 28, 1 << 29))
    assert "NanoCPUs" in problem and setting.settings["Memory"] == 1 << 28


@pytest.mark.parametrize("says_done", [True, False])
def test_the_guard_restores_unless_it_is_told_that_all_is_done(
    monkeypatch: pytest.MonkeyPatch, says_done: bool
) -> None:
    """Of a container that was started with --cpus, too."""
    setting = Setting(NanoCpus=2 * 10**9, Memory=1 << 24, MemorySwap=1 << 24)
    before = limits.Limits(0, 0, 2 * 10**9, 1 << 28, 1 << 29)
    words = json.dumps([["abc", before]]) + "\n" + ("done\n" if says_done else "")
    monkeypatch.setattr(limits_guard, "connect", lambda: setting)
    monkeypatch.setattr(limits_guard.sys, "stdin", io.StringIO(words))  # type: ignore[attr-defined]
    monkeypatch.setattr(limits_guard.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]
    limits_guard.main()
    assert setting.settings["Memory"] == (1 << 24 if says_done else 1 << 28)


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
