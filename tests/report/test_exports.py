"""Exports, read back as other programs read them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.cli import main
from harness.report.perfetto import CLIENTS, FAULTS, NODES
from harness.report.run_report import load
from tests.report.folders import simulated


def exported(folder: Path, kind: str, out: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder), "--format", kind, "--out", str(out)])
    assert ended.value.code == 0


def test_a_trace_has_every_operation_fault_and_message(tmp_path: Path) -> None:
    folder = simulated(tmp_path)
    message = {"sent_us": 5, "departs_us": 9, "source": 1, "target": 2, "kind": "Accept"}
    lines = [message | {"arrives_us": 20}, message | {"arrives_us": None, "reason": "cut"}]
    folder.messages.write_text("\n".join(map(json.dumps, lines)))
    exported(folder.path, "perfetto", tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    data = load(folder)
    kinds = Counter((e["pid"], e["ph"]) for e in events)
    assert kinds[CLIENTS, "X"] == len(data.operations)
    assert kinds[FAULTS, "X"] == len(data.bands) > 0
    flows = [e for e in events if e["ph"] in "sf"]
    assert [(e["ph"], e["tid"], e["ts"], e["id"]) for e in flows] == [
        ("s", 1, 9, 0),
        ("f", 2, 20, 0),
    ]
    # Slices of one track nest or follow one another: the viewer refuses anything else.
    ends: dict[tuple[int, int], int] = {}
    for e in sorted(
        (e for e in events if e["ph"] == "X" and e["pid"] != NODES), key=lambda e: e["ts"]
    ):
        track = e["pid"], e["tid"]
        assert e["ts"] >= ends.get(track, 0)
        ends[track] = e["ts"] + e["dur"]


def test_a_latency_log_is_read_back_by_the_library(tmp_path: Path) -> None:
    histograms = pytest.importorskip("hdrh.histogram")
    logs = pytest.importorskip("hdrh.log")
    folder = simulated(tmp_path)
    exported(folder.path, "hdr", tmp_path / "latencies.hlog")
    reader = logs.HistogramLogReader(
        str(tmp_path / "latencies.hlog"), histograms.HdrHistogram(1, 3_600_000_000, 3)
    )
    counts: Counter[str] = Counter()
    while (found := reader.get_next_interval_histogram()) is not None:
        counts[found.get_tag()] += found.get_total_count()
    data = load(folder)
    names = data.operations.functions.list()
    expected = Counter(
        names[f]
        for f, outcome in zip(data.operations.function, data.operations.outcome, strict=True)
        if outcome < 2
    )
    assert counts == expected
