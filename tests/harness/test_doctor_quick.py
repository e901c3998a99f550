"""`antipaxos doctor` refuses the engines that a run refuses."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.cli import doctor as doctor_module
from harness.errors import StartError
from harness.runtimes.docker.images import Image

CAN = {"links": {"ok": True, "how": "clsact+bpf"}}


class FakeAgent:
    """An agent; `offset` is what comparing its clock raises, or None."""

    offset: StartError | None = None
    detached = 0

    def __init__(self, *_: Any) -> None: ...

    async def attach(self, _: Any) -> None: ...

    async def hello(self) -> dict[str, Any]:
        return {"can": CAN}

    async def clock_offset_ns(self) -> tuple[int, int]:
        if FakeAgent.offset is not None:
            raise FakeAgent.offset
        return (0, 1)

    async def detach(self) -> None:
        FakeAgent.detached += 1


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids under which everything was removed."""
    found: list[str] = []
    fakes: dict[str, Any] = {
        "connect": lambda: SimpleNamespace(api_version="1.43"),
        "abilities_of": lambda _: "Docker 24",
        "ensure_image": lambda *_: Image("antipaxos/node:1", "debian"),
        "PodEngine": lambda _, run_id, *args, **more: SimpleNamespace(
            run_id=run_id,
            api=None,
            create_network=lambda: None,
            create_agent=lambda node: SimpleNamespace(agent_id="a"),
            start_agent=lambda pod: None,
        ),
        "Agent": FakeAgent,
        "remove_labelled": lambda _, run_id: found.append(run_id),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(doctor_module, name, fake)
    monkeypatch.setattr(FakeAgent, "offset", None)
    monkeypatch.setattr(FakeAgent, "detached", 0)
    return found


def quick() -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(cli, ["doctor", "--quick", "--json"], standalone_mode=False)
    return result.return_value, json.loads(result.stdout.splitlines()[-1])


def test_the_agent_says_what_it_can(removed: list[str]) -> None:
    code, said = quick()
    assert code == 0 and said["ok"]
    assert {"what": "links", "ok": True, "says": "clsact+bpf"} in said["machine"]
    assert len(removed) == FakeAgent.detached == 1


def test_an_agent_with_another_clock_is_refused(
    removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = StartError("the monotonic clock of n1's container is +5 s off", remedy="run it there")
    monkeypatch.setattr(FakeAgent, "offset", error)
    code, said = quick()
    assert code == 69 and not said["ok"]
    assert said["machine"][-1] == {
        "what": "containers",
        "ok": False,
        "says": "the monotonic clock of n1's container is +5 s off; run it there",
    }
    assert len(removed) == FakeAgent.detached == 1
