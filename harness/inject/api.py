"""Faults in running containers, for the duration of a block.

    from antipaxos import faults

    with faults.delay("web-1", "50ms"):
        ...                                   # what web-1 sends is 50 ms late
    with faults.partition(["db-1", "db-2", "db-3"]) as report:
        print(report.evidence)                # the evidence that db-1 is cut off from the others
    with faults.clock("db-1", "+1h"), faults.loss("db-2", "10%", to="db-3"):
        ...

Containers are named as for `docker`. Every function yields a report with the evidence. It raises
UsageError for a container that does not exist, shares the host's network, or has faults of another
program, and FaultNotProven if a fault did not take effect or did not end. Blocks may be nested,
also with the same containers. When the program dies, everything is healed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.cluster import FaultNotProven
from harness.inject import parse_options as parse
from harness.inject.shared_sessions import session_with
from harness.runtimes.interface import FaultReport

Names = str | Sequence[str]


@contextmanager
def inject(kind: str, containers: Names, *, to: Names = (), **fields: Any) -> Iterator[FaultReport]:
    """Any kind of fault that is supported in existing containers. `to`: for link faults, only links
    to these containers. `fields` are those of the kind (docs/faults.md)."""
    names, others = _listed(containers), _listed(to)
    fault = parse.fault_for(
        kind, f"{kind}-{secrets.token_hex(4)}", len(names), len(others), **fields
    )
    with session_with([*names, *others]) as (session, numbers):
        healed = None
        try:
            report = session.inject(fault, numbers)
            if not report.verified:
                raise FaultNotProven(fault.describe(), report)
            yield report
        finally:
            if session.is_active(fault):  # not if it was refused
                healed = session.heal(fault)
        if healed is not None and not healed.verified:
            raise FaultNotProven(f"healing {fault.describe()}", healed)


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def delay(
    containers: Names, by: str, *, jitter: str = "0s", to: Names = (), direction: str = "out"
) -> Any:
    """What the containers send (direction "in", "both": what they receive) arrives later, by
    `by` and up to `jitter` more."""
    times: dict[str, Any] = {"delay_us": parse.time_us(by), "jitter_us": parse.time_us(jitter)}
    return inject("delay", containers, to=to, direction=direction, **times)


def loss(containers: Names, share: str | float, *, to: Names = (), direction: str = "out") -> Any:
    """A share of the packets is lost: "10%"."""
    return inject("loss", containers, to=to, direction=direction, percent=parse.percent(share))


def duplicate(
    containers: Names,
    share: str | float,
    *,
    spread: str = "1ms",
    to: Names = (),
    direction: str = "out",
) -> Any:
    """A share of the packets arrives twice, the copy up to `spread` later."""
    fields: dict[str, Any] = {"percent": parse.percent(share), "spread_us": parse.time_us(spread)}
    return inject("duplicate", containers, to=to, direction=direction, **fields)


def reorder(
    containers: Names,
    share: str | float,
    *,
    window: str = "20ms",
    to: Names = (),
    direction: str = "out",
) -> Any:
    """A share of the packets is held back up to `window`, and overtaken by later ones."""
    fields: dict[str, Any] = {"percent": parse.percent(share), "window_us": parse.time_us(window)}
    return inject("reorder", containers, to=to, direction=direction, **fields)


def corrupt(
    containers: Names, share: str | float, *, to: Names = (), direction: str = "out"
) -> Any:
    """In a share of the packets one bit is flipped."""
    return inject("corrupt", containers, to=to, direction=direction, percent=parse.percent(share))


def rate(containers: Names, limit: str, *, to: Names = (), direction: str = "out") -> Any:
    """No more than this passes: "500kbit", "1mbit"."""
    return inject("rate", containers, to=to, direction=direction, kbps=parse.rate_kbps(limit))


def partition(containers: Names, *, shape: str = parse.ISOLATED, to: Names = ()) -> Any:
    """The containers are cut from one another according to the shape (isolate: the first from the
    others); a single one from all hosts; with `to`, all of them from those."""
    return inject("partition", containers, to=to, shape=shape)


def clock(containers: Names, offset: str) -> Any:
    """The wall clock is off: "+1h", "-30s"."""
    return inject("clock", containers, offset_us=parse.time_us(offset))


def drift(containers: Names, ppm: int) -> Any:
    """Wall and monotonic clocks run this many millionths too fast (or slow, below 0)."""
    return inject("drift", containers, ppm=ppm)


def strobe(containers: Names, offset: str, *, period: str = "200ms") -> Any:
    """The wall clock is off for half of each period."""
    times: dict[str, Any] = {
        "offset_us": parse.time_us(offset),
        "period_us": parse.time_us(period),
    }
    return inject("strobe", containers, **times)


def monotonic(containers: Names, offset: str) -> Any:
    """The monotonic clock jumps ahead, and stays there until the process ends."""
    return inject("monotonic", containers, offset_us=parse.time_us(offset))


def pause(containers: Names) -> Any:
    """All processes are stopped."""
    return inject("pause", containers)


def slow_cpu(containers: Names, share: str | float) -> Any:
    """No more than this share of one processor: "10%"."""
    return inject("slow-cpu", containers, percent=parse.percent(share))


def memory(containers: Names, spare: str) -> Any:
    """No more memory than is used now and this much more: "16MiB"."""
    return inject("memory", containers, spare_kib=parse.size_kib(spare))
