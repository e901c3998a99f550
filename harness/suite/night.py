"""One night: its folder, its lock, its jobs, and going on where one was interrupted.

STORE/.lock                   held while a suite works in this store
STORE/NIGHT/plan.json         what was to be run, with tonight's fresh seeds
STORE/NIGHT/results.jsonl     one line per finished job, flushed: `--resume` goes on from it
STORE/NIGHT/runs/             the folders of runs
STORE/NIGHT/summary.json      the findings and the figures, at the end
STORE/corpus/                 failures of earlier nights, which are run first
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.errors import HarnessError, UsageError
from harness.reproduce.replay import load
from harness.suite.index import RESULTS, lines_of
from harness.suite.jobs import Job, JobResult
from harness.suite.plan import Suite

RUNS: Final = "runs"
PLAN: Final = "plan.json"
LOCK: Final = ".lock"
CORPUS: Final = "corpus"


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
