"""Failover measurements in a suite: their summary, and the detection of longer medians.

A measurement is compared with the first one of the same row and parameters in the store, or with
that of the night named in the suite. (Compared with the night before, a median could grow a little
every night.) It counts as longer if its whole 95 % interval is above the allowed limit of the
earlier one (`harness.bench.failover.regress`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from harness.bench.failover import regress
from harness.bench.failover.files import finite
from harness.bench.failover.plan import FailoverPlan
from harness.bench.failover.result import Cell
from harness.suite.cells import FailoverCell
from harness.suite.findings import Finding
from harness.suite.index import Index
from harness.suite.night import Night

LONGER: Final = "median window longer than before"
"""The kind of the finding that a longer median creates."""


def measured(plan: FailoverPlan, cell: Cell, out: Path) -> dict[str, Any]:
    """The summary kept in the job's result and in the index: counts, and the median of the worst
    window of each failure with its 95 % interval, in milliseconds; null means "service did not
    return", 0 means shorter than `in_time_ms`, the shortest that is seen."""
    summary = cell.summary()
    median = summary.quantiles.get(50)
    interval = None
    if median is not None:
        interval = {"value": median.value, "low": median.low, "high": median.high}
    document: dict[str, Any] = {
        "failure": cell.failure,
        "proven": summary.count,
        "recovered": summary.count - summary.missing,
        "median_ms": interval,
        "in_time_ms": cell.in_time_us / 1000,
        "parameters": parameters(plan),
        "page": str(out / "failover.html"),
    }
    found: dict[str, Any] = finite(document)
    return found


def parameters(plan: FailoverPlan) -> str:
    """The parameters that two measurements must share to be compared, as one text."""
    shared = {
        "nodes": plan.nodes,
        "rate": plan.rate,
        "election_us": plan.election_us,
        "settings": plan.settings,
        "on": plan.on,
    }
    return json.dumps(shared, sort_keys=True)


def rows_of(night: Night) -> list[dict[str, Any]]:
    """The measurements in the summary of a night."""
    return [
        {"cell": job.cell, "subject": job.subject, **result.failover}
        for job, result in night.pairs()
        if result.failover is not None
    ]


def longer(night: Night, index: Index) -> Iterator[Finding]:
    """Findings for the measurements whose median is longer than their baseline's."""
    cells = {c.label: c for c in night.suite.cells if isinstance(c, FailoverCell)}
    for job, result in night.pairs():
        cell, row = cells.get(job.cell), result.failover
        if cell is None or row is None or row["median_ms"] is None:
            continue
        found = index.failover_baseline(cell.label, row["parameters"], night.started, cell.baseline)
        if found is None:
            continue
        earlier, before = found
        name = f"{cell.target} {cell.failure}"
        seen_ms = row.get("in_time_ms") or 0.0
        sentence = regress.longer(name, before, row["median_ms"], cell.allowed, seen_ms=seen_ms)
        if sentence is not None:
            kind = f"{cell.failure}, {LONGER}"
            finding = Finding(
                signature=f"{job.subject}:failover:{kind}",
                subject=job.subject,
                detector="failover",
                kind=kind,
                results=[result],
            )
            finding.words = f"{sentence} (the baseline is the night {earlier})"
            yield finding
