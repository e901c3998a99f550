"""Collecting the nodes' files has an end, whatever the engine does, and names what is missing."""

from __future__ import annotations

import asyncio
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from urllib3.exceptions import ProtocolError

from harness.errors import EngineError
from harness.runtimes.docker import collecting, images
from harness.runtimes.docker.collecting import collect
from harness.runtimes.docker.engine import EngineTimeout, within
from harness.runtimes.docker.pods import Pod

LIMIT_S = 1.0


def archive(data: bytes, *, kind: bytes = tarfile.REGTYPE) -> list[bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("decided.jsonl")
        member.size, member.type = len(data), kind
        tar.addfile(member, io.BytesIO(data))
    return [file.getvalue()]


class FakeEngine:
    """`logs` and `get_archive` as docker-py has them; `stuck` streams never go on."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.log: Callable[[], Iterator[bytes]] = lambda: iter([b"a line\n"])
        self.file: Callable[[], Iterator[bytes]] = lambda: iter(archive(b"{}\n"))
        self.size = 3

    def stuck(self) -> Iterator[bytes]:
        yield b"half a "
        self.released.wait()

    def logs(self, container: str, **_: Any) -> Iterator[bytes]:
        return self.log() if container == "node1" else iter([b"other\n"])

    def get_archive(self, container: str, _: str) -> tuple[Iterator[bytes], dict[str, int]]:
        return (self.file() if container == "node1" else iter(archive(b"x"))), {"size": self.size}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.released.set()


def collected(engine: FakeEngine, folder: Path) -> tuple[dict[str, str], set[str]]:
    """What is reported of two nodes, and the files that are there. Within the limit, and some."""
    pods = {n: Pod(node=n, agent_id=f"agent{n}", node_id=f"node{n}") for n in (1, 2)}
    work = collect(
        folder,
        engine,
        pods,
        {},
        {"/d": "decided.jsonl"},
        0,
        limit_s=LIMIT_S,  # type: ignore[arg-type]
    )
    problems = asyncio.run(asyncio.wait_for(work, 30))
    return problems, {path.name for path in folder.iterdir()}


ALL = {f"n{n}.{end}" for n in (1, 2) for end in ("log.jsonl", "agent.log", "decided.jsonl")}


def test_everything_is_copied(engine: FakeEngine, tmp_path: Path) -> None:
    problems, files = collected(engine, tmp_path)
    assert not problems and files == ALL | {"clock.json"}
    assert (tmp_path / "n1.decided.jsonl").read_bytes() == b"{}\n"
    assert (tmp_path / "n1.log.jsonl").read_bytes() == b"a line\n"


@pytest.mark.parametrize("which", ["log", "file"])
def test_a_stream_that_never_ends_is_given_up_and_named(
    engine: FakeEngine, tmp_path: Path, which: str
) -> None:
    setattr(engine, which, engine.stuck)
    problems, files = collected(engine, tmp_path)
    name = {"log": "n1.log.jsonl", "file": "n1.decided.jsonl"}[which]
    assert list(problems) == [name] and "did not deliver it within" in problems[name]
    assert files == ALL - {name} | {"clock.json"}  # no half of a file, and all others


def broken(error: Exception) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield b"half a "
        raise error

    return pieces


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (broken(ProtocolError("Connection broken")), "stream failed"),
        (broken(ConnectionResetError(104, "reset")), "stream failed"),
        (broken(APIError("500 Server Error")), "stream failed"),
        (lambda: iter([b"no archive" * 100]), "archive is damaged"),
        (lambda: iter(archive(b"", kind=tarfile.DIRTYPE)), "not an ordinary file"),
    ],
)
def test_a_file_that_does_not_arrive_whole_is_named(
    engine: FakeEngine, tmp_path: Path, pieces: Any, words: str
) -> None:
    engine.file = pieces
    problems, files = collected(engine, tmp_path)
    assert list(problems) == ["n1.decided.jsonl"] and words in problems["n1.decided.jsonl"]
    assert "n1.decided.jsonl" not in files


def test_a_file_that_is_too_large_is_named(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runtimes.docker.copying.FILE_MAX", 1000)
    monkeypatch.setattr("harness.runtimes.docker.copying.TAR_OVERHEAD", 0)
    engine.file = lambda: iter(archive(b"x" * 5000))
    problems, _ = collected(engine, tmp_path)
    assert "larger than 1000 bytes" in problems["n1.decided.jsonl"]


def test_a_file_that_the_node_does_not_have_is_left_out(engine: FakeEngine, tmp_path: Path) -> None:
    def none() -> Iterator[bytes]:
        raise NotFound("no such file")

    engine.file = none
    problems, files = collected(engine, tmp_path)
    assert not problems and "n1.decided.jsonl" not in files


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_engine(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.runtimes.docker.copying._write", full)
    with pytest.raises(OSError, match="No space left"):
        collected(engine, tmp_path)


def test_what_blocks_is_given_up_and_errors_pass_through() -> None:
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(EngineTimeout, match=r"waiting: the engine did not end it within 0\.1 s"):
        within(0.1, "waiting", release.wait)
    release.set()
    assert time.monotonic() - began < 20
    assert within(30, "adding", lambda: 5) == 5
    with pytest.raises(TimeoutError, match="its own"):
        within(30, "raising", lambda: (_ for _ in ()).throw(TimeoutError("its own")))


@pytest.mark.parametrize("what", ["build", "require"])
def test_a_build_and_a_pull_have_an_end(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    release = threading.Event()

    def hangs(*_: Any, **__: Any) -> Iterator[Any]:
        yield {"stream": "Step 1"}
        release.wait()

    api = SimpleNamespace(build=hangs, pull=lambda *_: release.wait())
    monkeypatch.setattr(images, "_exists", lambda *_: False)
    monkeypatch.setattr(images, "BUILD_S", 0.2)
    of = images.EngineImages(api, lambda _: None)  # type: ignore[arg-type]
    try:
        with pytest.raises(EngineError, match=r"did not end it within 0\.2 s"):
            if what == "build":
                of.build("antipaxos/x", "FROM scratch", {})
            else:
                of.require("redis:7")
    finally:
        release.set()


def test_the_limit_is_one_for_all_files() -> None:
    assert 0 < collecting.LEAST_S < collecting.COLLECT_S <= 120
