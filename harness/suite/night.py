"""One night: its folder, its lock, its jobs, and resuming it.

STORE/.lock                   held while a suite uses this store
STORE/NIGHT/plan.json         the jobs, with the seeds drawn for the night
STORE/NIGHT/results.jsonl     one line per finished job, flushed; `--resume` reads it
STORE/NIGHT/runs/             the folders of runs
STORE/NIGHT/summary.json      findings and statistics, written at the end
STORE/corpus/                 failures of earlier nights, which are run first
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError, UsageError
from harness.reproduce.replay import load
from harness.suite.findings import Finding
from harness.suite.index import RESULTS, SUMMARY, Index, lines_of, nights_in
from harness.suite.jobs import Job, JobResult
from harness.suite.plan import Suite
from histories.errors import in_words
from histories.folder import DIGESTS, RUN, SCHEDULE, VERDICT

RUNS: Final = "runs"
PLAN: Final = "plan.json"
LOCK: Final = ".lock"
CORPUS: Final = "corpus"
FOUND: Final = "finding.json"


@dataclass
class Night:
    """The state of a night."""

    suite: Suite
    name: str
    folder: Path
    jobs: list[Job]
    results: dict[str, JobResult] = field(default_factory=dict)
    swept: dict[str, int] = field(default_factory=dict)
    """For each sweep, by cell: how many seeds earlier nights have run."""
    started_s: float = field(default_factory=time.time)
    seconds: float = 0.0
    interrupted: bool = False

    def pairs(self) -> list[tuple[Job, JobResult]]:
        """The finished jobs with their results, in the order of the plan. Each failed seed of a
        block is a separate job."""
        done = [(j, self.results[j.identity]) for j in self.jobs if j.identity in self.results]
        return [
            (job if part is result else job.single(part.seed), part)
            for job, result in done
            for part in result.parts
        ]

    @property
    def cells(self) -> list[str]:
        """The rows of the result: the corpus first, then those of the plan."""
        return list(dict.fromkeys(job.cell for job in self.jobs))

    @property
    def left(self) -> list[Job]:
        return [job for job in self.jobs if job.identity not in self.results]

    @property
    def skipped(self) -> list[Job]:
        """The jobs that were not run, except blocks of sweeps, with which the next night
        continues."""
        return [job for job in self.left if not job.open_ended]

    @property
    def sweeps_not_begun(self) -> list[str]:
        """The rows with a sweep of which not a single seed was run."""
        ran = {job.cell for job in self.jobs if job.open_ended and job.identity in self.results}
        cells = dict.fromkeys(job.cell for job in self.left if job.open_ended)
        return [cell for cell in cells if cell not in ran]

    @property
    def started(self) -> str:
        """The time at which the night began, as text in sortable form."""
        moment = datetime.datetime.fromtimestamp(self.started_s, tz=datetime.UTC)
        return moment.isoformat(timespec="microseconds")

    def busy_s(self) -> float:
        """The estimated elapsed time of the finished jobs, given the suite's parallelism."""
        seconds = {"sim": 0.0, "docker": 0.0}
        for job, result in self.pairs():
            seconds["sim" if job.on == "sim" else "docker"] += result.seconds
        return max(seconds["sim"] / self.suite.jobs, seconds["docker"] / self.suite.docker_jobs)

    def seeds_swept(self, cell: str) -> int:
        """How many seeds of a sweep are done, including earlier nights: up to the first gap."""
        end = self.swept[cell]
        for job in self.jobs:
            if job.cell == cell and job.seed == end and job.identity in self.results:
                end += job.count
        return end


def new_name(today: datetime.datetime, store: Path) -> str:
    """The night's name: the date, with a number if that exists already."""
    day = today.strftime("%Y-%m-%d")
    names = [day, *(f"{day}-{n}" for n in range(2, 1000))]
    return next(name for name in names if not (store / name).exists())


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Lock the store for this process. Raises UsageError if another suite uses it. The lock of a
    process ends with it."""
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
    swept = {cell.label: seeds_done(suite.store, cell.label) for cell in suite.sweeps()}
    (folder / RUNS).mkdir(parents=True)
    night = Night(suite, name, folder, [*jobs, *blocks_of(suite, swept)], swept=swept)
    plan = {
        "suite": suite.name,
        "night": name,
        "started_s": night.started_s,
        "jobs": [job.to_json() for job in jobs],
        "swept": swept,
    }
    (folder / PLAN).write_text(json.dumps(plan) + "\n", encoding="utf-8")
    (folder / RESULTS).touch()
    return night


def blocks_of(suite: Suite, swept: Mapping[str, int]) -> Iterator[Job]:
    """The blocks of all sweeps, alternating between cells."""
    rows = [cell.blocks(swept[cell.label]) for cell in suite.sweeps() if cell.label in swept]
    for column in itertools.zip_longest(*rows):
        yield from (job for job in column if job is not None)


def seeds_done(store: Path, cell: str) -> int:
    """How many seeds of a sweep the nights of a store have run, including unfinished nights."""
    done = Index(store).seeds_swept(cell)
    for folder in nights_in(store):
        if not (folder / SUMMARY).exists():
            for line in lines_of(folder / RESULTS):
                result = JobResult.from_json(line)
                if result.cell == cell and result.block > 1:
                    done = max(done, result.seed + result.block)
    return done


def corpus_jobs(store: Path) -> list[Job]:
    """Jobs that run the failures of earlier nights again. The job of a folder that can no longer be
    read fails, with the reason."""
    jobs = []
    for path in sorted((store / CORPUS).glob("*")):
        cell = f"corpus / {path.name}"
        try:
            config = load(path).config
        except HarnessError:
            where: dict[str, Any] = {"target": path.name, "mutant": None, "on": "sim", "seed": 0}
            jobs.append(Job(cell=cell, swarm=False, recorded=str(path), **where))
            continue
        jobs.append(
            Job(
                cell=cell,
                target=config.target,
                mutant=config.cluster.mutant,
                on=config.on,
                seed=config.seed,
                swarm=False,
                fixed={
                    "settings": {n: v for n, v in config.cluster.settings.items() if n == "image"}
                },
                recorded=str(path),
                known=_found_as(path),
            )
        )
    return jobs


def _found_as(path: Path) -> tuple[str, str] | None:
    """The detector and kind of a failure of the corpus; None if that is not recorded."""
    try:
        found = json.loads((path / FOUND).read_text(encoding="utf-8"))
        return str(found["detector"]), str(found["kind"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def add_to_corpus(store: Path, folder: Path, finding: Finding) -> None:
    """Keep the files needed to run a failure again (configuration, schedule, verdict, and their
    digests), and its signature."""
    signature = finding.signature
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "-", signature)[:60].strip("-")
    name = f"{readable}-{hashlib.sha256(signature.encode()).hexdigest()[:8]}"
    target = store / CORPUS / name
    if target.exists():
        return
    target.mkdir(parents=True)
    for name in (RUN, SCHEDULE, VERDICT, DIGESTS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    found = {name: getattr(finding, name) for name in ("signature", "detector", "kind")}
    (target / FOUND).write_text(json.dumps(found) + "\n", encoding="utf-8")


def resume(suite: Suite) -> Night:
    """The latest unfinished night, with jobs that failed in the harness to be run again. Raises
    UsageError if there is none."""
    open_ones = [n for n in nights_in(suite.store) if not (n / SUMMARY).exists()]
    if not open_ones:
        raise UsageError(f"no night in {suite.store} was interrupted", remedy="leave out --resume")
    folder = max(open_ones, key=lambda night: (night / PLAN).stat().st_mtime)
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        jobs = [Job.from_json(job) for job in plan["jobs"]]
        swept = {str(cell): int(done) for cell, done in plan.get("swept", {}).items()}
        done = [JobResult.from_json(line) for line in lines_of(folder / RESULTS)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{folder} cannot be resumed: {in_words(error)}") from None
    jobs += blocks_of(suite, swept)
    night = Night(suite, folder.name, folder, jobs, swept=swept)
    latest = {result.identity: result for result in done}
    night.results = {name: one for name, one in latest.items() if one.outcome != "error"}
    night.started_s = float(plan.get("started_s", night.started_s))
    night.seconds = night.busy_s()
    return night
