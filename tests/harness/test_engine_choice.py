"""A run is simulated by default only where there is no engine; one that refuses is an error."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from harness.cli import main
from harness.errors import EngineError
from harness.runtimes.docker import engine


def _refuse(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def client(**_: object) -> None:
        raise DockerException(text)

    monkeypatch.setattr(docker, "APIClient", client)
    monkeypatch.setattr(engine, "_context_host", lambda: None)
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def test_a_missing_engine_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "FileNotFoundError(2, 'No such file or directory')")
    assert engine.is_available() is False


def test_an_engine_that_was_named_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "ConnectionRefusedError(111, 'Connection refused')")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(EngineError, match="no Docker engine answers"):
        engine.is_available()


@pytest.mark.parametrize("text", ["PermissionError(13, 'Permission denied')", "500 Server Error"])
def test_an_engine_that_refuses_is_not_replaced_by_the_simulator(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    _refuse(monkeypatch, text)
    with pytest.raises(SystemExit) as ended:
        main(["run", "multi-paxos", "--time", "1s", "--store", str(tmp_path / "runs")])
    assert ended.value.code == EngineError.exit_code
    assert "--on sim" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_ssh_without_its_package_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "Install paramiko package to enable ssh:// support")
    monkeypatch.setenv("DOCKER_HOST", "ssh://user@build-1")
    with pytest.raises(EngineError, match="ssh://user@build-1 is reached over SSH") as refused:
        engine.is_available()
    assert "pip install paramiko" in refused.value.remedy
