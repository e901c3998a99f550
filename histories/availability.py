"""Availability: when the cluster answered its clients, and its latency.

A history is cut at every answer (an `ok`, or a compare-and-set that did not match: the cluster
decided it). Between two answers, from the first moment at which some client was waiting, the
cluster was unavailable. In a healthy run these windows are as short as the latency; when a leader
fails, the longest one is the failover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from histories.events import NEMESIS, Event, Json


class Window(NamedTuple):
    """From `start_ns` to `end_ns` some client was waiting and no client was answered."""

    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Percentiles, by nearest rank, of the answered operations, in nanoseconds."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int

    @classmethod
    def of(cls, latencies_ns: Iterable[int]) -> Latencies | None:
        """None if there are no values."""
        found = sorted(latencies_ns)
        if not found:
            return None
        return cls(
            count=len(found),
            p50_ns=percentile(found, 50),
            p90_ns=percentile(found, 90),
            p99_ns=percentile(found, 99),
            p999_ns=percentile(found, 99.9),
            max_ns=found[-1],
        )

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Availability:
    """`outcomes` counts operations by outcome (`open`: never completed); a compare-and-set
    that did not match counts as `mismatch`. `longest` is the longest window, if any; `windows`
    are all of at least `threshold_ns`, in order."""

    outcomes: dict[str, int]
    duration_ns: int
    longest: Window | None
    windows: tuple[Window, ...]
    latencies: Latencies | None
    latencies_by_f: dict[str, Latencies]

    @property
    def unavailable_ns(self) -> int:
        """The sum of the windows."""
        return sum(w.duration_ns for w in self.windows)

    def to_json(self) -> dict[str, Json]:
        return {
            "outcomes": dict(self.outcomes),
            "duration_ns": self.duration_ns,
            "longest_unavailability_ns": self.longest.duration_ns if self.longest else 0,
            "longest": list(self.longest) if self.longest else None,
            "windows": [list(w) for w in self.windows],
            "latency": self.latencies.to_json() if self.latencies else None,
            "latency_by_f": {f: latency.to_json() for f, latency in self.latencies_by_f.items()},
        }


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of a sorted, non-empty sequence."""
    rank = max(1, -int(-len(ordered) * percent // 100))
    return ordered[min(rank, len(ordered)) - 1]


def measure(events: Iterable[Event], *, threshold_ns: int = 500_000_000) -> Availability:
    """Availability and latency of a history. Windows below `threshold_ns` are not listed."""
    waiting: dict[Any, Event] = {}
    outcomes: Counter[str] = Counter()
    latencies: dict[str, list[int]] = {}
    longest: Window | None = None
    windows: list[Window] = []
    wanted_ns: int | None = None
    first_ns = last_ns = None
    for event in events:
        if event.process == NEMESIS:
            continue
        last_ns = event.time
        first_ns = event.time if first_ns is None else first_ns
        if event.type == "invoke":
            waiting[event.process] = event
            wanted_ns = event.time if wanted_ns is None else wanted_ns
            continue
        call = waiting.pop(event.process, None)
        answered = event.type == "ok" or (event.type == "fail" and event.error == "mismatch")
        outcomes[event.type if event.error != "mismatch" else "mismatch"] += 1
        if not answered or call is None:
            continue
        latencies.setdefault(event.f, []).append(event.time - call.time)
        longest = _closed(wanted_ns, event.time, windows, longest, threshold_ns)
        wanted_ns = event.time if waiting else None
    if waiting:
        outcomes["open"] = len(waiting)
    if last_ns is not None and wanted_ns is not None:
        longest = _closed(wanted_ns, last_ns, windows, longest, threshold_ns)
    found = {f: Latencies.of(numbers) for f, numbers in sorted(latencies.items())}
    return Availability(
        outcomes=dict(sorted(outcomes.items())),
        duration_ns=(last_ns or 0) - (first_ns or 0),
        longest=longest,
        windows=tuple(windows),
        latencies=Latencies.of(n for numbers in latencies.values() for n in numbers),
        latencies_by_f={f: latency for f, latency in found.items() if latency is not None},
    )


def _closed(
    start_ns: int | None,
    end_ns: int,
    windows: list[Window],
    longest: Window | None,
    threshold_ns: int,
) -> Window | None:
    """Record the window that ends now; returns the longest one so far."""
    if start_ns is None:
        return longest
    window = Window(start_ns, end_ns)
    if window.duration_ns >= threshold_ns:
        windows.append(window)
    return window if longest is None or window.duration_ns > longest.duration_ns else longest
