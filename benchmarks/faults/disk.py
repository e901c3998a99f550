"""What the agent's file system costs while no fault is active: alternating pairs, without and with.

`fsyncs` needs root and /dev/fuse; `cluster` needs Docker.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from faults.agent import libc
from faults.agent.disk.mount import mount_fuse, open_fuse
from faults.agent.disk.session import FsyncDelay, Session
from faults.agent.disk.store import Store
from faults.schedule import Schedule
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.run_sequence import execute

PAIRS: Final = 7
WRITES: Final = 500
LOOP: Final = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
took = []
for number in range(int(sys.argv[2])):
    start = time.perf_counter()
    os.pwrite(file, b"x" * 200, number * 200)
    os.fdatasync(file)
    took.append(time.perf_counter() - start)
print(sorted(took)[len(took) // 2] * 1e6)
"""
CLUSTER_PAIRS: Final = 4
CLUSTER_US: Final = 6_000_000


def fsyncs() -> None:
    """A write of 200 bytes and its fdatasync, median of 500, in us."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        backing, at = Path(folder) / "backing", Path(folder) / "at"
        backing.mkdir()
        at.mkdir()
        store = Store(backing)
        fuse = open_fuse()
        mount_fuse(fuse, str(at))
        session = Session(fuse, store, FsyncDelay())
        session.start()
        try:
            pairs = [(_loop(backing / "plain"), _loop(at / "log")) for _ in range(PAIRS)]
        finally:
            libc.unmount(str(at))
            session.ended.wait(10)
            store.shut()
    _show("us", pairs)


def _loop(path: Path) -> float:
    command = [sys.executable, "-c", LOOP, str(path), str(WRITES)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cluster() -> None:
    """Multi-Paxos, five nodes, 200 operations a second: the median latency, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(_latency(folder, ()), _latency(folder, ("power",))) for _ in range(CLUSTER_PAIRS)]
    _show("ms", pairs)


def throughput() -> None:
    """Multi-Paxos, five nodes, as many operations as 30 clients get answered in a second."""
    rates: dict[str, Any] = {"rate": 20_000.0, "concurrency": 30}
    with tempfile.TemporaryDirectory() as folder:
        pairs = [
            (_answers(folder, (), **rates), _answers(folder, ("power",), **rates))
            for _ in range(CLUSTER_PAIRS)
        ]
    _show("/s", pairs)


def _run(folder: str, kinds: tuple[str, ...], **settings: Any) -> Any:
    """A run in which nothing happens; `kinds` decides whether the file system is there."""
    config = RunConfig.of(
        target="multi-paxos", on="docker", time_us=CLUSTER_US, seed=1, faults=kinds, **settings
    )
    idle = Schedule(faults=(), duration_us=CLUSTER_US)
    return execute(config, Path(folder), Observer(), schedule=idle)


def _latency(folder: str, kinds: tuple[str, ...]) -> float:
    latencies = _run(folder, kinds).verdict.availability.latencies
    assert latencies is not None
    return latencies.p50_ns / 1e6


def _answers(folder: str, kinds: tuple[str, ...], **settings: Any) -> float:
    return float(_run(folder, kinds, **settings).stats.outcomes["ok"]) / (CLUSTER_US / 1e6)


def _show(unit: str, pairs: list[tuple[float, float]]) -> None:
    for without, with_it in pairs:
        print(f"  without {without:8.2f} {unit}   with {with_it:8.2f} {unit}")
    print(f"  median of the ratios: {statistics.median(b / a for a, b in pairs):.2f}")
