"""Runs the jobs of a night within its budget.

Failures of earlier nights run first. Then failover is measured, with nothing else running on this
machine, since that would affect the measurement. Then simulated jobs run in an executor, and at the
same time container jobs run in threads that each wait for a child process, or on the engines of a
Dask cluster. No new jobs are started when the budget is used up. Each result is written at once, so
nothing is lost when the suite is interrupted.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from harness.bench.failover.plan import HOLD_TIMEOUTS
from harness.errors import HarnessError
from harness.search.executors import Executor, Outcome, local_executor
from harness.suite.child_process import run_in_child
from harness.suite.index import RESULTS, Index
from harness.suite.jobs import Job, JobResult, failed
from harness.suite.night import RUNS, Night
from harness.suite.plan import Suite
from harness.suite.remote import RemoteJob, RemoteResult, received, remote_job, run_remotely
from harness.suite.run_job import run_job

WAIT_S: Final = 0.2

Give = Callable[[JobResult], None]
Say = Callable[[str], None]


class Engines(Executor, Protocol):
    """An executor whose workers have an engine, and which another thread may stop."""

    def stop(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Executors:
    """Where jobs run: by default simulations in processes on this machine, and containers on its
    engine. `remote`: the executor's workers share no folder with this process."""

    simulated: Executor
    engines: Engines | None = None
    remote: bool = False


class Budget:
    """The time that is left for the night, and for each cell. A job that would take longer than
    that does not begin. How long it would take is judged by the runs of its cell that took longest
    so far; before there are any, by the average of earlier nights, or an estimate."""

    def __init__(self, night: Night) -> None:
        suite = night.suite
        left_s = suite.budget_us / 1e6 - night.seconds if suite.budget_us else float("inf")
        self._deadline = time.monotonic() + left_s
        self._limits = {cell.label: (cell.budget_us or 0) / 1e6 for cell in suite.cells}
        self._used: defaultdict[str, float] = defaultdict(float)
        self._parallel = {
            cell.label: suite.jobs if cell.on == "sim" else suite.docker_jobs
            for cell in suite.cells
        }
        self._known = Index(suite.store).seconds_by_cell() if suite.budget_us else {}
        self._longest: dict[str, float] = {}
        """Seconds for each seed."""
        for result in list(night.results.values()):
            self.spend(result)

    def allows(self, job: Job) -> bool:
        """Whether a job may begin now."""
        if time.monotonic() + self.seconds_for(job) >= self._deadline:
            return False
        limit_s = self._limits.get(job.cell, 0.0)
        used_s = self._used[job.cell] / self._parallel.get(job.cell, 1)
        return not limit_s or used_s < limit_s

    def seconds_for(self, job: Job) -> float:
        """How long a job is expected to take."""
        if self._deadline == math.inf:
            return 0.0
        each_s = self._longest.get(job.cell) or self._known.get(job.cell) or _roughly_s(job)
        return each_s * job.count

    def spend(self, result: JobResult) -> None:
        seconds = sum(part.seconds for part in result.parts)
        self._used[result.cell] += seconds
        each_s = seconds / result.block
        self._longest[result.cell] = max(self._longest.get(result.cell, 0.0), each_s)

    def affordable(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs for which there is time at the moment they are requested."""
        return (job for job in jobs if self.allows(job))


def carry_out(
    night: Night,
    watch: Give = lambda _: None,
    *,
    executors: Executors | None = None,
    say: Say = lambda _: None,
) -> None:
    """Run the remaining jobs of the night. Ctrl-C ends it early; finished jobs are kept, and
    container runs on this machine that have begun are finished.

    Raises HarnessError if the workers of a cluster cannot be used."""
    started = time.monotonic()
    executors = executors or Executors(simulated=local_executor(night.suite.jobs))
    budget = Budget(night)
    left = night.left
    corpus = [job for job in left if job.recorded is not None]
    measured = [job for job in left if job.failure is not None]
    others = [job for job in left if job.recorded is None and job.failure is None]
    with (night.folder / RESULTS).open("a", encoding="utf-8") as file:

        def take(result: JobResult) -> None:
            budget.spend(result)
            night.results[result.identity] = result
            file.write(json.dumps(result.to_json()) + "\n")
            file.flush()
            watch(result)

        try:
            _run_together(night, corpus, budget, executors, take, say)
            if executors.engines is None:
                for job in budget.affordable(measured):
                    take(run_in_child(job, night.folder / RUNS))
                measured = []
            _run_together(night, [*measured, *others], budget, executors, take, say)
        except KeyboardInterrupt:
            night.interrupted = True
        finally:
            night.seconds += time.monotonic() - started


def _run_together(
    night: Night, jobs: list[Job], budget: Budget, executors: Executors, take: Give, say: Say
) -> None:
    """Simulated jobs, and at the same time those that need an engine or a machine of their own."""
    done: queue.Queue[JobResult] = queue.Queue()
    simulated = [job for job in jobs if job.on == "sim" and job.failure is None]
    outside = [job for job in jobs if job.on != "sim" or job.failure is not None]
    containers = _containers(night, outside, budget, executors, done.put)
    containers.start()
    try:
        for result in _simulate(night, budget.affordable(simulated), executors):
            take(result)
            _drain(done, take)
        while containers.are_working() or not done.empty():
            _drain(done, take, wait_s=WAIT_S)
    except BaseException:
        if executors.engines is None and containers.are_working():
            say("interrupted; waiting for the container runs that have begun")
        containers.stop()
        raise
    finally:
        _drain(done, take)
    if containers.error is not None:
        raise containers.error


def _simulate(night: Night, jobs: Iterator[Job], executors: Executors) -> Iterator[JobResult]:
    if executors.remote:
        remote_jobs = (remote_job(job) for job in jobs)
        with closing(executors.simulated.map(run_remotely, remote_jobs)) as results:
            for remote in results:
                yield _received(night, remote)
        return
    work = partial(run_job, store=night.folder / RUNS)
    with closing(executors.simulated.map(work, jobs)) as outcomes:
        for outcome in outcomes:
            yield outcome.result or _lost(outcome.item, outcome.lost)


def _received(night: Night, outcome: Outcome[RemoteJob, RemoteResult]) -> JobResult:
    if outcome.result is None:
        return _lost(outcome.item.job, outcome.lost)
    return received(outcome.item.job, outcome.result, night.folder / RUNS)


def _lost(job: Job, how: str | None) -> JobResult:
    return failed(job, f"the worker that ran this died: {how or 'it was lost'}", 0.0)


def _drain(done: queue.Queue[JobResult], take: Give, wait_s: float = 0.0) -> None:
    while True:
        try:
            result = done.get(timeout=wait_s) if wait_s else done.get_nowait()
        except queue.Empty:
            return
        take(result)
        wait_s = 0.0


# ------------------------------------------------------------------------------- in containers


class _LocalContainers:
    """Threads that run container jobs one after the other, each job in a child process."""

    error: HarnessError | None = None

    def __init__(self, night: Night, jobs: Iterator[Job], count: int, give: Give) -> None:
        self._store = night.folder / RUNS
        self._jobs = jobs
        self._give = give
        self._lock = threading.Lock()
        self._stopped = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def are_working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Start no more jobs; wait for running ones."""
        self._stopped = True
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _next(self) -> Job | None:
        with self._lock:
            return None if self._stopped else next(self._jobs, None)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._give(run_in_child(job, self._store))


class _RemoteContainers:
    """A thread that waits for the cluster's workers with an engine."""

    def __init__(self, night: Night, jobs: Iterator[Job], engines: Engines, give: Give) -> None:
        self.error: HarnessError | None = None
        self._night = night
        self._jobs = jobs
        self._engines = engines
        self._give = give
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def are_working(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Abandon running jobs, without waiting for their workers."""
        self._engines.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        remote_jobs = (remote_job(job) for job in self._jobs)
        try:
            for outcome in self._engines.map(run_remotely, remote_jobs):
                self._give(_received(self._night, outcome))
        except HarnessError as error:
            self.error = error


def _containers(
    night: Night, jobs: list[Job], budget: Budget, executors: Executors, give: Give
) -> _LocalContainers | _RemoteContainers:
    affordable = budget.affordable(jobs)
    if executors.engines is not None and jobs:
        return _RemoteContainers(night, affordable, executors.engines, give)
    return _LocalContainers(night, affordable, min(night.suite.docker_jobs, len(jobs)), give)


def estimate(suite: Suite, jobs: list[Job]) -> dict[str, Any]:
    """How long a plan will take, based on the durations of its jobs in earlier nights. Without
    earlier nights: a hundredth of the simulated seconds, the chaos phase of a container run plus
    fifteen seconds, and twenty election timeouts for each leader failure."""
    known = Index(suite.store).seconds_by_cell()
    seconds: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        kind = "failover" if job.failure else "sim" if job.on == "sim" else "docker"
        each_s = known.get(job.cell) or _roughly_s(job)
        seconds[kind] += each_s * job.count
    side_by_side_s = max(seconds["sim"] / suite.jobs, seconds["docker"] / suite.docker_jobs)
    return {
        "jobs": sum(job.count for job in jobs),
        "seconds": seconds["failover"] + side_by_side_s,
        "budget_s": suite.budget_us / 1e6 if suite.budget_us else None,
    }


def _roughly_s(job: Job) -> float:
    if job.failure is not None:
        plan = job.failover()
        each_s = HOLD_TIMEOUTS * plan.election_us / 1e6
        return plan.count * each_s / (100 if job.on == "sim" else 1)
    chaos_s = float(job.fixed.get("time_us", 10_000_000)) / 1e6
    return chaos_s / 100 if job.on == "sim" else chaos_s + 15
