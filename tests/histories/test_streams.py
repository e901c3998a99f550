"""Histories that come from pipes: they are read once, from their first byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.check import check as check_command
from harness.cli.convert import convert as convert_command
from histories.checker import check
from histories.checker.compiled import available
from histories.errors import BadHistory
from histories.events import Event
from histories.formats.jepsen import edn_line
from histories.reader import read_history
from histories.recorder import event_line
from histories.streams import as_file

PAIRS = 600
"""Operations: more than a pipe and the reader's first look hold."""
LINE = 128

both = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not available(), reason="the kernel is not built here")
        ),
        False,
    ],
)


def events(first: int) -> list[Event]:
    """One client: a write of 7, a read that answers `first`, and many that answer 7."""
    found: list[Event] = []
    for number in range(PAIRS):
        f, value = ("write", 7) if number == 0 else ("read", first if number == 1 else 7)
        at = len(found)
        found.append(Event(at, at, 0, "invoke", f, None, value if f == "write" else None))
        found.append(Event(at + 1, at + 1, 0, "ok", f, None, value))
    return found


def text_of(format_name: str, first: int = 8) -> bytes:
    """A history in this format, in lines of LINE bytes; invalid only by its first lines."""
    history = events(first)
    if format_name == "native":
        lines = [event_line(event) for event in history]
    elif format_name == "jepsen":
        lines = [edn_line(event) for event in history]
    elif format_name == "jepsen-json":
        lines = [json.dumps(event.to_json()) + "," for event in history]
        lines = ["[" + lines[0], *lines[1:-1], lines[-1][:-1] + "]"]
    else:
        head = "INFO  jepsen.util - " if format_name == "jepsen-log" else ""
        lines = [
            f"{head}{e.process}\t:{e.type}\t:{e.f}\t{'nil' if e.value is None else e.value}"
            for e in history
        ]
    return "".join(line.ljust(LINE - 1) + "\n" for line in lines).encode()


@contextmanager
def pipe(path: Path, data: bytes, *, pause_s: float = 0.0) -> Iterator[Path]:
    """A named pipe that a thread writes `data` into, once."""
    os.mkfifo(path)

    def write() -> None:
        try:
            with path.open("wb", buffering=0) as file:
                file.write(data)
                time.sleep(pause_s)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield path
    writer.join(10)
    assert not writer.is_alive()
    path.unlink()


FORMATS = ("native", "jepsen", "jepsen-json", "jepsen-txt", "jepsen-log")


@both
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("given", ["auto", None])
def test_a_pipe_is_judged_as_the_file_that_it_holds(
    tmp_path: Path, name: str, given: str | None, kernel: bool
) -> None:
    how = given or name
    for first, expected in ((8, "invalid"), (7, "valid")):
        with pipe(tmp_path / "p", text_of(name, first)) as path:
            verdict = check(path, model="register", kernel=kernel, format=how)
        assert (verdict.outcome, verdict.operations) == (expected, PAIRS)
        (tmp_path / "h").write_bytes(text_of(name, first))
        filed = check(tmp_path / "h", model="register", kernel=kernel, format=how)
        assert verdict.partitions == filed.partitions  # with the same evidence


@pytest.mark.parametrize("name", FORMATS)
def test_a_pipe_is_read_whole(tmp_path: Path, name: str) -> None:
    with pipe(tmp_path / "p", text_of(name)) as path:
        history = read_history(path)
    assert [event.f for event in history.events] == [event.f for event in events(8)]
    assert history.path == tmp_path / "p"


@pytest.mark.parametrize("options", [(), ("--reference",), ("--verify",)])
@pytest.mark.parametrize("name", ["native", "jepsen", "jepsen-json"])
def test_standard_input(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "antipaxos", "check", "/dev/stdin", "--json", *options]
    for first, code, verdict in ((8, 1, "invalid"), (7, 0, "valid")):
        done = subprocess.run(
            [*command, "--model", "register"],
            input=text_of(name, first),
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        found = json.loads(done.stdout)
        assert (found["verdict"], found["operations"]) == (verdict, PAIRS)
    done = subprocess.run(
        [sys.executable, "-m", "antipaxos", "convert", "/dev/stdin", tmp_path / "h.jsonl"],
        input=text_of(name),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "h.jsonl").read_text().splitlines()) == 2 * PAIRS


def test_the_commands_read_a_named_pipe_once(tmp_path: Path) -> None:
    for options in ((), ("--verify",), ("--reference", "--verify")):
        with pipe(tmp_path / "p", text_of("native", 7)) as path:
            done = CliRunner().invoke(check_command, [str(path), "--model", "register", *options])
        assert done.exit_code == 0, done.output
        assert f"{PAIRS} operations" in done.output
    with pipe(tmp_path / "p", text_of("native")) as path:
        done = CliRunner().invoke(convert_command, [str(path), str(tmp_path / "h.edn")])
    assert done.exit_code == 0, done.output
    assert f"{2 * PAIRS} events" in done.output


@both
def test_a_short_pipe_holds_its_events(tmp_path: Path, kernel: bool) -> None:
    with pipe(tmp_path / "p", text_of("native")[: 4 * LINE]) as path:
        assert check(path, model="register", kernel=kernel).operations == 2


@both
def test_what_is_wrong_names_the_pipe_and_the_line(tmp_path: Path, kernel: bool) -> None:
    junk = pytest.raises(BadHistory)
    with pipe(tmp_path / "p", text_of("native") + b"junk\n") as path, junk as raised:
        check(path, model="register", kernel=kernel)
    assert raised.value.path == tmp_path / "p"
    assert raised.value.line == 2 * PAIRS + 1
    with pipe(tmp_path / "p", b"") as path, pytest.raises(BadHistory, match="holds no events"):
        check(path, kernel=kernel)


def test_a_stream_is_bounded(tmp_path: Path) -> None:
    refused = pytest.raises(BadHistory, match="more than 1000 bytes: write it to a file first")
    with pipe(tmp_path / "p", text_of("native")) as path, refused, as_file(path, bytes_max=1000):
        pass


def test_the_copy_is_removed_and_files_are_not_copied(tmp_path: Path) -> None:
    with pipe(tmp_path / "p", b"x") as path, as_file(path) as copy:
        assert copy.read_bytes() == b"x"
    assert not copy.exists()
    for other in (tmp_path, tmp_path / "none"):
        with as_file(other) as same:
            assert same == other


def test_the_time_limit_holds_while_a_pipe_is_waited_for(tmp_path: Path) -> None:
    started = time.monotonic()
    with pipe(tmp_path / "p", text_of("native")[:LINE], pause_s=2.0) as path:
        verdict = check(path, model="register", time_limit_s=0.2)
        elapsed = time.monotonic() - started
    assert verdict.outcome == "unknown"
    assert "the time limit" in verdict.sentence
    assert elapsed < 1.5


def test_the_time_limit_holds_where_nobody_writes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    started = time.monotonic()
    verdict = check(tmp_path / "p", model="register", time_limit_s=0.2)
    assert (verdict.outcome, "the time limit" in verdict.sentence) == ("unknown", True)
    assert time.monotonic() - started < 60


def test_a_writer_may_come_late(tmp_path: Path) -> None:
    path = tmp_path / "p"
    os.mkfifo(path)

    def write() -> None:
        time.sleep(0.3)
        path.write_bytes(text_of("native"))

    writer = threading.Thread(target=write)
    writer.start()
    assert check(path, model="register").operations == PAIRS
    writer.join()
