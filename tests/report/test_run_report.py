"""The data taken from a run's folder: columns, bands, failing parts, coverage."""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from pathlib import Path
from typing import Any

import pytest

from harness.report.columns import Texts, encode_numbers
from harness.report.failures import failing_parts
from harness.report.history import read_events
from harness.report.operations import INFO, MISMATCH, OK, OPEN, operations_of
from harness.report.page import report_after_run
from harness.report.run_report import bundle, load, load_path
from histories.errors import BadFolder
from histories.events import Event
from histories.folder import RunFolder
from histories.formats.native import read
from tests.report.folders import operation, recorded, simulated, written

TYPES = {"u8": "B", "u16": "H", "u32": "I", "f64": "d"}


def decoded(column: dict[str, Any]) -> list[int]:
    data = base64.b64decode(column["data"])
    values = array(TYPES[column["type"]], zlib.decompress(data) if column["zip"] else data)
    total, found = 0, []
    for value in values:
        total = total + int(value) if column["rising"] else int(value)
        found.append(total)
    return found


@pytest.mark.parametrize(
    "values", [[], [0], [255], [256, 0], [1 << 32], [70_000, 1], list(range(0, 9_000_000, 3_001))]
)
def test_columns_round_trip(values: list[int]) -> None:
    assert decoded(encode_numbers(values)) == values
    assert decoded(encode_numbers(sorted(values), rising=True)) == sorted(values)


def test_operations_are_paired_with_every_outcome() -> None:
    events = [
        Event(0, 0, 0, "invoke", "write", "k", 1),
        Event(1, 1000, 1, "invoke", "cas", "k", [1, 2]),
        Event(2, 2000, 2, "invoke", "read", "k"),
        Event(3, 5000, 0, "ok", "write", "k", 1, node=2),
        Event(4, 6000, 1, "fail", "cas", "k", [1, 2], None, "mismatch", 7, True),
        Event(5, 9000, 2, "info", "read", "k", None, None, "timeout"),
        Event(6, 9500, 3, "invoke", "write", "k", 3),
        Event(7, 9900, 4, "ok", "write", "k", 3),  # a completion without an invocation
    ]
    found = operations_of(events, Texts())
    assert found.outcome == [OK, MISMATCH, INFO, OPEN]
    assert found.start_us == [0, 1, 2, 9]
    assert found.end_us == [5, 6, 9, 9]
    assert found.returns == [3, 4, 5, 0]
    assert found.node == [2, 0, 0, 0]
    assert found.result[0] == 0 and found.result[1] > 0
    assert found.errors.list() == ["", "timeout"]


def test_an_invalid_history_shows_how_far_an_order_gets(tmp_path: Path) -> None:
    events = [
        *operation(0, 0, 0, "write", "k", 1),
        *operation(2, 1, 10, "write", "k", 2),
        *operation(4, 0, 20, "read", "k", None, 1),
        *operation(6, 0, 30, "read", "k", None, 2),
    ]
    data = load(written(tmp_path, "stale", events))
    assert data.outcome == "invalid" and data.judged_now
    [part] = bundle(data)["failing"]
    assert part["numbers"] == [0, 1, 2] or part["numbers"] == [1, 2]
    assert part["reach"] == {"completions": 2, "of": 4, "number": 2, "order": [0, 1]}
    stuck = part["partial"]["stuck"]
    assert list(stuck) == [str(len(part["numbers"]) - 1)]
    assert "could not have been answered so" in next(iter(stuck.values()))


def test_a_verdict_of_another_tool_has_no_failing_part() -> None:
    assert failing_parts({"verdict": "invalid"}, [], operations_of([], Texts()), "kv") == []


def test_a_valid_run_has_linearization_points(tmp_path: Path) -> None:
    data = load(simulated(tmp_path))
    assert data.outcome == "valid"
    document = bundle(data)
    points = decoded(document["operations"]["columns"]["point"])
    spans = decoded(document["operations"]["columns"]["span_us"])
    outcomes = decoded(document["operations"]["columns"]["outcome"])
    assert len(points) == len(data.operations)
    for point, span, outcome in zip(points, spans, outcomes, strict=True):
        if outcome in (OK, MISMATCH):
            assert 1 <= point <= span + 1


def test_faults_have_their_four_times(tmp_path: Path) -> None:
    data = load(simulated(tmp_path))
    assert data.bands
    for band in data.bands:
        assert band.proven_us is not None and band.heal_asked_us is not None
        assert band.asked_us <= band.proven_us <= band.heal_asked_us <= (band.healed_us or 0)
    assert {b.effect for b in data.bands} <= {"down", "paused", "cut", "clock"}


def test_untested_aspects_are_derived_from_the_run(tmp_path: Path) -> None:
    quiet = bundle(load(simulated(tmp_path, faults=())))["coverage"]
    texts = {line["text"]: line["tested"] for line in quiet}
    assert texts["the leader never changed"] is False
    assert texts["no node recovered from its disk after the start"] is False
    assert not any(line["tested"] for line in quiet if line["area"] == "faults")
    broken = bundle(load(simulated(tmp_path)))["coverage"]
    assert any(line["tested"] and "injected" in line["text"] for line in broken)


def test_replicas_that_disagree_are_shown_with_their_records(tmp_path: Path) -> None:
    document = bundle(load(recorded("multi-paxos-M9", tmp_path)))
    [finding] = document["disagreements"]
    assert {record["slot"] for record in finding["records"]} == {3}
    assert {record["ballot"] for record in finding["records"]} == {"1.3", "2.4"}
    assert document["story"][0]["at_us"] is None
    assert any(line["at_us"] == 1_781_202 for line in document["story"])


def test_a_run_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    folder = simulated(tmp_path)
    lines = folder.history.read_bytes().splitlines(keepends=True)
    folder.history.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:20])
    folder.verdict.unlink()
    data = load(folder)
    assert any("cut off" in problem for problem in data.problems)
    assert data.judged_now and len(data.operations) > 0
    assert bundle(data)["operations"]["count"] == len(data.operations)


@pytest.mark.parametrize("content", [b"", b"not json\n", b'{"type": "invoke"}\n'])
def test_an_unreadable_history_is_reported(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder.create(tmp_path, "empty")
    folder.write_run({})
    folder.history.write_bytes(content)
    data = load(folder)
    document = bundle(data)
    assert document["header"]["verdict"] == "none"
    assert document["operations"]["count"] == 0
    assert any("the history" in note for note in document["header"]["notes"])


def test_a_history_is_shown_up_to_its_first_wrong_line(tmp_path: Path) -> None:
    folder = written(tmp_path, "wrong", operation(0, 0, 0, "write", "k", 1))
    with folder.history.open("a") as file:
        file.write('{"time": 5, "process": 0, "type": "invoke", "f": "read"}\n')
        file.write('{"time": 9000000, "process": 1, "type": "invoke", "f": "read"}\n')
    data = load(folder)
    assert len(data.operations) == 1
    assert any("up to line 3" in problem for problem in data.problems)
    assert any("could not be judged" in problem for problem in data.problems)


@pytest.mark.parametrize("name", ["multi-paxos-M2", "multi-paxos-B5"])
def test_events_are_read_as_the_strict_reader_does(tmp_path: Path, name: str) -> None:
    folder = recorded(name, tmp_path)
    events, problems = read_events(folder.history)
    strict = [
        event._replace(key=event.key and str(event.key)) for event in read(folder.history).events
    ]
    assert problems == [] and events == strict


def test_a_page_that_cannot_be_written_does_not_lose_the_verdict(tmp_path: Path) -> None:
    folder = simulated(tmp_path, faults=())
    (folder.path / "report.html").mkdir()
    assert "report.html" in report_after_run(folder)
    (folder.path / "report.html").rmdir()
    assert report_after_run(folder) == ""
    assert "Content-Security-Policy" in (folder.path / "report.html").read_text()
    assert not list(folder.path.glob("*.part")) and not list(folder.path.glob(".*.part"))


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFolder):
        load_path(tmp_path)


def test_logs_of_other_systems_are_put_on_the_runs_clock(tmp_path: Path) -> None:
    folder = written(tmp_path, "etcd", operation(0, 0, 1000, "write", "k", 1), run={"format": 1})
    clock = {"zero_ns": 5_000_000_000, "zero_wall_ns": 1_795_752_682_000_000_000}
    (folder.nodes / "clock.json").write_text(json.dumps(clock))
    lines = [
        {"ts": "2026-11-27T04:11:23.500000Z", "msg": "a1 became candidate at term 2"},
        {"ts": "2026-11-27T04:11:23.700000Z", "msg": "a1 became leader at term 2"},
        {"ts": "2026-11-27T04:11:24.700000Z", "msg": "raft.node: a1 lost leader a1 at term 2"},
    ]
    folder.node_log(2).write_text("\n".join(map(json.dumps, lines)))
    own = {"time": 6_000_000_000, "event": "leading", "ballot": [3, 1]}
    folder.node_log(1).write_text(json.dumps(own) + "\nplain text\n")
    logs = load(folder).logs
    assert logs.is_aligned
    assert [(at, node, event) for at, node, event, _ in logs.lines] == [
        (1_000_000, 1, "leading"),
        (1_000_000, 1, "text"),
        (1_500_000, 2, "election"),
        (1_700_000, 2, "leading"),
        (2_700_000, 2, "step-down"),
    ]
    leaders = [(entry["at_us"], entry["node"], entry["term"]) for entry in logs.leaders()]
    assert leaders == [(1_000_000, 1, "3.1"), (1_700_000, 2, "2"), (2_700_000, 0, "")]


def test_messages_are_read_without_invalid_lines(tmp_path: Path) -> None:
    folder = simulated(tmp_path, faults=())
    good = {"sent_us": 5, "departs_us": 9, "arrives_us": 20, "source": 1, "target": 2}
    lines = [
        json.dumps(good | {"kind": "Accept", "fields": {"slot": 1}}),
        json.dumps(good | {"kind": "Accept", "arrives_us": None, "reason": "cut"}),
        "not json",
        json.dumps(good | {"source": "n1", "kind": "Accept"}),
    ]
    folder.messages.write_text("\n".join(lines))
    messages = bundle(load(folder))["messages"]
    assert messages["count"] == 2
    assert decoded(messages["columns"]["wait_us"]) == [4, 4]
    assert sorted(decoded(messages["columns"]["transit_us"])) == [0, 12]
    assert messages["reasons"] == ["", "cut"]
