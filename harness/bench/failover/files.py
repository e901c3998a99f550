"""The files of a failover result: JSON, CSV, HdrHistogram logs, and a page.

failover.json         everything, each failure with its windows and phases
windows.csv           one row for each failure
*.hlog                latencies from the intended time, as an HdrHistogram log; one for each target
                      and failure
failover.html         table, cumulative plot, phases
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, Final

from harness.bench.failover.result import Cell, FailoverResult
from harness.bench.failover.windows import CLASSES, Phases
from harness.report.page import PARTS, STYLES, render

HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3


def write_files(result: FailoverResult, out: Path) -> None:
    """All of them, into an existing folder."""
    document = finite(result.to_json())
    (out / "failover.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _write_csv(result, out / "windows.csv")
    for cell in result.cells.values():
        _write_latencies(cell, out / f"{_file_name(cell)}.hlog")
    (out / "failover.html").write_text(page(document), encoding="utf-8")


def page(document: dict[str, Any]) -> str:
    """The page of a result."""
    return render(
        "failover.html",
        title="Leader failover",
        scripts=(*PARTS, "js/failover_page.js"),
        styles=(*STYLES, "css/index.css"),
        data=document,
    )


def finite(value: Any) -> Any:
    """The same document with null in place of infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_csv(result: FailoverResult, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        head = ["target", "failure", "point", "number", "leader", "verified", "recovered"]
        writer.writerow(
            [*head, *(f"{c} us" for c in CLASSES), *Phases._fields, "indefinite", "blocked us"]
        )
        for cell in result.cells.values():
            for o in cell.observations:
                row = [
                    cell.target,
                    cell.failure,
                    cell.point,
                    o.number,
                    o.leader,
                    o.applied_us is not None,
                ]
                windows = [o.windows.get(c) for c in CLASSES]
                writer.writerow(
                    [*row, o.recovered, *windows, *o.phases, o.indefinite, o.blocked_us]
                )


def _write_latencies(cell: Cell, path: Path) -> None:
    """Writes nothing where the package hdrhistogram is not installed."""
    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415  # an extra, see pyproject.toml
        from hdrh.log import HistogramLogWriter  # noqa: PLC0415
    except ImportError:
        return
    histogram = HdrHistogram(1, HIGHEST_US, DIGITS)
    for latency_us in cell.latencies_us:
        histogram.record_value(max(1, latency_us))
    with path.open("w", encoding="utf-8") as file:
        writer = HistogramLogWriter(file)
        writer.output_comment("antipaxos failover: microseconds from the intended time")
        writer.output_log_format_version()
        writer.output_base_time(0)
        writer.output_legend()
        writer.output_interval_histogram(histogram, max_value_unit_ratio=1000)


def _file_name(cell: Cell) -> str:
    target = cell.target
    name = Path(target).stem if "/" in target or target.endswith(".py") else target
    return "-".join(part for part in (name, cell.failure, cell.point) if part)
