"""A run is simulated by default only where there is no engine; one that refuses is an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from docker.errors import DockerException

from harness.cli import main
from harness.errors import EngineError
from harness.runtimes.docker import engine
from harness.runtimes.docker.endpoint import SOCKET, EngineClient, endpoint


def _refuse(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def client(**_: object) -> None:
        raise DockerException(text)

    monkeypatch.setattr(engine, "EngineClient", client)
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


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


# ------------------------------------------------------------------ contexts and certificates


def context(folder: Path, name: str, host: str, **engine_of: object) -> Path:
    """Stored as `docker context create` does; the folder of its certificates."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    document = {"Name": name, "Endpoints": {"docker": {"Host": host, **engine_of}}}
    (meta / "meta.json").write_text(json.dumps(document))
    certificates = folder / "contexts" / "tls" / identity / "docker"
    certificates.mkdir(parents=True)
    return certificates


def certificates_in(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("")


def test_a_context_is_found_also_without_docker_s_configuration(tmp_path: Path) -> None:
    certificates = context(tmp_path, "far", "tcp://far:2376")
    certificates_in(certificates, "ca.pem", "cert.pem", "key.pem")
    found = endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert found.url == "tcp://far:2376" and found.named and found.socket == SOCKET
    assert found.tls is not None and found.tls.verify is True
    assert found.tls.cert == (str(certificates / "cert.pem"), str(certificates / "key.pem"))


def test_the_current_context_counts_unless_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "other"}')
    context(tmp_path, "other", "unix:///run/other.sock").rmdir()
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    found = endpoint(environment)
    assert (found.url, found.socket, found.tls) == (
        "unix:///run/other.sock", "/run/other.sock", None,
    )  # fmt: skip
    assert endpoint(environment | {"DOCKER_CONTEXT": "default"}).url is None
    assert endpoint(environment | {"DOCKER_HOST": "tcp://there:1"}).url == "tcp://there:1"
    (tmp_path / "config.json").write_text("no json")
    assert endpoint(environment) == (None, None, False)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Endpoints": 5}', '{"Endpoints": {"docker": 1}}']
)
def test_a_context_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    environment = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"}
    with pytest.raises(EngineError, match="there is no Docker context 'far'"):
        endpoint(environment)
    context(tmp_path, "far", "x")
    (meta,) = tmp_path.rglob("meta.json")
    meta.write_text(text)
    with pytest.raises(EngineError, match="does not say where its engine is"):
        endpoint(environment)


@pytest.mark.parametrize(
    ("files", "verify", "words"),
    [
        ((), "1", "no ca.pem, which"),
        ((), "", "no ca.pem, which"),
        (("ca.pem", "cert.pem"), "1", "no key.pem, which"),
        (("cert.pem", "key.pem"), "1", "no ca.pem, which"),
        (("ca.pem",), "1", ""),
        (("cert.pem", "key.pem"), "", ""),
        (("ca.pem", "cert.pem", "key.pem"), "1", ""),
    ],
)
def test_certificates_that_are_not_there_are_named(
    tmp_path: Path, files: tuple[str, ...], verify: str, words: str
) -> None:
    certificates_in(tmp_path, *files)
    environment = {
        "DOCKER_HOST": "tcp://far:2376",
        "DOCKER_CERT_PATH": str(tmp_path),
        "DOCKER_TLS_VERIFY": verify,
    }
    if words:
        with pytest.raises(EngineError, match=words):
            endpoint(environment)
        return
    tls = endpoint(environment).tls
    assert tls is not None and tls.verify is bool(verify)
    assert (tls.cert is not None) == ("cert.pem" in files)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] x')", "ca.pem does not vouch for"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] verify failed: Missing Authority Key Identifier",
            "does not name its authority's key",
        ),
        ("SSLError(1, '[SSL: WRONG_VERSION_NUMBER] x')", "does not speak TLS"),
        ("Client sent an HTTP request to an HTTPS server.", "speaks TLS only"),
        ("SSLError(1, '[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] x')", "refuses our certificate"),
    ],
)
def test_what_is_wrong_with_tls_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    _refuse(monkeypatch, text)
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:2376")
    with pytest.raises(EngineError, match=words) as refused:
        engine.connect()
    assert "tcp://far:2376" in refused.value.message and refused.value.remedy


@pytest.mark.parametrize(
    "closed",
    [
        "('Connection aborted.', RemoteDisconnected('Remote end closed'))",
        "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
        "('Connection aborted.', BrokenPipeError(32, 'Broken pipe'))",
        "('Connection aborted.', ConnectionAbortedError(103, 'aborted'))",
    ],
)
@pytest.mark.parametrize(
    ("host", "with_tls", "words"),
    [
        ("tcp://far:2376", True, "tcp://far:2376 closed .*it may refuse our certificate"),
        ("tcp://far:2375", False, "tcp://far:2375 closed .*it may want TLS"),
        ("unix:///run/one.sock", False, "unix:///run/one.sock closed the connection before it"),
        ("", False, "/var/run/docker.sock closed the connection before it answered\n"),
    ],
)
def test_a_connection_that_the_engine_closes_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    closed: str,
    host: str,
    with_tls: bool,
    words: str,
) -> None:
    """With TLS, an engine's alert about our certificate may be lost by the reset after it."""
    _refuse(monkeypatch, closed)
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    if with_tls:
        certificates_in(tmp_path, "ca.pem", "cert.pem", "key.pem")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineError, match=words) as refused:
        engine.connect()
    assert refused.value.remedy and not isinstance(refused.value, engine.NoEngine)
    assert "TLS" not in refused.value.remedy or "tcp" in host


def test_the_engine_s_authority_is_not_replaced_by_that_of_the_web(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    client = EngineClient(base_url="unix:///none", version="1.41")
    client.verify = "/engine/ca.pem"
    settings = client.merge_environment_settings("https://far", {}, False, None, None)
    assert settings["verify"] == "/engine/ca.pem"


def test_too_few_sessions_of_ssh_are_an_error_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ChannelException(Exception):
        __module__ = "paramiko.ssh_exception"

    def fails(*_: object, **__: object) -> None:
        raise ChannelException("ChannelException(2, 'Connect failed')")

    monkeypatch.setattr("requests.Session.send", fails)
    client = EngineClient(base_url="unix:///none", version="1.41")
    with pytest.raises(DockerException, match="MaxSessions"):
        client.ping()
