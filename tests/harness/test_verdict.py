"""The verdict on a run, from its history alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from faults.kinds.kill import Kill
from harness.run.config import RunConfig
from harness.run.expected import fingerprints, write_digests
from harness.run.recorded_faults import faults_of
from harness.run.run_sequence import execute
from harness.run.verdict import RunVerdict, judge_folder
from harness.runtimes.sim.runtime import SimRuntime
from histories.errors import BadFolder, HistoryError
from histories.events import Event
from histories.folder import RunFolder
from histories.recorder import HistoryWriter
from tests.harness.scripted import ScriptedWorld, play


def record(store: Path, events: list[Event]) -> RunFolder:
    folder = RunFolder.create(store, "run")
    expected = {"decided_logs": False, "nodes": [1, 2, 3]}
    folder.write_run({"seed": 0, "model": "kv", "expected": expected, "collected": {}})
    with HistoryWriter(folder.history) as writer:
        writer.extend(events)
    return folder


def judged(store: Path, events: list[Event]) -> RunVerdict:
    return judge_folder(record(store, events), time_limit_s=30)


def test_a_healthy_run_is_valid(tmp_path: Path) -> None:
    verdict = judged(tmp_path, play()[2])
    assert verdict.outcome == "valid" and verdict.exit_code == 0
    assert verdict.detectors()["liveness"] == "valid"
    assert verdict.availability.outcomes["ok"] > 0


def test_a_fault_that_did_not_take_effect_makes_it_unknown(tmp_path: Path) -> None:
    world = ScriptedWorld()
    world.verified = False
    fault = Kill(id="f1", start_us=100_000, duration_us=100_000, nodes=(2,))
    verdict = judged(tmp_path, play(faults=(fault,), world=world)[2])
    assert verdict.outcome == "unknown" and verdict.exit_code == 2
    assert any("kill n2" in reason for reason in verdict.reasons)


def test_not_live_is_invalid_and_names_the_waiting_operation(tmp_path: Path) -> None:
    def dies(world: ScriptedWorld, node: int, command: Any) -> Any:
        from tests.harness.scripted import store_that_answers  # noqa: PLC0415

        return store_that_answers(world, node, command) if world.now_us < 1_000_000 else None

    verdict = judged(tmp_path, play(dies, liveness_timeout_us=5_000_000)[2])
    assert verdict.outcome == "invalid"
    assert verdict.liveness.outcome == "invalid" and "final round" in verdict.liveness.reason
    assert verdict.linearizability.outcome == "valid"


def test_a_stale_read_is_invalid_with_a_sentence(tmp_path: Path) -> None:
    events = play(keys=1)[2]
    reads = [e for e in events if e.type == "ok" and e.f == "read" and e.value is not None]
    early, late = reads[0].value, reads[-1]
    assert late.value != early
    events[late.index] = late._replace(value=early)
    verdict = judged(tmp_path, events)
    assert verdict.outcome == "invalid" and verdict.exit_code == 1
    assert str(early) in verdict.reasons[0]


def test_a_run_that_was_cut_off_is_judged_by_what_was_recorded(tmp_path: Path) -> None:
    events = play()[2]
    verdict = judged(tmp_path, events[: len(events) // 2])
    assert verdict.outcome == "unknown" and verdict.exit_code == 2
    assert verdict.linearizability.outcome == "valid"
    assert verdict.liveness.outcome == "unknown"
    assert any("cut off" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("step", "words"), [("inject", "took effect"), ("heal", "ended")])
def test_a_fault_whose_report_is_missing_is_not_proven(
    tmp_path: Path, step: str, words: str
) -> None:
    fault = Kill(id="f1", start_us=100_000, duration_us=100_000, nodes=(2,))
    events = play(faults=(fault,))[2]
    left = [e for e in events if not (e.f == step and e.type == "info")]
    assert len(left) == len(events) - 1
    renumbered = [e._replace(index=i) for i, e in enumerate(left)]
    verdict = judged(tmp_path, renumbered)
    assert verdict.outcome == "unknown"
    assert f"there is no report that kill n2 (f1) {words}" in verdict.reasons


@pytest.fixture
def recorded(tmp_path: Path) -> RunFolder:
    """A valid simulated run, as any command records it."""
    settings = {"snapshot_every": 10}
    config = RunConfig.of(target="raft", nodes=3, on="sim", time_us=500_000, settings=settings)
    result = execute(config, tmp_path)
    assert result.verdict.outcome == "valid"
    assert judge_folder(result.folder).outcome == "valid"
    return result.folder


@pytest.mark.parametrize("nodes", [(2,), (1, 2, 3)])
@pytest.mark.parametrize("how", ["deleted", "emptied", "shortened", "changed"])
def test_missing_evidence_is_named(recorded: RunFolder, nodes: tuple[int, ...], how: str) -> None:
    for node in nodes:
        path = recorded.node_decided(node)
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        if how == "deleted":
            path.unlink()
        elif how == "emptied":
            path.write_text("")
        elif how == "shortened":
            path.write_text("".join(lines[:-1]))
        else:
            path.write_text(text.replace('"write"', '"wrote"'))
    verdict = judge_folder(recorded)
    assert verdict.outcome == "unknown" and verdict.linearizability.outcome == "valid"
    for node in nodes:
        assert any(f"n{node}.decided.jsonl" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("how", ["deleted", "emptied", "changed"])
def test_state_digests_that_are_gone_or_changed_are_named(recorded: RunFolder, how: str) -> None:
    """And are not compared: what a changed file says is not a finding."""
    (path,) = [path for node, path in recorded.state_files() if node == 2]
    if how == "deleted":
        path.unlink()
    elif how == "emptied":
        path.write_text("")
    else:
        path.write_text(path.read_text().replace('"digest":"', '"digest":"00'))
    verdict = judge_folder(recorded)
    assert verdict.outcome == "unknown" and verdict.agreement is not None
    assert any("n2.states.jsonl" in reason for reason in verdict.reasons)


def test_a_run_that_left_no_state_digests_is_unknown(recorded: RunFolder) -> None:
    for _, path in recorded.state_files():
        path.unlink()
    document = recorded.read_json("run.json") | {"collected": fingerprints(recorded.nodes)}
    rewrite(recorded, document)
    verdict = judge_folder(recorded)
    assert verdict.outcome == "unknown"
    assert "the file of state digests nodes/n2.states.jsonl was not collected" in verdict.reasons


def test_states_that_differ_make_a_recorded_run_invalid(recorded: RunFolder) -> None:
    assert judge_folder(recorded).agreement.states > 0  # type: ignore[union-attr]
    (path,) = [path for node, path in recorded.state_files() if node == 2]
    changed = path.read_text().replace('"digest":"', '"digest":"00')
    path.write_text(changed)
    document = recorded.read_json("run.json") | {"collected": fingerprints(recorded.nodes)}
    rewrite(recorded, document)
    verdict = judge_folder(recorded)
    assert verdict.outcome == "invalid" and verdict.exit_code == 1
    assert verdict.detectors()["linearizability"] == "valid"
    assert verdict.detectors()["agreement"] == "invalid"
    assert "state after slot" in verdict.reasons[0]


def rewrite(folder: RunFolder, document: dict[str, Any]) -> None:
    """Another run.json, with digests that fit it: as if it had been recorded so."""
    folder.write_json("run.json", document)
    write_digests(folder)


@pytest.mark.parametrize("name", ["run.json", "schedule.json", "history.jsonl", "digests.json"])
@pytest.mark.parametrize("how", ["deleted", "changed"])
def test_what_was_edited_after_the_run_is_named(recorded: RunFolder, name: str, how: str) -> None:
    path = recorded.path / name
    if how == "deleted":
        path.unlink()
    elif name in ("run.json", "schedule.json"):
        recorded.write_json(name, recorded.read_json(name) | {"seed": 99})
    elif name == "digests.json":
        recorded.write_json(name, {"run.json": recorded.read_json(name)["run.json"]})
    else:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:5] + lines[7:]))
    if name == "history.jsonl" and how == "deleted":
        with pytest.raises(HistoryError, match=r"history\.jsonl"):
            judge_folder(recorded)
        return
    verdict = judge_folder(recorded)
    assert verdict.outcome != "valid"
    accused = "history.jsonl" if (name, how) == ("digests.json", "changed") else name
    assert any(accused in reason for reason in verdict.reasons), verdict.reasons


def test_a_fault_that_was_deleted_from_every_file_but_the_digests_is_missed(tmp_path: Path) -> None:
    """Both reports of a fault that was not proven, and its entry in the schedule."""
    config = RunConfig.of(
        target="raft", nodes=3, on="sim", seed=4, time_us=2_000_000, faults=("kill",)
    )
    folder = execute(config, tmp_path).folder
    lines = folder.history.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"f":"inject"' not in line and '"f":"heal"' not in line]
    assert len(kept) < len(lines)
    folder.history.write_text("".join(kept))
    folder.write_json("schedule.json", folder.read_json("schedule.json") | {"faults": []})
    verdict = judge_folder(folder)
    assert verdict.outcome == "unknown" and not verdict.faults
    assert "history.jsonl is not what was recorded: it was changed or cut since" in verdict.reasons
    folder.digests.write_text('{"run.json": ')
    assert any("digests.json" in reason for reason in judge_folder(folder).reasons)


def test_what_could_not_be_collected_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SimRuntime.collect

    def collect(self: SimRuntime, folder: Path) -> dict[str, str]:
        real(self, folder)
        (folder / "n2.decided.jsonl").unlink()
        return {"n2.decided.jsonl": "the engine did not deliver it within 60 s"}

    monkeypatch.setattr(SimRuntime, "collect", collect)
    config = RunConfig.of(target="raft", nodes=3, on="sim", time_us=500_000)
    verdict = execute(config, tmp_path).verdict
    assert verdict.outcome == "unknown" and verdict.agreement is None
    assert verdict.reasons == [
        "nodes/n2.decided.jsonl could not be collected: the engine did not deliver it within 60 s"
    ]


def test_a_folder_whose_logs_were_never_collected_is_unknown(recorded: RunFolder) -> None:
    document = recorded.read_json("run.json")
    del document["collected"]
    recorded.write_json("run.json", document)
    verdict = judge_folder(recorded)
    assert verdict.outcome == "unknown"
    assert any("not collected" in reason for reason in verdict.reasons)


def test_an_interrupted_run_is_unknown_with_its_findings(tmp_path: Path) -> None:
    world = ScriptedWorld()
    world.at(500_000, lambda: world.conductor.interrupt(world.now_us))
    verdict = judged(tmp_path, play(world=world)[2])
    assert verdict.outcome == "unknown" and verdict.linearizability.outcome == "valid"
    assert any("interrupted" in reason for reason in verdict.reasons)


def test_a_run_without_answers_is_not_valid(tmp_path: Path) -> None:
    events = play(lambda *_: None, liveness_timeout_us=4_000_000)[2]
    verdict = judged(tmp_path, events)
    assert verdict.outcome != "valid"


def test_a_corrupt_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = record(tmp_path, play()[2])
    lines = folder.history.read_text().splitlines()
    lines[7] = '{"index":7,'
    folder.history.write_text("\n".join(lines) + "\n")
    with pytest.raises(HistoryError, match="8"):
        judge_folder(folder)


def test_faults_are_listed_with_their_times_and_reports() -> None:
    fault = Kill(id="f1", start_us=100_000, duration_us=300_000, nodes=(2,))
    (found,) = faults_of(play(faults=(fault,))[2])
    assert (found["id"], found["kind"], found["what"]) == ("f1", "kill", "kill n2")
    assert 0.29 < found["for_s"] < 0.32
    assert found["inject"]["verified"] and found["heal"]["verified"]


def test_a_decided_log_that_is_none_leaves_the_rest_judged(tmp_path: Path) -> None:
    folder = record(tmp_path, play()[2])
    folder.node_decided(2).write_bytes(b"\0" * 1_000_000)
    verdict = judge_folder(folder, time_limit_s=30)
    assert verdict.outcome == "unknown" and verdict.agreement is None
    assert verdict.linearizability.outcome == "valid"
    [reason] = [r for r in verdict.reasons if "n2.decided.jsonl" in r]
    assert len(reason) < 400 and reason.isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expected": None}, "expected is None"),
        ({"expected": {"decided_logs": 0}}, "decided_logs is 0"),
        ({"expected": {"nodes": [[1]]}}, r"nodes are \[\[1\]\]"),
        ({"collected": [1]}, r"collected is \[1\]"),
        ({"collected": None}, "were not collected"),
        ({"uncollected": {"n1.log.jsonl": 5}}, "uncollected is"),
    ],
)
def test_a_run_that_does_not_say_what_was_recorded_is_no_pass(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = record(tmp_path, play()[2])
    folder.write_json("run.json", folder.read_json("run.json") | change)
    verdict = judge_folder(folder, time_limit_s=30)
    assert verdict.outcome == "unknown" and verdict.linearizability.outcome == "valid"
    assert re.search(words, " ".join(verdict.reasons))


def test_neither_is_one_without_its_description_or_with_a_torn_end(tmp_path: Path) -> None:
    folder = record(tmp_path, play()[2])
    with folder.history.open("ab") as file:
        file.write(b'{"index":')
    assert any("cut off in the middle" in reason for reason in judge_folder(folder).reasons)
    folder.run.unlink()
    assert "run.json is missing" in " ".join(judge_folder(folder).reasons)


@pytest.mark.parametrize("text", ['{"format": 2, "model": [1]}', "[]", "5", '{"format": true}'])
def test_a_description_of_the_wrong_types_is_refused(tmp_path: Path, text: str) -> None:
    folder = record(tmp_path, play()[2])
    folder.run.write_text(text)
    with pytest.raises(BadFolder):
        judge_folder(RunFolder.open(folder.path))
