"""Folders from outside with pipes in place of files, and with documents of another shape."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from faults.description import BadFault
from faults.schedule import schedule_from_json
from harness.cli import main
from harness.cli.output import SafeConsole
from harness.errors import UsageError
from harness.report.explanation import explain_run
from harness.report.index import row_of, write_index
from harness.report.page import run_page, write_report
from harness.report.run_report import load
from harness.report.text import show_run
from harness.reproduce import replay
from harness.reproduce.story import tell
from harness.run.verdict import judge_folder
from harness.run.verdict_shape import what_is_wrong
from histories.errors import BadFolder, HistoryError
from histories.folder import RunFolder
from histories.reader import read_history
from histories.untrusted import NotRegular, open_regular
from tests.test_structure import ROOT

CORPUS = ROOT / "histories" / "corpus"
SECONDS_MAX = 30


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """Who waits for a pipe is interrupted."""

    def waited(*_: Any) -> NoReturn:
        raise AssertionError("something waits for a pipe")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(SECONDS_MAX)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A recorded run that is invalid, with a verdict and a story."""
    shutil.copytree(CORPUS / "multi-paxos-M1", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    for name in ("pipe", "link", "/dev/null"):
        with pytest.raises(NotRegular, match="it is not a regular file"):
            open_regular(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"


@pytest.mark.parametrize("name", ["run.json", "history.jsonl", "history.jsonl.gz"])
def test_what_the_folder_of_a_run_must_have_is_a_file(folder: RunFolder, name: str) -> None:
    if name.endswith(".gz"):
        folder.history.unlink()
    pipe(folder.path / name)
    for read in (RunFolder.open, read_history):
        with pytest.raises(BadFolder, match=rf"{name} cannot be read: it is not a regular file"):
            read(folder.path)
    row_of(folder.path, folder.path.parent)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digests.json", "digests.json cannot be read: it is not a regular file"),
        ("schedule.json", "schedule.json cannot be read: it is not a regular file"),
        ("nodes/n7.decided.jsonl", "n7.decided.jsonl: cannot be read: it is not a regular file"),
        ("nodes/n7.states.jsonl", "n7.states.jsonl: cannot be read: it is not a regular file"),
    ],
)
def test_a_pipe_instead_of_evidence_is_named(folder: RunFolder, name: str, words: str) -> None:
    if not folder.digests.exists():
        folder.write_json("digests.json", {"schedule.json": {"bytes": 1, "sha256": "0"}})
    pipe(folder.path / name)
    verdict = judge_folder(folder)
    assert any(words in reason for reason in verdict.reasons), verdict.reasons
    everything(folder)


@pytest.mark.parametrize(
    "name",
    ["verdict.json", "story.txt", "nodes/clock.json", "nodes/messages.jsonl", ".report.html.part"],
)
def test_a_page_does_not_wait_for_a_pipe(folder: RunFolder, name: str) -> None:
    pipe(folder.path / name)
    everything(folder)
    pipe(folder.path.parent / "index.html")
    assert "multi-paxos" in write_index(folder.path.parent).read_text()


def test_a_page_is_not_written_through_a_link(folder: RunFolder) -> None:
    other = folder.path.parent / "other"
    other.write_text("kept")
    for name in ("report.html", ".report.html.part"):
        (folder.path / name).symlink_to(other)
    assert write_report(folder).is_file()
    assert other.read_text() == "kept" and not (folder.path / "report.html").is_symlink()


def everything(folder: RunFolder) -> str:
    """What every reader of the folder says in a terminal; refusals are not errors."""
    console = SafeConsole(file=io.StringIO(), width=200)
    data = load(RunFolder.open(folder.path))
    show_run(data, console, evidence=True)
    explain_run(data, console)
    run_page(data)
    write_report(folder)
    row_of(folder.path, folder.path.parent)
    for read in (replay.load, tell):
        try:
            read(folder.path)
        except (HistoryError, UsageError):
            continue
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# ------------------------------------------------------------------------------- verdict.json


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"verdict": [1]}, "verdict is [1]"),
        ({"verdict": "valid\x1b[31m"}, "verdict is 'valid\\x1b[31m'"),
        ({"verdict": "good"}, "verdict is 'good'"),
        ({"verdict": None}, "verdict is None"),
        ({"notes": 5}, "notes is 5"),
        ({"notes": [5]}, "notes[0] is 5"),
        ({"reasons": {"a": 1}}, "reasons is {'a': 1}"),
        ({"detectors": [1]}, "detectors is [1]"),
        ({"detectors": {"agreement": 1}}, "detectors.agreement is 1"),
        ({"liveness": 1}, "liveness is 1"),
        ({"faults": [1]}, "faults[0] is 1"),
        ({"agreement": {"findings": 1}}, "agreement.findings is 1"),
        ({"agreement": {"findings": [{"slot": [1]}]}}, "agreement.findings[0].slot is [1]"),
        ({"linearizability": "x"}, "linearizability is 'x'"),
        ({"linearizability": {"partitions": [1]}}, "linearizability.partitions[0] is 1"),
        ({"linearizability": {"operations": True}}, "linearizability.operations is True"),
        ({"linearizability": {"operations": 1 << 63}}, "operations is 9223372036854775808"),
    ],
    ids=str,
)
def test_a_verdict_of_another_shape_is_named_and_not_shown(
    folder: RunFolder, wrong: dict[str, Any], words: str
) -> None:
    document = json.loads(folder.verdict.read_text()) | wrong
    assert words in what_is_wrong(document)
    folder.write_json("verdict.json", document)
    shown = everything(folder)
    assert "verdict.json cannot be read: " in shown and words in shown
    assert "verdict  invalid" in shown  # it is judged again
    assert replay.load(folder.path).judgement.document["verdict"] == "invalid"


def test_the_verdicts_of_recorded_runs_have_the_shape() -> None:
    paths = sorted(CORPUS.glob("*/verdict.json"))
    assert len(paths) >= 10
    for path in paths:
        assert what_is_wrong(json.loads(path.read_text())) == ""


def test_a_verdict_may_lack_parts() -> None:
    assert what_is_wrong({"verdict": "unknown", "agreement": None, "later": [1]}) == ""
    assert what_is_wrong({}) == "verdict is None"


def test_an_operation_that_the_model_cannot_have_is_shown(tmp_path: Path) -> None:
    """Found by changing values of recorded verdicts at random."""
    folder = RunFolder(shutil.copytree(CORPUS / "multi-paxos-M8", tmp_path / "run"))
    document = json.loads(folder.verdict.read_text())
    changed = 0
    for part in document["linearizability"]["partitions"]:
        for op in (part.get("evidence") or {}).get("operations", []):
            op["f"], op["value"], changed = "cas", [1], changed + 1
    assert changed
    folder.write_json("verdict.json", document)
    everything(folder)


@pytest.mark.parametrize("kinds", [5, [1], [{}], "kill", {"kill": 1}])
def test_kinds_of_faults_may_be_anything(folder: RunFolder, kinds: Any) -> None:
    document = json.loads(folder.run.read_text())
    document["config"] = document["config"] | {"kinds": kinds, "faults": None}
    folder.write_json("run.json", document)
    everything(folder)


def test_the_faults_of_a_schedule_are_a_list(folder: RunFolder) -> None:
    document = json.loads(folder.schedule.read_text())
    folder.write_json("schedule.json", document | {"faults": 5})
    assert "schedule.json cannot be read: its faults are not a list" in everything(folder)
    for wrong in ({"nodes": 5}, {"nodes": ["1"]}, {"faults": [{"kind": {}}]}):
        with pytest.raises(BadFault):
            schedule_from_json(document | wrong)


def test_a_pipe_ends_a_command_with_a_sentence(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(folder.history)
    for command in ("check", "show", "explain", "report", "replay", "shrink"):
        with pytest.raises(SystemExit) as ended:
            main([command, str(folder.path)])
        told = capsys.readouterr().err
        assert ended.value.code == 64 and told.count("\n") == 1
        assert "history.jsonl cannot be read: it is not a regular file" in told
