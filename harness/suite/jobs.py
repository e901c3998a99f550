"""One job of a suite: the run of one seed, and what it came to.

Simulated jobs run in the executor's processes and leave a folder only where they fail; jobs in
containers run in processes of their own (`harness.suite.apart`) and always leave one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from faults.description import FaultError
from faults.schedule import Schedule
from harness.errors import EngineError, HarnessError, StartError
from harness.reproduce.replay import load
from harness.run.config import RunConfig
from harness.run.engine import execute, schedule_for
from harness.run.simulation import Symptom, simulate_and_judge, symptoms_of, write_folder
from harness.search.bounded import time_limit, without_collector
from harness.search.swarm import SweepPlan, draw
from histories.errors import HistoryError

TRIES: Final = 3
"""How often a job is tried whose cluster could not be started. A finding is never retried."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run. `fixed` are flat options of RunConfig; with `swarm` the seed draws the others."""

    cell: str
    target: str
    mutant: str | None
    on: str
    seed: int
    swarm: bool
    fixed: Mapping[str, Any] = field(default_factory=dict)
    recorded: str | None = None
    """The folder of an earlier failure that is run again, in place of a configuration."""

    @property
    def identity(self) -> str:
        """The same for the same job, tonight and when the night is resumed."""
        return f"{self.cell}#{self.seed}"

    def config(self) -> RunConfig:
        """Without the swarm. Raises UsageError."""
        return RunConfig.of(
            target=self.target, mutant=self.mutant, on=self.on, seed=self.seed, **self.fixed
        )

    def run(self) -> tuple[RunConfig, Schedule]:
        """The configuration and schedule of this job."""
        if self.recorded is not None:
            earlier = load(self.recorded)
            return earlier.config, earlier.schedule
        if self.swarm:
            plan = SweepPlan(protocol=self.target, mutant=self.mutant, fixed=self.fixed)
            return draw(plan, self.seed)
        config = self.config()
        return config, schedule_for(config)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        fixed = dict(data["fixed"])
        if "faults" in fixed:
            fixed["faults"] = tuple(fixed["faults"])
        return cls(**{**data, "fixed": fixed})


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job came to. `outcome`: valid, invalid, unknown, or "error" where the harness could
    not do it. `symptoms`: (detector, kind) pairs, the most telling first."""

    identity: str
    cell: str
    seed: int
    outcome: str
    seconds: float
    symptoms: tuple[tuple[str, str], ...] = ()
    sentence: str = ""
    folder: str | None = None
    operations: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    unavailable_ms: float = 0.0
    simulated_s: float = 0.0
    tries: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JobResult:
        symptoms = tuple((str(d), str(k)) for d, k in data.get("symptoms", ()))
        return cls(**{**data, "symptoms": symptoms})


def run_job(job: Job, store: Path) -> JobResult:
    """Run a job here. Whatever goes wrong is a result, but for KeyboardInterrupt."""
    started = time.monotonic()
    tries = 0
    try:
        retrying = Retrying(
            retry=retry_if_exception_type((EngineError, StartError)),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=1, max=10),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                tries += 1
                run = _simulated if job.on == "sim" else _in_containers
                result = run(job, store, started)
        return result
    except (HarnessError, FaultError, HistoryError, OSError) as error:
        return failed(job, str(error), time.monotonic() - started, tries)
    except Exception as error:  # a bug of the harness must not end the night
        words = f"{type(error).__name__}: {error}"
        return failed(job, words, time.monotonic() - started, tries)


def failed(job: Job, words: str, seconds: float, tries: int = 1) -> JobResult:
    """The result of a job that the harness could not do."""
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome="error",
        seconds=seconds,
        symptoms=(("harness", first_line(words)[:120]),),
        sentence=words,
        tries=max(1, tries),
    )


def first_line(text: str) -> str:
    """The first line of a text; empty where there is none."""
    return next(iter(text.splitlines()), "")


def _simulated(job: Job, store: Path, started: float) -> JobResult:
    config, schedule = job.run()
    with without_collector(job.seed), time_limit():
        run = simulate_and_judge(config, schedule)
    folder = None
    if run.outcome != "valid":
        mutant = f"-{job.mutant}" if job.mutant else ""
        name = f"{job.target}{mutant}-seed{job.seed}"
        folder = str(write_folder(run, store, name).path)
    outcomes = run.stats.outcomes
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome=run.outcome,
        seconds=time.monotonic() - started,
        symptoms=tuple((s.detector, s.kind) for s in run.symptoms),
        sentence=run.sentence if run.outcome != "valid" else "",
        folder=folder,
        operations=sum(outcomes.values()),
        faults=schedule.kinds(),
        simulated_s=run.simulated_us / 1e6,
    )


def _in_containers(job: Job, store: Path, started: float) -> JobResult:
    config, schedule = job.run()
    result = execute(config, store, schedule=schedule)
    verdict = result.verdict
    symptoms = symptoms_of(verdict) if verdict.outcome != "valid" else ()
    if verdict.crashes:
        symptoms = (Symptom("crash", "a node ended by itself"), *symptoms)
    longest = verdict.availability.longest
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome=verdict.outcome,
        seconds=time.monotonic() - started,
        symptoms=tuple((s.detector, s.kind) for s in symptoms),
        sentence=verdict.reasons[0] if verdict.reasons else "",
        folder=str(result.folder.path),
        operations=sum(result.stats.outcomes.values()),
        faults=schedule.kinds(),
        unavailable_ms=0.0 if longest is None else longest.duration_ns / 1e6,
    )
