"""A verdict is believed only as long as the folder is what the run has left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.explain import explain_command
from harness.cli.replay import replay_command
from harness.cli.show import show_command
from harness.errors import UsageError
from harness.report.index import rows
from harness.report.run_report import load_path
from harness.reproduce.replay import load, replay_simulated, replay_timings
from harness.run.recorded_verdict import verdict_of
from harness.run.verdict import judge_folder
from harness.search.swarm import SweepPlan
from harness.search.sweep import sweep
from harness.suite.night import CORPUS, add_to_corpus, corpus_jobs
from histories.folder import RunFolder
from tests.report.folders import simulated

WAS_CHANGED = "is not what was recorded: it was changed or cut since"


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is valid, with two nodes' files and more."""
    faults = ("partition", "kill")
    return simulated(tmp_path_factory.mktemp("runs"), faults=faults, time_us=2_000_000).path


@pytest.fixture(scope="module")
def invalid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which the planted bug shows."""
    store = tmp_path_factory.mktemp("runs")
    fixed = {"faults": ("partition", "pause", "loss", "delay"), "nodes": 3}
    plan = SweepPlan(protocol="multi-paxos", mutant="M3", fixed=fixed)
    result = sweep(plan, range(200), stop_at_first=True, store=store)
    return next(iter(result.groups.values())).folders[0]


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))


def cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def add_node(folder: Path) -> None:
    shutil.copyfile(folder / "nodes/n1.decided.jsonl", folder / "nodes/n6.decided.jsonl")


def no_faults(folder: Path) -> None:
    path = folder / "schedule.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"faults": []}))


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no history": (lambda f: (f / "history.jsonl").unlink(), "history.jsonl is missing"),
    "an empty history": (lambda f: (f / "history.jsonl").write_text(""), WAS_CHANGED),
    "half a history": (lambda f: cut(f / "history.jsonl"), f"history.jsonl {WAS_CHANGED}"),
    "no faults": (no_faults, f"schedule.json {WAS_CHANGED}"),
    "other settings": (lambda f: edit(f / "run.json", '"keys": 2', '"keys": 1'), "run.json is not"),
    "no files of nodes": (
        lambda f: shutil.rmtree(f / "nodes"),
        "nodes/n1.decided.jsonl is missing",
    ),
    "another node": (add_node, "nodes/n6.decided.jsonl is not of this run"),
    "no digests": (lambda f: (f / "digests.json").unlink(), "digests.json is missing"),
    "no verdict": (lambda f: (f / "verdict.json").unlink(), "verdict.json is missing"),
}


def test_a_folder_as_it_was_recorded_is_not_judged_again(valid: Path) -> None:
    found = verdict_of(RunFolder.open(valid))
    assert (found.outcome, found.judged_now, found.changes) == ("valid", False, ())
    assert [row.verdict for row in rows(valid.parent)] == ["valid"]
    result = replay_simulated(load(valid))
    assert (result.identical, result.outcome) == (True, "valid")


@pytest.mark.parametrize("name", EDITS)
def test_the_replay_of_a_changed_folder_is_unknown(name: str, valid: Path, tmp_path: Path) -> None:
    change, words = EDITS[name]
    folder = copied(valid, tmp_path)
    change(folder)
    arguments = [str(folder), "--store", str(tmp_path / "replays")]
    done = CliRunner().invoke(replay_command, arguments, standalone_mode=False)
    assert done.return_value == 2, done.output
    assert words in done.output and done.output.strip().endswith("unknown")
    assert "the same run, byte for byte" not in done.output
    assert replay_timings(load(folder), 1).outcome in ("unknown", "invalid")


@pytest.mark.parametrize("name", [name for name in EDITS if name != "no verdict"])
def test_no_output_says_that_a_changed_folder_is_valid(
    name: str, valid: Path, tmp_path: Path
) -> None:
    change, _ = EDITS[name]
    folder = copied(valid, tmp_path)
    change(folder)
    assert load_path(folder).outcome in ("unknown", "none")
    shown = CliRunner().invoke(show_command, [str(folder)]).output
    assert "verdict  valid" not in shown and "verdict.json says 'valid'" in shown.replace("\n", " ")
    explained = CliRunner().invoke(explain_command, [str(folder)]).output
    assert explained.splitlines()[0] in ("unknown", "unknown: the folder cannot be judged")
    assert [row.verdict for row in rows(tmp_path)] == ["unknown"]


def test_an_edited_verdict_is_not_believed(invalid: Path, tmp_path: Path) -> None:
    folder = copied(invalid, tmp_path)
    (folder / "verdict.json").write_text('{"verdict":"valid"}')
    data = load_path(folder)
    said = "verdict.json says 'valid', but what is in the folder is judged invalid"
    assert data.outcome == "invalid" and said in data.problems
    assert data.verdict == judge_folder(RunFolder(folder)).to_json() | {
        "linearizability": data.verdict["linearizability"]  # has the time that it took
    }
    explained = CliRunner().invoke(explain_command, [str(folder)]).output
    assert explained.splitlines()[0] == "invalid" and f"note: {said}" in explained.replace(
        "\n", " "
    )
    recorded = load(folder)  # as for `shrink`
    assert recorded.outcome == "invalid"
    [row] = rows(tmp_path)
    assert (row.verdict, row.sentence) == ("unknown", f"verdict.json {WAS_CHANGED}")


def test_a_replay_without_the_planted_bug_does_not_clear_the_run(
    invalid: Path, tmp_path: Path
) -> None:
    folder = copied(invalid, tmp_path)
    edit(folder / "run.json", '"mutant": "M3"', '"mutant": null')
    arguments = [str(folder), "--json", "--store", str(tmp_path)]
    done = CliRunner().invoke(replay_command, arguments, standalone_mode=False)
    document = json.loads(done.stdout.strip().splitlines()[-1])
    assert (done.return_value, document["verdict"]) == (2, "unknown")
    assert document["changed"] == [f"run.json {WAS_CHANGED}"]
    assert document["attempts"][0]["outcome"] == "valid"


def test_a_replay_that_is_invalid_is_invalid_whatever_was_changed(
    invalid: Path, tmp_path: Path
) -> None:
    folder = copied(invalid, tmp_path)
    (folder / "history.jsonl").unlink()
    assert replay_simulated(load(folder)).outcome == "invalid"


def test_a_changed_failure_in_a_corpus_is_not_run_as_if_it_were_the_same(
    invalid: Path, tmp_path: Path
) -> None:
    from harness.suite.findings import Finding  # noqa: PLC0415

    finding = Finding(signature="s", subject="multi-paxos+M3", detector="agreement", kind="k")
    add_to_corpus(tmp_path, invalid, finding)
    [job] = corpus_jobs(tmp_path)
    assert job.run()[0].cluster.mutant == "M3"
    [folder] = (tmp_path / CORPUS).iterdir()
    edit(folder / "run.json", '"mutant": "M3"', '"mutant": null')
    with pytest.raises(UsageError, match=r"run\.json is not what was recorded"):
        job.run()
