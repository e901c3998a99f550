"""The replicas' detector, and availability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from histories.agreement import DecidedRecord, check_agreement, check_folder
from histories.availability import Latencies, measure
from histories.errors import BadHistory
from histories.events import NEMESIS, Event
from histories.folder import RunFolder


def slot(number: int | str, *commands: tuple[int, int, str, str, Any], ballot: int = 1) -> Any:
    return {"slot": number, "ballot": [ballot, 1], "commands": [list(c) for c in commands]}


def write(client: int, seq: int, value: Any, key: str = "x") -> tuple[int, int, str, str, Any]:
    return (client, seq, "write", key, value)


def acknowledged(client: int, seq: int, value: Any) -> Event:
    extra = {"client": client, "seq": seq}
    return Event(1, 2_000_000_000, 4, "ok", "write", "x", value, 2, extra=extra)


def test_nodes_that_agree() -> None:
    log = [slot(1, write(7, 1, "a")), slot(2), slot(3, write(8, 1, "b"), write(7, 1, "a"))]
    restarted = [*log[:2], *log]
    found = check_agreement({1: log, 2: restarted, 3: log[1:]}, [acknowledged(7, 1, "a")])
    assert found.outcome == "valid"
    assert (found.slots, found.commands, found.duplicates, found.holes) == (3, 2, 1, 0)
    assert found.acknowledged == 1
    assert found.to_json()["verdict"] == "valid"


def test_two_values_for_one_slot() -> None:
    one, two = slot(3, write(7, 1, "a"), ballot=2), slot(3, write(8, 1, "b"), ballot=5)
    for logs in ({1: [one], 2: [two]}, {1: [one, two]}):
        found = check_agreement(logs)
        assert found.outcome == "invalid"
        assert found.findings[0].kind == "two-values"
        assert found.findings[0].slot == 3
        assert "slot 3 was decided twice" in found.findings[0].sentence
        assert "ballot 2.1" in found.findings[0].sentence


def test_an_acknowledged_write_that_no_node_decided() -> None:
    logs = {1: [slot(0), slot(1, write(7, 1, "a"))]}
    found = check_agreement(logs, [acknowledged(7, 2, "b")])
    assert found.findings[0].kind == "lost-write"
    assert found.findings[0].sentence == (
        'write x="b" was acknowledged to client 4 at 2.000 s by node 2, and no node has decided it'
    )
    hidden = check_agreement({1: [slot(1), slot(3)]}, [acknowledged(7, 2, "b")])
    assert hidden.outcome == "valid"
    assert (hidden.unaccounted, hidden.holes) == (1, 1)


def test_one_name_for_two_commands() -> None:
    found = check_agreement({1: [slot(1, write(7, 1, "a")), slot(2, write(7, 1, "b"))]})
    assert [f.kind for f in found.findings] == ["changed-command"]


def test_slots_applied_out_of_order_within_one_life() -> None:
    def life(number: int, *slots: int) -> list[DecidedRecord]:
        return [DecidedRecord(s, (1, 1), (), number) for s in slots]

    assert check_agreement({1: life(1, 1, 2, 5) + life(2, 3, 4, 5)}).outcome == "valid"
    found = check_agreement({1: life(1, 1, 3, 2)})
    assert found.findings[0].sentence == "node 1 applied slot 2 after slot 3"


def test_order_is_required_only_within_a_life() -> None:
    """Found by a sweep of EPaxos (seed 709050): a snapshot that covered 4.21 was installed, and the
    instances after it were executed; a power cut undid both, and then 4.21 was executed by
    itself."""
    first, then = slot("4.21", write(7, 1, "a")), slot("4.39", write(8, 1, "b"))

    def lives(*records: Any) -> list[Any]:
        return [record | {"life": life} for life, record in records]

    others = {2: lives((1, first), (1, then))}
    again = {5: lives((1, then), (2, first), (2, then))}
    assert check_agreement(others | again).outcome == "valid"
    wrong = {5: lives((1, first), (2, then), (2, first))}
    found = check_agreement(others | wrong)
    assert [f.kind for f in found.findings] == ["different-orders"]


def test_orders_of_instances() -> None:
    a, b = slot("1.0", write(7, 1, "a")), slot("2.0", write(8, 1, "b"))
    c = slot("3.0", write(9, 1, "c", key="other"))
    assert check_agreement({1: [a, b, c], 2: [c, a, b], 3: [a]}).outcome == "valid"
    found = check_agreement({1: [a, b, c], 2: [b, c, a]})
    assert [f.kind for f in found.findings] == ["different-orders"]
    reads = slot("2.1", (8, 2, "read", "x", None))
    assert check_agreement({1: [a, reads], 2: [reads, a]}).outcome == "valid"


def test_a_folder_and_its_torn_lines(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    assert check_folder(folder) is None
    line = json.dumps(slot(1, write(7, 1, "a")))
    folder.node_decided(1).write_text(f"{line}\n{line[:20]}")
    found = check_folder(folder)
    assert found is not None
    assert found.outcome == "valid"
    assert found.notes == ("n1.decided.jsonl: line 2 is cut off in the middle",)
    folder.node_decided(1).write_text(f"{line[:20]}\n{line}\n")
    with pytest.raises(BadHistory, match=r"n1.decided.jsonl, line 1: is not a decided slot"):
        check_folder(folder)


def events(*steps: tuple[int, Any, str]) -> list[Event]:
    kinds = {"call": ("invoke", None), "mismatch": ("fail", "mismatch")}
    return [
        Event(
            i,
            ms * 1_000_000,
            who,
            kinds.get(kind, (kind, None))[0],
            "cas",
            "x",
            [1, 2],
            error=kinds.get(kind, (kind, None))[1],
        )
        for i, (ms, who, kind) in enumerate(steps)
    ]


def test_unavailability_begins_when_the_first_client_waits() -> None:
    found = measure(
        events(
            (0, 1, "call"),
            (10, 1, "ok"),
            (500, NEMESIS, "info"),
            (1000, 1, "call"),  # no client waited before
            (1100, 2, "call"),
            (1500, 2, "info"),
            (1900, 1, "mismatch"),
            (2000, 3, "call"),
            (3500, 4, "call"),
        ),
        threshold_ns=500_000_000,
    )
    assert [(w.start_ns, w.end_ns) for w in found.windows] == [
        (1_000_000_000, 1_900_000_000),
        (2_000_000_000, 3_500_000_000),
    ]
    assert found.longest == found.windows[1]
    assert found.unavailable_ns == 2_400_000_000
    assert found.outcomes == {"info": 1, "mismatch": 1, "ok": 1, "open": 2}
    assert found.latencies is not None
    assert (found.latencies.count, found.latencies.max_ns) == (2, 900_000_000)
    assert found.to_json()["longest_unavailability_ns"] == 1_500_000_000


def test_percentiles_by_nearest_rank() -> None:
    found = Latencies.of(range(1, 1001))
    assert found is not None
    assert (found.p50_ns, found.p90_ns, found.p99_ns, found.p999_ns) == (500, 900, 990, 999)
    assert Latencies.of([]) is None
    assert measure([]).longest is None
