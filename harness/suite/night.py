"""One night: its folder, its lock, its jobs, and going on where one was interrupted.

    STORE/.lock                   held while a suite works in this store
    STORE/NIGHT/plan.json         what was to be run, with tonight's fresh seeds
    STORE/NIGHT/results.jsonl     one line per finished job, flushed: `--resume` goes on from it
    STORE/NIGHT/runs/             the folders of runs
    STORE/NIGHT/summary.json      the findings and the figures, at the end
    STORE/corpus/                 failures of earlier nights, which are run first

Simulated jobs go through an executor; jobs in containers through threads that each wait for a
process. Both work at the same time, and stop taking jobs when the budget is used up.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError, UsageError
from harness.reproduce.replay import load
from harness.search.executors import Executor, local_executor
from harness.suite.index import RESULTS, lines_of
from harness.suite.jobs import Job, JobResult, run_job, run_job_apart
from harness.suite.plan import Suite

RUNS: Final = "runs"
PLAN: Final = "plan.json"
LOCK: Final = ".lock"
CORPUS: Final = "corpus"
OVERHEAD_S: Final = 120.0
"""Beyond the chaos, a run in containers may take so long: starting, the last round, judging."""


@dataclass
class Night:
    """What a night has come to so far."""

    suite: Suite
    name: str
    folder: Path
    jobs: list[Job]
    results: dict[str, JobResult] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    started_s: float = field(default_factory=time.time)
    seconds: float = 0.0
    interrupted: bool = False

    def pairs(self) -> list[tuple[Job, JobResult]]:
        """The jobs that are done, with their results, in the order of the plan."""
        return [(j, self.results[j.identity]) for j in self.jobs if j.identity in self.results]

    @property
    def cells(self) -> list[str]:
        """The rows of the result: the corpus first, then those of the plan."""
        return list(dict.fromkeys(job.cell for job in self.jobs))

    @property
    def left(self) -> list[Job]:
        return [job for job in self.jobs if job.identity not in self.results]


def new_name(today: datetime.datetime, store: Path) -> str:
    """The night's name: the date, with a number where there was one already."""
    day = today.strftime("%Y-%m-%d")
    names = [day, *(f"{day}-{n}" for n in range(2, 1000))]
    return next(name for name in names if not (store / name).exists())


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store for this process. Raises UsageError where another suite works in it; a lock
    of a process that has died is none."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        file = (store / LOCK).open("a")
    except OSError as error:
        raise HarnessError(
            f"the store {store} cannot be written: {error.strerror or error}",
            remedy="name another folder in [suite] store",
        ) from None
    with closing(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another suite works in {store}",
                remedy="wait for it, or give this suite a store of its own",
            ) from None
        yield


def begin(suite: Suite, name: str) -> Night:
    """A new night: its folder and its plan."""
    folder = suite.store / name
    jobs = [*corpus_jobs(suite.store), *suite.jobs_of(name)]
    (folder / RUNS).mkdir(parents=True)
    plan = {"suite": suite.name, "night": name, "jobs": [job.to_json() for job in jobs]}
    (folder / PLAN).write_text(json.dumps(plan) + "\n", encoding="utf-8")
    (folder / RESULTS).touch()
    return Night(suite, name, folder, jobs)


def corpus_jobs(store: Path) -> list[Job]:
    """The failures of earlier nights, which are run again before anything else. What can no longer
    be read is left out."""
    jobs = []
    for path in sorted((store / CORPUS).glob("*")):
        try:
            config = load(path).config
        except HarnessError:
            continue
        jobs.append(
            Job(
                cell=f"corpus / {path.name}",
                target=config.target,
                mutant=config.cluster.mutant,
                on=config.on,
                seed=config.seed,
                swarm=False,
                recorded=str(path),
            )
        )
    return jobs


def add_to_corpus(store: Path, folder: Path, signature: str) -> None:
    """Keep what a failure needs to be run again: its configuration, schedule and verdict."""
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "-", signature)[:60].strip("-")
    name = f"{readable}-{hashlib.sha256(signature.encode()).hexdigest()[:8]}"
    target = store / CORPUS / name
    if target.exists():
        return
    target.mkdir(parents=True)
    for name in ("run.json", "schedule.json", "verdict.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def resume(suite: Suite) -> Night:
    """The latest night that is not finished. Raises UsageError where there is none."""
    plans = sorted(suite.store.glob(f"*/{PLAN}")) if suite.store.is_dir() else []
    open_ones = [p.parent for p in plans if not (p.parent / "summary.json").exists()]
    if not open_ones:
        raise UsageError(f"no night in {suite.store} was interrupted", remedy="leave out --resume")
    folder = open_ones[-1]
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        jobs = [Job.from_json(job) for job in plan["jobs"]]
        done = [JobResult.from_json(line) for line in lines_of(folder / RESULTS)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{folder} cannot be resumed: {error}") from None
    night = Night(suite, folder.name, folder, jobs)
    night.results = {result.identity: result for result in done}
    return night


class Budget:
    """How long the whole night, and each cell, may still take."""

    def __init__(self, suite: Suite) -> None:
        self._deadline = _deadline(suite.budget_us)
        self._limits = {cell.label: (cell.budget_us or 0) / 1e6 for cell in suite.cells}
        self._used: dict[str, float] = {}
        self._parallel = {
            cell.label: suite.jobs if cell.on == "sim" else suite.docker_jobs
            for cell in suite.cells
        }

    def allows(self, job: Job) -> bool:
        """Whether a job may begin now."""
        if time.monotonic() >= self._deadline:
            return False
        limit_s = self._limits.get(job.cell, 0.0)
        used_s = self._used.get(job.cell, 0.0) / self._parallel.get(job.cell, 1)
        return not limit_s or used_s < limit_s

    def spend(self, result: JobResult) -> None:
        self._used[result.cell] = self._used.get(result.cell, 0.0) + result.seconds


def _deadline(budget_us: int | None) -> float:
    return time.monotonic() + budget_us / 1e6 if budget_us else float("inf")


def carry_out(
    night: Night,
    watch: Callable[[JobResult], None] = lambda _: None,
    *,
    executor: Executor | None = None,
) -> None:
    """Run what is left of the night. Ctrl-C ends it early: what is done stays done."""
    started = time.monotonic()
    budget = Budget(night.suite)
    done: queue.Queue[JobResult | None] = queue.Queue()
    left = night.left
    real = [job for job in left if job.on != "sim"]
    simulated = [job for job in left if job.on == "sim"]
    with (night.folder / RESULTS).open("a", encoding="utf-8") as file:

        def take(result: JobResult) -> None:
            budget.spend(result)
            night.results[result.identity] = result
            file.write(json.dumps(result.to_json()) + "\n")
            file.flush()
            watch(result)

        containers = _Containers(night, real, budget, done)
        try:
            containers.start()
            _simulate(night, simulated, budget, executor, take, done)
            while containers.are_working() or not done.empty():
                _drain(done, take, wait_s=0.2)
        except KeyboardInterrupt:
            night.interrupted = True
        finally:
            containers.stop()
            _drain(done, take)
    night.skipped = [job.identity for job in night.left]
    night.seconds += time.monotonic() - started


def _simulate(
    night: Night,
    jobs: list[Job],
    budget: Budget,
    executor: Executor | None,
    take: Callable[[JobResult], None],
    done: queue.Queue[JobResult | None],
) -> None:
    def affordable() -> Iterable[Job]:
        return (job for job in jobs if budget.allows(job))

    work = partial(run_job, store=night.folder / RUNS)
    outcomes = (executor or local_executor(night.suite.jobs)).map(work, affordable())
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.result is not None:
                take(outcome.result)
            else:
                take(_lost(outcome.item, outcome.lost or "it was lost"))
            _drain(done, take)


def _lost(job: Job, how: str) -> JobResult:
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome="error",
        seconds=0.0,
        symptoms=(("harness", how),),
        sentence=f"the worker that ran this died: {how}",
    )


def _drain(
    done: queue.Queue[JobResult | None], take: Callable[[JobResult], None], wait_s: float = 0.0
) -> None:
    while True:
        try:
            result = done.get(timeout=wait_s) if wait_s else done.get_nowait()
        except queue.Empty:
            return
        if result is not None:
            take(result)
        wait_s = 0.0


class _Containers:
    """Threads that take jobs in containers one after the other, each in a process of its own."""

    def __init__(
        self,
        night: Night,
        jobs: list[Job],
        budget: Budget,
        done: queue.Queue[JobResult | None],
    ) -> None:
        self._store = night.folder / RUNS
        self._jobs = list(reversed(jobs))
        self._budget = budget
        self._done = done
        self._lock = threading.Lock()
        self._stopped = False
        count = min(night.suite.docker_jobs, len(jobs))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def are_working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Begin no more; wait for those under way."""
        self._stopped = True
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _next(self) -> Job | None:
        with self._lock:
            while self._jobs and not self._stopped:
                job = self._jobs.pop()
                if self._budget.allows(job):
                    return job
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            limit_s = float(job.fixed.get("time_us", 30_000_000)) / 1e6 + OVERHEAD_S
            self._done.put(run_job_apart(job, self._store, limit_s))


def estimate(suite: Suite, jobs: list[Job]) -> dict[str, Any]:
    """How long a plan will take, roughly: simulated seconds cost a hundredth of real ones, runs in
    containers their chaos and fifteen seconds."""
    sim_s = sum(
        float(j.fixed.get("time_us", 10_000_000)) / 1e6 / 100 for j in jobs if j.on == "sim"
    )
    real_s = sum(float(j.fixed.get("time_us", 0)) / 1e6 + 15 for j in jobs if j.on != "sim")
    seconds = max(sim_s / suite.jobs, real_s / suite.docker_jobs)
    budget_s = suite.budget_us / 1e6 if suite.budget_us else None
    return {"jobs": len(jobs), "seconds": seconds, "budget_s": budget_s}
