"""Removing what a run has made, where the engine does not remove everything at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote

import docker
import pytest
from docker.errors import APIError

from faults.agent.reaper import remove_all
from harness.errors import EngineError
from harness.runtimes.docker import removal, start_guard
from harness.runtimes.docker.creations import Creations
from harness.runtimes.docker.engine import LABEL, LABEL_JOINED, LABEL_ROLE
from harness.runtimes.docker.removal import remove_labelled
from harness.runtimes.docker.runtime import DockerRuntime

RUN = "a-run"


class FakeEngine:
    """Has two pods, a reaper, a network and a volume; `broken` are the names that it does not
    remove, or lists that it does not give."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.creations = Creations()
        self.removed: list[str] = []
        self.roles = {"agent1": "agent", "node1": "node", "reaper": "reaper"}

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        self._fail("containers")
        return [
            {"Id": name, "Names": [f"/{name}"], "Labels": {LABEL: RUN, LABEL_ROLE: role}}
            for name, role in self.roles.items()
            if name not in self.removed
        ]

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        self._fail("networks")
        found = [{"Id": "network", "Name": "network", "Labels": {LABEL: RUN}}]
        return [] if "network" in self.removed else found

    def volumes(self, **_: Any) -> dict[str, Any]:
        self._fail("volumes")
        found = [{"Name": "volume", "Labels": {LABEL: RUN}}]
        return {"Volumes": None if "volume" in self.removed else found}

    def remove_container(self, name: str, **_: Any) -> None:
        self._remove(name)

    def remove_network(self, name: str) -> None:
        self._remove(name)

    def remove_volume(self, name: str, **_: Any) -> None:
        self._remove(name)

    def _remove(self, name: str) -> None:
        self._fail(name)
        self.removed.append(name)

    def _fail(self, name: str) -> None:
        if name in self.broken:
            answer = SimpleNamespace(status_code=409, reason="Conflict", url="", headers={})
            raise APIError("refused", cast("Any", answer), f"{name}: in progress")

    def close(self) -> None:
        """As an engine's client has it."""


def remove(engine: FakeEngine, **how: Any) -> list[str]:
    return remove_labelled(cast("docker.APIClient", engine), RUN, **how)


def test_everything_is_removed() -> None:
    engine = FakeEngine()
    assert sorted(remove(engine)) == ["agent1", "network", "node1", "reaper", "volume"]


class JoinedAgents(FakeEngine):
    """The agents of a session in containers of others, of which the second does not run."""

    def __init__(self, *broken: str) -> None:
        super().__init__(*broken)
        self.stopped: list[tuple[str, int]] = []

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        own = {LABEL: RUN, LABEL_ROLE: "agent"}
        return [
            {"Id": "joined", "Labels": own | {LABEL_JOINED: "app"}, "State": "running"},
            {"Id": "ended", "Labels": own | {LABEL_JOINED: "db"}, "State": "created"},
            {"Id": "witness", "Labels": own, "State": "running"},
        ]

    def stop(self, name: str, timeout: int) -> None:
        assert name not in self.removed
        self._fail(f"stopping {name}")
        self.stopped.append((name, timeout))


@pytest.mark.parametrize("broken", [(), ("stopping joined",)])
def test_an_agent_in_a_container_of_others_is_told_to_end_so_that_it_heals(
    broken: tuple[str, ...],
) -> None:
    engine = JoinedAgents(*broken)
    assert {"joined", "ended", "witness"} <= set(remove(engine))
    assert engine.stopped == ([] if broken else [("joined", removal.HEAL_S)])


def test_the_reaper_may_be_spared() -> None:
    engine = FakeEngine()
    assert "reaper" not in remove(engine, spare_reaper=True)
    assert len(engine.removed) == 4


@pytest.mark.parametrize("broken", ["agent1", "network", "containers", "networks"])
def test_what_cannot_be_removed_does_not_keep_the_rest(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "BUSY_S", 0.0)
    engine = FakeEngine(broken)
    with pytest.raises(EngineError, match=f"removing what runs left: .*{broken}: in progress"):
        remove(engine)
    everything = {"agent1", "node1", "reaper", "network", "volume"}
    lost = {"containers": {"agent1", "node1", "reaper"}, "networks": {"network"}}
    assert set(engine.removed) == everything - lost.get(broken, {broken})


class Remover:
    """A reaper, or a guard."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def dismiss(self) -> None:
        self.told.append("dismissed")

    def leave(self) -> None:
        self.told.append("left")


@pytest.mark.parametrize(("broken", "told"), [((), "dismissed"), (("network",), "left")])
def test_the_reaper_is_dismissed_only_when_everything_is_removed(
    broken: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "BUSY_S", 0.0)
    closing, engine = DockerRuntime.__new__(DockerRuntime), FakeEngine(*broken)
    loop = closing._loop = asyncio.new_event_loop()
    reaper, guard = Remover(), Remover()

    async def close() -> None:
        """Nobody is connected."""

    parts: dict[str, Any] = {
        "_clients": SimpleNamespace(run=loop.run_until_complete, close=close),
        "_agents": {},
        "_reaper": reaper,
        "_guard": guard,
        "_api": engine,
        "run_id": RUN,
    }
    for name, part in parts.items():
        setattr(closing, name, part)
    if broken:
        with pytest.raises(EngineError):
            closing.close()
    else:
        closing.close()
        assert engine.removed[-1] == "reaper"
    assert (reaper.told, guard.told) == ([told], [told])
    assert loop.is_closed()


def test_the_reaper_tries_again_where_the_engine_lists_nothing_for_a_while() -> None:
    left = {"node1", "network"}
    fails = iter([OSError("timed out"), ValueError("half an answer"), None, OSError("again")])

    def call(method: str, path: str) -> Any:
        if method == "DELETE":
            left.discard(unquote(path.split("/")[2].split("?", maxsplit=1)[0]))
            return None
        if path.startswith("/containers") and (error := next(fails, None)) is not None:
            raise error
        kind = path.split("?", maxsplit=1)[0]
        if kind == "/volumes":
            return {"Volumes": []}
        name = "node1" if kind == "/containers/json" else "network"
        return [{"Id": name, "Labels": {}}] if name in left else []

    assert remove_all(f"{LABEL}={RUN}", call) == 0
    assert not left


def test_the_guard_tries_again_where_the_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def connect() -> FakeEngine:
        tried.append("connect")
        if len(tried) == 1:
            raise EngineError("no engine answers")
        return FakeEngine()

    def remove_some(_: Any, run_id: str) -> None:
        tried.append(run_id)
        if len(tried) < 4:
            raise EngineError("in progress")

    monkeypatch.setattr(start_guard, "AGAIN_S", (0, 0, 0))
    monkeypatch.setattr("sys.argv", ["guard", RUN])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(read=lambda: ""))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("harness.runtimes.docker.engine.connect", connect)
    monkeypatch.setattr("harness.runtimes.docker.removal.remove_labelled", remove_some)
    start_guard.main()
    assert tried == ["connect", "connect", RUN, "connect", RUN]
