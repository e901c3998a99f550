"""What the terminal says of runs that are unknown or cannot be judged, and what to do about it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.cli.evidence import show_agreement
from harness.report.next_steps import STEPS, next_step
from harness.run.node_findings import client_findings, node_findings
from harness.run.recorded_faults import unproven
from histories.agreement import AgreementVerdict
from histories.events import NEMESIS, Event
from histories.folder import RunFolder
from tests.report.folders import operation, simulated, written

PAGE = Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md"
FAULT = {"what": "kill n2", "id": "f1", "healing": True}
SEEN = {"verified": True}


def finding(**value: object) -> str:
    event = Event(0, 0, NEMESIS, "info", "node", value={"role": "node", "node": 1} | value)
    return node_findings([event])[0].sentence


def reasons() -> list[str]:
    """One of each kind, made by the code that makes them."""
    problems = [{"node": 1, "kind": "failures", "count": 1, "first": "ValueError"}]
    client = Event(0, 0, NEMESIS, "info", "node", value={"role": "client", "problems": problems})
    return [
        *unproven([FAULT | {"inject": {"verified": False}, "heal": SEEN}], kept=False),
        *unproven([FAULT | {"inject": SEEN, "heal": {"verified": False}}], kept=False),
        *unproven([FAULT | {"inject": None, "heal": None}], kept=False),
        *unproven([FAULT | {"inject": SEEN, "heal": None}], kept=False),
        finding(what="was paused", by="outside"),
        finding(what="did not deliver its events any longer", by="unknown", role="engine"),
        finding(what="ended", by="unknown", role="agent"),
        finding(what="did not answer within 15 s of the end of the run", by="unknown"),
        finding(what="did not answer at the end of the run", by="unknown", role="agent"),
        client_findings([client])[0].sentence,
        "the run was stopped because healing did not end in time: kill n2",
        "nodes/n1.log.jsonl could not be collected: the engine did not deliver it within 60 s",
        "the decided log nodes/n1.decided.jsonl was not collected",
        "the nodes' logs were not collected: the run was cut off before",
        "history.jsonl is missing from the folder",
        "run.json is not what was recorded: it was changed or cut since",
        "nodes/n9.log.jsonl is not of this run: it was added to the folder",
        "key k0: undecided after 5 of 10 operations: the time limit",
        "undecided after 5 of 10 operations: the memory limit",
        "the run was interrupted: liveness was not checked",
        "the run was cut off: liveness was not checked",
        "no operation was answered: there is nothing to judge",
    ]


@pytest.mark.parametrize("reason", reasons())
def test_every_reason_has_a_next_step(reason: str) -> None:
    assert next_step(reason, "FOLDER") != ""


def test_every_step_has_a_reason_and_a_row_in_the_documentation() -> None:
    cells = re.findall(r'"([^"]+)"', PAGE.read_text())
    for step in STEPS:
        assert any(step.reason.search(reason) for reason in reasons()), step
        assert any(step.reason.search(cell) for cell in cells), step


def test_an_unknown_run_is_explained_with_the_folder_in_its_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulated(tmp_path)
    (folder.nodes / "n1.decided.jsonl").unlink()
    folder.verdict.unlink()
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(folder.path)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("unknown\n")
    assert "→ the folder is not as the run left it: restore it, or replay it" in said
    assert "docs/troubleshooting.md" in said
    with pytest.raises(SystemExit):
        main(["show", str(folder.path)])
    assert f"explain  antipaxos explain {folder.path}" in capsys.readouterr().out


def test_a_folder_that_cannot_be_judged_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path, "broken")
    folder.write_run({"model": "kv"})
    folder.history.write_text("not a history\n")
    for command in ("explain", "show"):
        with pytest.raises(SystemExit) as ended:
            main([command, str(folder.path)])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert "unknown: the folder cannot be judged" in said
        assert "none" not in re.findall(r"verdict +(\w+)", said)


def test_check_prints_the_reason_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All operations are linearizable, but the run was interrupted."""
    phase = Event(2, 9_000_000, NEMESIS, "info", "phase", value="heal")
    done = Event(3, 9_000_000, NEMESIS, "info", "phase", value="done", extra={"interrupted": True})
    events = [*operation(0, 0, 0, "write", "k", 1), phase, done]
    folder = written(tmp_path, "stopped", events, run={"format": 1, "model": "kv"})
    with pytest.raises(SystemExit) as ended:
        main(["check", str(folder.path)])
    assert ended.value.code == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "unknown  the run was interrupted: liveness was not checked"
    assert lines[1].startswith("  linearizability: ")
    assert sum("the run was interrupted" in line for line in lines) == 1


def test_operations_that_were_not_sent_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulated(tmp_path, nodes=4, learners=1)
    lines = folder.history.read_text().splitlines()
    done = json.loads(lines[-1]) | {"shed": 96}
    folder.history.write_text("\n".join([*lines[:-1], json.dumps(done)]) + "\n")
    with pytest.raises(SystemExit):
        main(["show", str(folder.path)])
    said = " ".join(capsys.readouterr().out.split())
    assert "96 operations were not sent, because all 4 clients were waiting for an answer" in said
    assert "nodes 4 (1 learner)" in said and "check antipaxos check" in said


def test_a_missing_schedule_says_what_follows_and_not_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulated(tmp_path)
    folder.schedule.unlink()
    for command in ("replay", "show"):
        with pytest.raises(SystemExit):
            main([command, str(folder.path)])
        told = capsys.readouterr()
        said = " ".join((told.out + told.err).split())
        assert "schedule.json is missing from the folder: without it the run cannot be" in said
        assert "cut off before it wrote" not in said


@pytest.mark.parametrize("command", ["check", "show", "explain", "replay", "report"])
def test_the_store_in_place_of_a_run_names_its_runs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("20260101T000000-a", "20260102T000000-b"):
        RunFolder.create(tmp_path, name).write_run({"model": "kv"})
    with pytest.raises(SystemExit) as ended:
        main([command, str(tmp_path)])
    assert ended.value.code == 64
    said = " ".join(capsys.readouterr().err.split())
    assert f"it contains 2 run folders: name one, for example {tmp_path}/20260102T000000-b" in said
    assert f"antipaxos index {tmp_path} lists them" in said


@pytest.mark.parametrize("name", ["run.json", "notes.md"])
def test_a_file_of_another_kind_is_no_history_in_a_known_format(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text('{\n "format": 2\n}\n' if name == "run.json" else "# Notes\n\ntext [\n")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    assert ended.value.code == 64
    said = " ".join(capsys.readouterr().err.split())
    assert f"{path} is not a history in a known format (line 1 is not" in said
    assert "give the folder of a run or its history.jsonl, or name the format with --format" in said
    with pytest.raises(SystemExit):
        main(["check", str(path), "--format", "native"])
    assert "in a known format" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "5 nodes, states"), (1, "1 command decided twice (retried; applied once), states")],
)
def test_commands_decided_twice_are_explained(count: int, words: str) -> None:
    out = io.StringIO()
    verdict = AgreementVerdict(
        nodes=(1, 2, 3, 4, 5), slots=9, commands=9, found=0, duplicates=count
    )
    show_agreement(Console(file=out, width=200), verdict)
    assert words in out.getvalue()
