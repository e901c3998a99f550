"""Rates and latencies over time, in equal bins: for sparklines, the index and comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.operations import MISMATCH, OK, Operations
from histories.availability import percentile
from histories.events import Json


@dataclass(frozen=True, kw_only=True)
class Bins:
    """`rate` answers a second by bin; `p50_us` and `p99_us` the latencies of operations answered in
    it, None if there were none; `unanswered` how many operations ended otherwise. `start_us` is the
    first bin's beginning, `width_us` every bin's width."""

    start_us: int
    width_us: float
    rate: tuple[float, ...]
    p50_us: tuple[int | None, ...]
    p99_us: tuple[int | None, ...]
    unanswered: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def bin_of(self, at_us: float) -> int:
        """The bin of a time, within bounds."""
        number = int((at_us - self.start_us) / self.width_us)
        return min(max(0, number), len(self.rate) - 1)


def span_us(operations: Operations) -> int:
    """From the first call to the last return."""
    return max(operations.end_us, default=0) - min(operations.start_us, default=0)


def binned(operations: Operations, count: int, *, over_us: int | None = None) -> Bins:
    """`count` bins over the whole history, or over `over_us` from its start; operations belong
    where they ended."""
    start_us = min(operations.start_us, default=0)
    width_us = max(1.0, (over_us or span_us(operations)) / count)
    latencies: list[list[int]] = [[] for _ in range(count)]
    unanswered = [0] * count
    for number, outcome in enumerate(operations.outcome):
        ended_us = operations.end_us[number]
        place = min(count - 1, int((ended_us - start_us) / width_us))
        if outcome in (OK, MISMATCH):
            latencies[place].append(ended_us - operations.start_us[number])
        else:
            unanswered[place] += 1
    for found in latencies:
        found.sort()
    return Bins(
        start_us=start_us,
        width_us=width_us,
        rate=tuple(len(found) * 1e6 / width_us for found in latencies),
        p50_us=tuple(percentile(found, 50) if found else None for found in latencies),
        p99_us=tuple(percentile(found, 99) if found else None for found in latencies),
        unanswered=tuple(unanswered),
    )


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: tuple[float | None, ...]) -> str:
    """One character per value, from the lowest to the highest; a blank for a missing one."""
    known = [v for v in values if v is not None]
    most = max(known, default=0)
    if most <= 0:
        return "".join(" " if v is None else BARS[0] for v in values)
    return "".join(
        " " if v is None else BARS[min(len(BARS) - 1, int(v / most * len(BARS)))] for v in values
    )
