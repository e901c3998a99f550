"""The container that empties a node's volume: its log can be read whatever the engine's default."""

from __future__ import annotations

from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from harness.errors import EngineError
from harness.runtimes.docker.pods import LOGS, Pod, PodEngine
from harness.runtimes.docker.volumes import erase_data


class Engine:
    """Keeps logs where a container asks for that; its own default keeps none."""

    def __init__(self) -> None:
        self.host: dict[str, Any] = {}
        self.removed: list[str] = []

    def create_host_config(self, **host: Any) -> dict[str, Any]:
        return host

    def create_container(self, *_: object, host_config: dict[str, Any], **__: Any) -> Any:
        self.host = host_config
        return {"Id": "abc"}

    def start(self, _: str) -> None:
        pass

    def wait(self, _: str, timeout: int) -> None:
        pass

    def logs(self, _: str, **__: Any) -> bytes:
        if self.host.get("log_config") != LOGS:
            raise APIError("configured logging driver does not support reading")
        return b"[3, 0]\n"

    def remove_container(self, name: str, **_: Any) -> None:
        self.removed.append(name)


def test_it_reports_what_it_found_by_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPAXOS_CGROUP_PARENT", "/runs")
    api = Engine()
    engine = PodEngine(cast(docker.APIClient, api), "run", "image", 7000)
    assert erase_data(engine, Pod(1, "agent", volume="data")) == (3, 0)
    assert api.host["cgroup_parent"] == "/runs" and api.removed == ["abc"]
    monkeypatch.setattr("harness.runtimes.docker.volumes.LOGS", None)
    with pytest.raises(EngineError, match="does not support reading"):
        erase_data(engine, Pod(1, "agent", volume="data"))
