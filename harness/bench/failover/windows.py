"""Unavailability windows and their phases, from a probe's samples and the nodes' logs.

A window belongs to a class of operations: reads or writes, of clients that sent to the leader or of
the others. It begins when the fault is verified. It ends at the first answer from which success is
sustained: the first answered operation that was scheduled after the last one that was not
answered in time. A single answer in between does not end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from harness.bench.failover.probe import GROUPS, Failure, Sample

CLASSES: Final = tuple(f"{f}/{group}" for f in ("read", "write") for group in GROUPS)
RATE_SHARE: Final = 0.9
RATE_BIN_US: Final = 20_000


class Phases(NamedTuple):
    """Microseconds of each phase of a failover, None where the nodes' events do not show it.

    detection: until some node first became a candidate. election: until the new leader led.
    commit: until it had decided something (of our nodes; others do not show it). clients: until
    writes of the leader's clients were served again. rate: until 90 % of the rate before was
    answered again.
    """

    detection_us: int | None = None
    election_us: int | None = None
    commit_us: int | None = None
    clients_us: int | None = None
    rate_us: int | None = None


class NodeEvent(NamedTuple):
    """One relevant line of a node's log: "election", "leading" or "decided"."""

    at_us: int
    node: int
    what: str


def windows_of(
    failure: Failure, samples: Sequence[Sample], in_time_us: int, end_us: int
) -> dict[str, int | None]:
    """The window of each class in microseconds; 0 where none was disturbed, None where service was
    not back by `end_us`, or the fault was not verified."""
    start_us = failure.applied_us
    if start_us is None:
        return dict.fromkeys(CLASSES)
    found: dict[str, int | None] = {}
    for name in CLASSES:
        f, _, group = name.partition("/")
        relevant = [s for s in samples if s.f == f and s.group == group]
        found[name] = _window(relevant, start_us, in_time_us, end_us)
    return found


def _window(samples: Iterable[Sample], start_us: int, in_time_us: int, end_us: int) -> int | None:
    """An operation sent too late to be answered in time by `end_us`, and not answered by then, is
    ignored: the fault was already being healed when its answer was due."""
    during = [
        s
        for s in samples
        if s.end_us >= start_us and (s.end_us < end_us or s.intended_us <= end_us - in_time_us)
    ]
    bad = [s.intended_us for s in during if not s.ok or s.end_us - s.intended_us > in_time_us]
    if not bad:
        return 0
    last_bad_us = max(bad)
    good = [s.end_us for s in during if s.intended_us > last_bad_us and s.ok]
    if not good:
        return None
    return max(0, min(good) - start_us)


def phases_of(
    failure: Failure,
    events: Sequence[NodeEvent],
    window_us: int | None,
    rate_us: int | None,
) -> Phases:
    """The phases of one failure. `events` of all nodes, in the order of time."""
    start_us = failure.applied_us
    if start_us is None:
        return Phases()
    end_us = failure.ended_us or 1 << 62
    later = [e for e in events if start_us <= e.at_us <= end_us and e.node != failure.leader]
    stood = _first(later, "election", start_us)
    led = _first(later, "leading", start_us)
    decided = None if led is None else _first(later, "decided", led)
    served = None if window_us is None else start_us + window_us
    return Phases(
        detection_us=_between(start_us, stood),
        election_us=_between(stood, led),
        commit_us=_between(led, decided),
        clients_us=_between(decided if any(e.what == "decided" for e in events) else led, served),
        rate_us=rate_us,
    )


def _first(events: Iterable[NodeEvent], what: str, since_us: int) -> int | None:
    return next((e.at_us for e in events if e.what == what and e.at_us >= since_us), None)


def _between(before_us: int | None, after_us: int | None) -> int | None:
    return None if before_us is None or after_us is None else max(0, after_us - before_us)


def elections_in(events: Iterable[NodeEvent], start_us: int, end_us: int) -> tuple[int, int]:
    """How often a node became a candidate, and how often one became leader."""
    found = [e.what for e in events if start_us <= e.at_us <= end_us]
    return found.count("election"), found.count("leading")


def rate_back_us(failure: Failure, samples: Sequence[Sample], interval_us: int) -> int | None:
    """From the fault until the rate of answers was back at RATE_SHARE of the rate of operations,
    for the rest of the failure; None where it was not."""
    start_us, end_us = failure.applied_us, failure.ended_us
    if start_us is None or end_us is None:
        return None
    bins = max(1, (end_us - start_us) // RATE_BIN_US)
    counts = [0] * bins
    for sample in samples:
        at = (sample.end_us - start_us) // RATE_BIN_US
        if sample.ok and 0 <= at < bins:
            counts[at] += 1
    wanted = RATE_SHARE * RATE_BIN_US / interval_us
    back = bins
    window = 5  # a tenth of a second: one bin alone is too noisy
    for at in range(bins - window, -1, -1):
        if sum(counts[at : at + window]) / window < wanted:
            break
        back = at
    return None if back == bins else back * RATE_BIN_US


def node_events(
    lines: Iterable[tuple[int, int, str]], decided: Mapping[int, Sequence[int]]
) -> list[NodeEvent]:
    """The elections in the nodes' logs, in the order of time. `lines`: (microseconds on the run's
    clock, node, event); `decided`: per node the times (us) at which it learned decisions."""
    found = [NodeEvent(*line) for line in lines if line[2] in ("election", "leading")]
    found += [NodeEvent(at_us, node, "decided") for node, at in decided.items() for at_us in at]
    return sorted(found)
