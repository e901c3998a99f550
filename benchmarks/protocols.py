"""Throughput and latency of every protocol, healthy, five nodes, in one run:
`python -m benchmarks.protocols`. Beside them etcd, and PySyncObj (pip install pysyncobj) with its
journal on.

Each has two loads: one client at a time (latency), and open-loop arrivals far above its capacity,
with at most CLIENTS waiting (throughput: operations answered per second while they arrive). Every
history is checked; a protocol whose history is not valid gets no figure.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from harness.run.config import RunConfig
from harness.run.run_sequence import execute
from histories.availability import measure
from histories.checker import check
from histories.events import NEMESIS, Event
from histories.formats.native import read
from node_image.mutants import PROTOCOLS

CLIENTS = 128
KEYS = 64


def run(target: str, rate: float, clients: int, seconds: int) -> list[Event]:
    """One healthy run in containers; its history, recorded to a file as in any run."""
    config = RunConfig.of(
        target=target,
        nodes=5,
        on="docker",
        time_us=seconds * 1_000_000,
        rate=rate,
        concurrency=clients,
        keys=KEYS,
        operation_timeout_us=10_000_000,
        attempt_timeout_us=5_000_000,
        liveness_timeout_us=60_000_000,
    )
    with tempfile.TemporaryDirectory() as store:
        return list(read(execute(config, Path(store)).folder.history).events)


def during_chaos(events: list[Event]) -> list[Event]:
    """What happened while operations arrived: without the warm-up and the final round."""
    phases = {e.value: e.index for e in events if e.process == NEMESIS and e.f == "phase"}
    return [e for e in events if phases["chaos"] < e.index < phases["heal"]]


def figures(events: list[Event]) -> tuple[float, float, float]:
    """(answered a second, median ms, 99th percentile ms)"""
    felt = measure(during_chaos(events))
    if felt.latencies is None:
        return 0.0, 0.0, 0.0
    answered = felt.latencies.count / (felt.duration_ns / 1e9)
    return answered, felt.latencies.p50_ns / 1e6, felt.latencies.p99_ns / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--rate", type=float, default=8000.0)
    parser.add_argument("names", nargs="*", default=[*PROTOCOLS, "pysyncobj", "etcd"])
    options = parser.parse_args()
    print(describe())
    print(f"{'':<18}{'one client':>24}   {f'{CLIENTS} clients':>34}")
    print(f"{'':<18}{'p50 ms':>12}{'p99 ms':>12}   {'answered/s':>12}{'p50 ms':>11}{'p99 ms':>11}")
    for name in options.names:
        alone, crowd = [], []
        for _ in range(options.repeat):
            calm = run(name, 50.0, 1, options.seconds)
            busy = run(name, options.rate, CLIENTS, options.seconds)
            verdicts = {check(events, time_limit_s=60).outcome for events in (calm, busy)}
            if verdicts != {"valid"}:
                print(f"{name:<18} not valid: {verdicts}")
                break
            alone.append(figures(calm))
            crowd.append(figures(busy))
        else:
            _, p50, p99 = map(statistics.median, zip(*alone, strict=True))
            rate, busy50, busy99 = map(statistics.median, zip(*crowd, strict=True))
            print(
                f"{name:<18}{p50:>12.2f}{p99:>12.2f}   {rate:>12.0f}{busy50:>11.2f}{busy99:>11.2f}"
            )


if __name__ == "__main__":
    main()
