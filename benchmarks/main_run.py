"""Measures a run in containers on this machine: `python -m benchmarks.main_run`.

start      from nothing (image built) to the first answered operation of five nodes
remove     from the end of the run until everything is removed
spread     one partition on all five nodes: between the first and the last agent's moment
rate       recorded operations per second with five healthy nodes, with fsync
overhead   the median latency that the harness records, less that of a bare socket client that
           does the same operations against the same cluster, alternating, in one run
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe
from faults.kinds.partition import Partition
from faults.planner import Schedule
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.record import FolderRecord
from harness.run.run_sequence import perform
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.runtime import DockerRuntime
from histories.availability import measure
from histories.events import NEMESIS, Event


class Run:
    """One run in containers, with the times that a benchmark measures."""

    def __init__(self, config: RunConfig, schedule: Schedule | None = None) -> None:
        self.config = config
        self.schedule = schedule or Schedule(seed=0, duration_us=config.time_us, faults=())
        self.events: list[Event] = []
        self.start_s = self.remove_s = 0.0
        self.first_answer_s = 0.0
        self.ports: dict[int, int] = {}
        self.leader: int | None = None

    def go(self, *, beside: bool = False) -> list[float]:
        """Run; with `beside`, a bare client measures before closing: its latencies, seconds."""
        began = time.monotonic()
        runtime = DockerRuntime(self.config, f"bench-{time.monotonic_ns()}")
        latencies: list[float] = []
        try:
            with tempfile.TemporaryDirectory() as store:
                record = _Timed(Path(store), began)
                observer = Observer()
                perform(self.config, self.schedule, runtime, record, observer, close=False)
            self.start_s, self.first_answer_s = record.start_s, record.first_answer_s
            self.events = record.events
            if beside:
                latencies = bare_latencies(runtime.client_port(runtime.leader() or 1))
        finally:
            ended = time.monotonic()
            runtime.close()
            self.remove_s = time.monotonic() - ended
        return latencies


class _Timed(FolderRecord):
    """A folder, with the moments at which the cluster was up and first answered."""

    def __init__(self, store: Path, began: float) -> None:
        super().__init__(store)
        self.began = began
        self.start_s = self.first_answer_s = 0.0
        self.events: list[Event] = []

    def opened(self, versions: dict[str, str]) -> None:
        self.start_s = time.monotonic() - self.began
        super().opened(versions)

    def event(self, event: Event) -> None:
        if not self.first_answer_s and event.type == "ok":
            self.first_answer_s = time.monotonic() - self.began
        self.events.append(event)
        super().event(event)


def bare_latencies(port: int, count: int = 400, pause_s: float = 0.01) -> list[float]:
    """A bare client: one blocking socket, one operation at a time."""
    latencies = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = connection.makefile("rb")
        for i in range(count):
            request = {"id": i, "client": 10**6, "seq": i + 1, "f": "read", "key": "k0"}
            body = json.dumps(request).encode() + b"\n"
            began = time.perf_counter()
            connection.sendall(body)
            answer = json.loads(lines.readline())
            latencies.append(time.perf_counter() - began)
            assert answer["error"] is None, answer
            time.sleep(pause_s)
    return latencies


def spread_schedule(count: int) -> Schedule:
    """`count` short partitions of halves, one after the other."""
    faults = tuple(
        Partition(
            id=f"f{i}",
            start_us=500_000 + i * 700_000,
            duration_us=300_000,
            nodes=(1, 2),
            shape="halves",
        ).resolve(1, (1, 2, 3, 4, 5))
        for i in range(count)
    )
    return Schedule(seed=0, duration_us=1_000_000 + count * 700_000, faults=faults)


def spreads_ms(events: list[Event]) -> list[float]:
    """Per change of the network, milliseconds between the first and the last agent."""
    reports = [
        e.extra["moments"]
        for e in events
        if e.process == NEMESIS and e.extra and e.extra.get("moments")
    ]
    return [(max(m.values()) - min(m.values())) / 1e6 for m in reports]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    ensure_image(connect(), print)
    base = {"target": "multi-paxos", "nodes": 5, "on": "docker"}

    starts, firsts, removes, spreads = [], [], [], []
    for _ in range(options.repeat):
        schedule = spread_schedule(4)
        run = Run(RunConfig.of(**base, time_us=schedule.duration_us, rate=20.0), schedule)
        run.go()
        starts.append(run.start_s)
        firsts.append(run.first_answer_s)
        removes.append(run.remove_s)
        spreads += spreads_ms(run.events)
    show("start to ready, s", starts)
    show("start to first answer, s", firsts)
    show("everything removed, s", removes)
    show("spread of one fault, ms", spreads)

    for rate, clients in ((1000.0, 50), (2000.0, 100), (4000.0, 200)):
        run = Run(RunConfig.of(**base, time_us=6_000_000, rate=rate, concurrency=clients, keys=20))
        run.go()
        felt = measure(run.events)
        done = sum(latency.count for latency in felt.latencies_by_f.values())
        seconds = felt.duration_ns / 1e9
        median = felt.latencies.p50_ns / 1e6 if felt.latencies else 0.0
        print(
            f"{'asked ' + format(rate, '.0f') + '/s, ' + str(clients) + ' clients':<28} "
            f"{done / seconds:8.0f} answered/s   p50 {median:.2f} ms   info "
            f"{felt.outcomes.get('info', 0)}"
        )

    run = Run(RunConfig.of(**base, time_us=6_000_000, rate=100.0, concurrency=1))
    bare_ms = statistics.median(run.go(beside=True)) * 1000
    felt = measure(run.events)
    harness_ms = felt.latencies.p50_ns / 1e6 if felt.latencies else 0.0
    print(
        f"{'median latency':<28} harness {harness_ms:.3f} ms, bare socket {bare_ms:.3f} ms: "
        f"the controller adds {harness_ms - bare_ms:.3f} ms"
    )


def show(name: str, values: list[float]) -> None:
    print(
        f"{name:<28} min {min(values):.2f}  median {statistics.median(values):.2f}  "
        f"max {max(values):.2f}  ({len(values)})"
    )


if __name__ == "__main__":
    main()
