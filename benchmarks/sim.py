"""How fast the simulator is, and where its time goes.

    python -m benchmarks.sim            simulated seconds and seeds per second, on one core
    python -m benchmarks.sim --jobs 2   the same with two processes
    python -m benchmarks.sim --profile  where the time goes, by sampling

What is run is what `antipaxos sweep multi-paxos --nodes 5 --concurrency 5 --rate 50 --seeds 100
--time 30s --jobs 1` runs, verdicts included. Machines that do other things at the same time slow
down and speed up, so the seeds are run in portions; the best and the median portion are printed,
and beside each what an empty piece of Python took at that moment. Processor time, not wall time,
for one core; wall time for several.
"""

from __future__ import annotations

import argparse
import collections
import gc
import signal
import statistics
import time
from types import FrameType
from typing import NamedTuple

from benchmarks.machine import describe
from harness.search.swarm import SweepPlan
from harness.search.sweep import run_seed, sweep

PLAN = SweepPlan(
    protocol="multi-paxos",
    fixed={"nodes": 5, "concurrency": 5, "rate": 50.0, "time_us": 30_000_000},
)


class Portion(NamedTuple):
    """Some seeds: simulated seconds and seeds per second of processor time, operations, events."""

    simulated_s_per_s: float
    seeds_per_s: float
    operations_per_s: float
    yardstick_ns: float


class Yardstick(NamedTuple):
    """What is made over and over to see how fast the machine is just now."""

    a: int
    b: tuple[int, ...]


def yardstick_ns() -> float:
    """Processor time to make one small named tuple."""
    rounds = 50_000
    started = time.process_time()
    for i in range(rounds):
        Yardstick(i, (1,))
    return (time.process_time() - started) / rounds * 1e9


def portion(first: int, count: int) -> Portion:
    stick = yardstick_ns()
    started = time.process_time()
    simulated_us = operations = 0
    for seed in range(first, first + count):
        result = run_seed(PLAN, seed)
        assert result.outcome == "valid", result
        simulated_us += result.simulated_us
        operations += result.operations
    seconds = time.process_time() - started
    return Portion(simulated_us / 1e6 / seconds, count / seconds, operations / seconds, stick)


def measure(seeds: int, size: int) -> None:
    portion(0, 3)  # warm
    portions = [portion(first, size) for first in range(0, seeds, size)]
    for name, pick in (("median", statistics.median), ("best", max)):
        print(
            f"{name:<7} {pick([p.simulated_s_per_s for p in portions]):6.0f} simulated s/s   "
            f"{pick([p.seeds_per_s for p in portions]):5.1f} seeds/s   "
            f"{pick([p.operations_per_s for p in portions]):7.0f} operations/s"
        )
    sticks = [p.yardstick_ns for p in portions]
    print(f"yardstick: a named tuple took {min(sticks):.0f} to {max(sticks):.0f} ns meanwhile")


def measure_jobs(seeds: int, jobs: int) -> None:
    result = sweep(PLAN, range(seeds), jobs=jobs).to_json()
    print(
        f"{jobs} processes: {result['simulated_s_per_s']:.0f} simulated s/s, "
        f"{result['seeds_per_s']:.1f} seeds/s of wall time"
    )


def profile(seeds: int) -> None:
    """Which file the interpreter is in, a thousand times a second of processor time."""
    files: collections.Counter[str] = collections.Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            name = frame.f_code.co_filename
            files["/".join(name.split("/")[-2:]) if "/" in name else "named tuples"] += 1

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    portion(0, seeds)
    signal.setitimer(signal.ITIMER_PROF, 0)
    total = sum(files.values())
    for name, count in files.most_common(16):
        print(f"{100 * count / total:5.1f} %  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--portion", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print(describe())
    gc.freeze()
    gc.disable()
    if options.profile:
        profile(options.seeds)
    elif options.jobs > 1:
        measure_jobs(options.seeds, options.jobs)
    else:
        measure(options.seeds, options.portion)


if __name__ == "__main__":
    main()
