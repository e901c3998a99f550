"""Measurements of failover in a suite: what is kept of one, and when a median has become longer.

A measurement is compared with the first one of the same row and parameters in the store, or with
that of the night which the suite names: against the night before, a median could creep away by a
little each night. It has become longer when the whole of its 95 % interval lies above what is
allowed of the earlier one's (`harness.bench.failover.regress`).
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
"""The kind of a finding that a measurement makes."""


def measured(plan: FailoverPlan, cell: Cell, out: Path) -> dict[str, Any]:
    """What the result of a job and the index keep: counts, and the median of the worst window of
    each failure with its 95 % interval, in milliseconds; null is "service did not return"."""
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
        "parameters": parameters(plan),
        "page": str(out / "failover.html"),
    }
    found: dict[str, Any] = finite(document)
    return found


def parameters(plan: FailoverPlan) -> str:
    """What two measurements must share to be compared, as one text."""
    shared = {
        "nodes": plan.nodes,
        "rate": plan.rate,
        "election_us": plan.election_us,
        "settings": plan.settings,
        "on": plan.on,
    }
    return json.dumps(shared, sort_keys=True)


def rows_of(night: Night) -> list[dict[str, Any]]:
    """What the summary of a night says of its measurements."""
    return [
        {"cell": job.cell, "subject": job.subject, **result.failover}
        for job, result in night.pairs()
        if result.failover is not None
    ]


def longer(night: Night, index: Index) -> Iterator[Finding]:
    """The measurements of a night whose median has become longer than that of their baseline."""
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
        sentence = regress.longer(name, before, row["median_ms"], cell.allowed)
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
