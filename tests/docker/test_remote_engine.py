"""An engine on another host: reached over TCP at an address that is not loopback."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import EngineError
from harness.run.config import RunConfig
from harness.run.run_sequence import execute
from harness.runtimes.docker.engine import connect, engine_host
from tests.docker.conftest import Quiet

ENGINE_SOCKET = "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("url", "publish", "reach", "is_here"),
    [
        ("unix:///var/run/docker.sock", "127.0.0.1", "127.0.0.1", True),
        ("tcp://127.0.0.1:2375", "127.0.0.1", "127.0.0.1", True),
        ("tcp://engine.example:2376", "0.0.0.0", "engine.example", False),
        ("ssh://me@engine.example", "0.0.0.0", "engine.example", False),
    ],
)
def test_ports_are_published_where_they_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, url: str, publish: str, reach: str, is_here: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    assert engine_host() == (publish, reach, is_here)


def own_address() -> str | None:
    """The address from which this machine would speak to others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address


@pytest.fixture
def remote() -> Iterator[str]:
    """The engine of this machine behind TCP, at an address of its own that is not loopback: as an
    engine of another host is seen, ports and all."""
    if not Path(ENGINE_SOCKET).exists():
        pytest.skip("the engine has no socket at its usual path")
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    server = socket.create_server((address, 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            """One side has closed."""

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(ENGINE_SOCKET)
            for pair in ((client, engine), (engine, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"tcp://{address}:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture
def with_tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The engine of this machine behind TLS, which asks for a certificate: its address on loopback,
    and the folder of ours."""
    if not Path(ENGINE_SOCKET).exists() or shutil.which("openssl") is None:
        pytest.skip("needs the engine's socket at its usual path, and openssl")
    folder = tmp_path / "certificates"
    make_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", folder
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def make_certificates(folder: Path) -> None:
    """An authority of its own, and what it has signed for the server and for us."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    folder.mkdir()
    extensions = "subjectAltName=IP:127.0.0.1\nsubjectKeyIdentifier=hash\n"
    # Python from 3.13 on requires that a certificate names the key that has signed it.
    (folder / "names").write_text(extensions + "authorityKeyIdentifier=keyid\n")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=a test")
    openssl(*new, "-x509", "-keyout", "ca-key.pem", "-out", "ca.pem", *authority)
    for key, certificate in (("server-key", "server"), ("key", "cert")):
        openssl(*new, "-keyout", f"{key}.pem", "-out", "request", "-subj", f"/CN={key}")
        sign = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", "request", *sign, "-out", f"{certificate}.pem")


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from_engine, to_engine = await asyncio.open_unix_connection(ENGINE_SOCKET)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(copy(reader, to_engine), copy(from_engine, writer))


@pytest.mark.docker
def test_a_run_on_an_engine_with_tls(
    with_tls: tuple[str, Path], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificates = with_tls
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    observer = Quiet()
    config = RunConfig.of(
        target="multi-paxos", nodes=3, seed=7, time_us=3_000_000, faults=("partition", "kill")
    )
    result = execute(config, tmp_path / "runs", observer)
    assert result.verdict.outcome == "valid", result.verdict.reasons
    assert result.stats.injected > 0
    assert not any("no reaper" in said for said in observer.said)
    for name in ("cert.pem", "key.pem"):
        (certificates / name).unlink()
    with pytest.raises(EngineError, match=r"refuses? our certificate") as refused:
        connect()
    assert "DOCKER_CERT_PATH" in refused.value.remedy


@pytest.mark.docker
def test_a_run_on_an_engine_of_another_host(
    remote: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", remote)
    connect().close()
    config = RunConfig.of(
        target="multi-paxos", nodes=3, seed=7, time_us=3_000_000, faults=("partition", "kill")
    )
    result = execute(config, tmp_path, Quiet())
    assert result.verdict.outcome == "valid", result.verdict.reasons
    assert result.stats.outcomes["ok"] > 50 and result.stats.injected > 0
