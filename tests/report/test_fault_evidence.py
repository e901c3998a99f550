"""What proved a fault, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.report.fault_evidence import PHRASES, evidence_words
from harness.report.run_report import bundle, load
from harness.report.text import show_run
from harness.reproduce import wording
from histories.events import NEMESIS, Event
from tests.report.folders import written

MEBIBYTE = 1 << 20
LOOK = {"error": None, "fsync_us": [21_300, 24_000]}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"killed": [7, 8], "engine": "exited"}, "2 processes ended, container exited"),
        (
            {"killed": [7], "engine": "exited", "graceful": False},
            "1 process ended after SIGKILL, container exited",
        ),
        ({"states": ["T"]}, "thread states T"),
        ({"pids": [7]}, "runs as 7"),
        (
            {"quota_us": 5_000, "period_us": 100_000, "kernel_counts_periods": True},
            "quota 5 % of a processor, which the kernel counts",
        ),
        ({"quota_us": -1, "period_us": 100_000}, "no quota of processor time"),
        (
            {"limit": 24 * MEBIBYTE, "kernel_limit": 24 * MEBIBYTE},
            "memory limit 24.0 MiB (24.0 MiB by the kernel)",
        ),
        (
            {"limit": 1 << 50, "killed_for_memory": True, "started_again": {"pid": 9}},
            "no limit of memory, killed by the kernel for want of memory, started again",
        ),
        ({"look": LOOK, "waiting": 0}, "write and read back, fsync in 21.3 to 24.0 ms"),
        (
            {"look": {"error": "hangs", "after_ms": 300}, "waiting": 3},
            "an fsync had not returned after 300 ms, 3 fsyncs waiting",
        ),
        ({"look": {"error": "ENOSPC", "fsync_us": [10]}}, "a write failed with ENOSPC"),
        (
            {"look": {"error": "ENOSPC", "after_ms": 300}},
            "a write failed with ENOSPC, an fsync had not returned after 300 ms",
        ),
        ({"look": None}, "no process of the node to look from"),
        (
            {
                "killed": [7],
                "engine": "exited",
                "lost": {
                    "files": {"wal": {"bytes": 900, "left": 800, "blocks_changed": 1}},
                    "files_count": 3,
                    "entries": ["create a"],
                    "entries_count": 1,
                    "torn": {"file": "wal", "offset": 800, "of": 100, "kept": 37},
                },
                "canary": {"error": None, "synced": 4096, "unsynced": 4096},
            },
            "1 process ended, container exited, undone: wal from 900 to 800 bytes, 2 more files, "
            "1 directory entry; wal keeps 37 of 100 bytes of a write",
        ),
        (
            {"pids": [9], "canary": {"error": None, "synced": 4096, "unsynced": 0}},
            "runs as 9, of the probe's file 4096 bytes that were fsynced are there, and 0 that "
            "were not",
        ),
        (
            {"mode": "flip", "file": "wal", "offset": 77, "digest": ["a" * 16, "b" * 16]},
            "wal: bits flipped at 77, digest aaaaaaaa before and bbbbbbbb after",
        ),
        ({"ended_with": 3}, "ended with 3"),
        (
            {"patched_offset_ns": [95_000_000], "node_says_offset_ns": 95_100_000},
            "wall clock off by +95.000 ms, +95.100 ms by the node's own report",
        ),
    ],
)
def test_evidence_of_a_node(evidence: dict[str, Any], words: str) -> None:
    shown = evidence_words({"n2": evidence})
    assert shown == [f"n2: {words}"]
    assert ", ".join(evidence_words(evidence)) == words, "an aimed fault has that of its one node"


def test_evidence_of_links() -> None:
    measured = {"n1 to n2": {"sent": 60, "received": 31, "delay_us_p50": 50_300, "reordered": 4}}
    assert evidence_words({"probes_arrived": 4, "probes_lost": 2, "measured": measured}) == [
        "probes: 4 links open, 2 cut and silent",
        "n1 to n2: 31 of 60 after 50.300 ms (4 reordered)",
    ]


def test_evidence_of_several_nodes_has_a_phrase_for_each() -> None:
    assert evidence_words({"n1": {"states": ["T"]}, "n2": {"states": []}}) == [
        "n1: thread states T",
        "n2: no process",
    ]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*PHRASES, "n1", "error", "files"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(ANYTHING)
def test_anything_may_stand_in_a_folder(evidence: Any) -> None:
    for words in evidence_words(evidence):
        assert "\n" not in words


def test_show_explain_and_the_page_have_it(tmp_path: Path) -> None:
    fault = {"id": "f1", "kind": "slow-disk", "start_us": 0, "duration_us": 5, "nodes": [1]}
    fault["fsync_us"] = 20_000
    told = {"verified": True, "moments": {"n1": 2_000}, "evidence": {"n1": {"look": LOOK}}}
    over = {**told, "evidence": {"n1": {"look": {"error": None, "fsync_us": [400]}}}}
    events = [
        Event(0, 1_000, NEMESIS, "invoke", "inject", None, fault),
        Event(1, 2_000_000, NEMESIS, "info", "inject", None, fault, extra=told),
        Event(2, 3_000_000, NEMESIS, "invoke", "heal", None, fault),
        Event(3, 4_000_000, NEMESIS, "info", "heal", None, fault, extra=over),
    ]
    data = load(written(tmp_path, "run", events))
    seen = "n1: write and read back, fsync in 21.3 to 24.0 ms"
    healed = "n1: write and read back, fsync in 0.4 ms"
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    show_run(data, console, evidence=True)
    text = console.export_text()
    assert f"seen    {seen}" in text and f"healed  {healed}" in text
    (shown,) = bundle(data)["faults"]  # type: ignore[misc]
    assert json.loads(json.dumps(shown))["seen"] == [seen]
    assert shown["seen_healed"] == [healed]
    assert wording.fault(events[1]).endswith(f" ({seen})")
    assert wording.fault(events[3]).endswith(f" ({healed})")
