"""Standard streams that are closed, full or of a small encoding, and what goes through them."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import cli, main
from harness.cli.output import SafeConsole, say
from harness.cli.streams import OUTPUT_FAILED
from harness.errors import HarnessError
from tests.test_structure import ROOT

RUN = ("run", "raft", "--on", "sim", "--nodes", "3", "--seed", "1", "--time", "200ms")


def antipaxos(
    *arguments: str, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The command, its streams redirected as by a shell (`>&-`, `2>/dev/full`)."""
    script = f'"$0" -m antipaxos "$@" {redirect}'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run that is valid."""
    store = tmp_path_factory.mktemp("streams")
    done = antipaxos(*RUN, "--faults", "none", "--store", str(store), redirect="2>&-")
    assert done.returncode == 0, done.stderr  # also without a standard error
    (folder,) = store.iterdir()
    return folder


@pytest.mark.parametrize(
    ("redirect", "words"),
    [
        (">&-", b"error: the output cannot be written: standard output is closed\n"),
        (">/dev/full", b"error: the output cannot be written: no space left on device\n"),
        ("> >(true)", b""),
        (">&- 2>&-", b""),
        (">/dev/full 2>&1", b""),
        ("<&- >&-", b"error: the output cannot be written: standard output is closed\n"),
    ],
)
def test_a_verdict_that_cannot_be_delivered_has_its_own_exit_code(
    run_folder: Path, redirect: str, words: bytes
) -> None:
    # A pipe's reader ends at once, long before an interpreter has started and writes.
    then_exit = "; exit $?" if ">(" not in redirect else ""
    done = antipaxos("check", str(run_folder), redirect=redirect + then_exit)
    assert (done.returncode, done.stdout, done.stderr) == (OUTPUT_FAILED, b"", words)


@pytest.mark.parametrize(
    ("arguments", "redirect"),
    [
        (("--help",), "> >(true)"),
        (("run", "--help"), ">/dev/full"),
        (("--version",), "> >(true)"),
        (("list", "targets", "--json"), "> >(true)"),
        (("completion", "bash"), ">/dev/full"),
    ],
)
def test_help_and_lists_too(arguments: tuple[str, ...], redirect: str) -> None:
    done = antipaxos(*arguments, redirect=redirect)
    assert done.returncode == OUTPUT_FAILED
    assert b"Traceback" not in done.stderr and done.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_progress_and_errors_that_cannot_be_written_change_no_exit_code(
    tmp_path: Path, redirect: str
) -> None:
    assert antipaxos(*RUN, "--store", str(tmp_path), redirect=redirect).returncode == 0
    assert antipaxos("check", str(tmp_path / "none"), redirect=redirect).returncode == 64


def test_a_closed_stream_is_no_other_file(run_folder: Path) -> None:
    """A file that is opened later would get the stream's number, and what is written to it."""
    program = """
import os
from harness.cli import streams
streams.install()
print([os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in (0, 1, 2)],
      os.open(os.devnull, os.O_RDONLY) > 2, file=open(os.environ["TOLD"], "w"))
"""
    told = run_folder.parent / "told"
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, program],
        env=os.environ | {"TOLD": str(told)},
        timeout=60,
        check=True,
    )
    assert told.read_text() == "[True, True, True] True\n"
    told.unlink()


def test_a_connection_that_breaks_is_not_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """click ends the process with 1 at any EPIPE."""

    def breaks(*_: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli.get_command(None, "clean"), "callback", breaks)
    with pytest.raises(SystemExit) as ended:
        main(["clean"])
    assert ended.value.code == HarnessError.exit_code
    assert "a connection was closed" in capsys.readouterr().err


# ------------------------------------------------------------------------------- characters

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [ASCII, POSIX])
def test_an_encoding_without_the_symbols_gets_similar_ones(
    run_folder: Path, environment: dict[str, str]
) -> None:
    done = antipaxos("show", str(run_folder), **environment)
    assert done.returncode == 0 and done.stderr == b""
    shown = done.stdout.decode("ascii")
    assert "answers/s" in shown and " <= " in shown and "\\u" not in shown


def test_what_has_no_similar_character_is_an_escape(tmp_path: Path) -> None:
    done = antipaxos("check", str(tmp_path / "größe→"), **ASCII)
    assert done.returncode == 64
    assert b"gr\\xf6\\xdfe>" in done.stderr and b"Traceback" not in done.stderr


def test_a_width_of_nothing_is_no_width(run_folder: Path) -> None:
    usual = antipaxos("show", str(run_folder), COLUMNS="80").stdout
    assert b"verdict  valid" in usual
    for columns in ("0", "\N{SUPERSCRIPT TWO}", "9" * 30):
        assert antipaxos("show", str(run_folder), COLUMNS=columns).stdout == usual


def test_control_characters_reach_no_terminal(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "h\x1b[31mx"
    shutil.copytree(run_folder, folder)
    empty = tmp_path / "\x1b]0;title\x07"
    empty.mkdir()
    for *arguments, path in (
        ("show", folder),
        ("explain", folder),
        ("report", folder),
        ("check", run_folder, folder, empty),
        ("check", empty),
        ("convert", empty, tmp_path / "out.edn"),
        ("convert", folder, tmp_path / "out\x1b.edn"),
    ):
        with pytest.raises(SystemExit):
            main([*map(str, arguments), str(path)])
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err and "\x07" not in told.out + told.err
        if arguments != ["explain"]:
            assert "\\x1b" in told.out + told.err


def test_a_console_keeps_its_own_control_codes() -> None:
    shown = io.StringIO()
    console = SafeConsole(file=shown, force_terminal=True, width=40, color_system="standard")
    console.print("x\x1b[2J\ty", style="red", highlight=False)
    console.print("\udce9")
    with console.status("works\x1b"):
        pass
    text = shown.getvalue()
    assert "\x1b[31mx\\x1b[2J" in text and "\\udce9" in text
    assert "\x1b[?25l" in text  # the cursor is hidden
    assert "works\\x1b" in text


def test_a_text_is_said_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1bb\nc")
    say("d", err=True, end="")
    assert tuple(capsys.readouterr()) == ("a\\x1bb\nc\n", "d")


def test_commands_print_through_one_module() -> None:
    for path in sorted((ROOT / "harness" / "cli").glob("*.py")):
        if path.name != "output.py":
            direct = re.findall(
                r"click\.echo\(|(?<!Safe)\bConsole\(|(?<!def )(?<!\.)\bprint\(", path.read_text()
            )
            assert not direct, f"{path.name} prints past output.py: {direct}"


def test_a_folder_whose_name_is_not_utf_8_has_a_page(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(run_folder, folder)
    done = antipaxos("report", str(folder))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"caf\\udce9/report.html\n")
    assert "<title>valid: caf?</title>" in (folder / "report.html").read_text()
    done = antipaxos("index", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert '"name":"caf?"' in (tmp_path / "index.html").read_text()
