"""Latencies as an HdrHistogram log: for HdrHistogram's own plotter, and everything that reads them.

One interval after another, each with a histogram per kind of operation under its name as the tag.
Values are microseconds, of answered operations, by the moment of their answer.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from harness.report.operations import MISMATCH, OK
from harness.report.run_report import RunData

INTERVAL_US: Final = 1_000_000
HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3


def write_latency_log(data: RunData, path: Path, *, interval_us: int = INTERVAL_US) -> int:
    """Write the log; how many operations it holds. Raises ImportError without `hdrhistogram`."""
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415  # an extra, see pyproject.toml
    from hdrh.log import HistogramLogWriter  # noqa: PLC0415

    operations, count = data.operations, 0
    functions = operations.functions.list()
    found: dict[tuple[int, str], Any] = defaultdict(lambda: HdrHistogram(1, HIGHEST_US, DIGITS))
    for number, outcome in enumerate(operations.outcome):
        if outcome in (OK, MISMATCH):
            name = functions[operations.function[number]]
            interval = operations.end_us[number] // interval_us
            found[interval, name].record_value(max(1, operations.latency_us(number)))
            count += 1
    with path.open("w", encoding="utf-8") as file:
        writer = HistogramLogWriter(file)
        writer.output_comment(f"antipaxos: latencies in microseconds, {_safe(data.folder.name)}")
        writer.output_log_format_version()
        writer.output_base_time(0)
        writer.output_legend()
        for interval, name in sorted(found):
            histogram = found[interval, name]
            histogram.set_start_time_stamp(interval * interval_us / 1000)
            histogram.set_end_time_stamp((interval + 1) * interval_us / 1000)
            file.write(f"Tag={_safe(name)},")  # which the library reads, but does not write
            writer.output_interval_histogram(histogram, max_value_unit_ratio=1000)
    return count


def _safe(name: str) -> str:
    """A tag may hold no comma, blank or line end."""
    return "".join(c if c.isalnum() or c in "-_.:" else "_" for c in name)
