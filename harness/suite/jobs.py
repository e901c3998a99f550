"""A job of a suite, as planned and recorded, and its result.

A job is the run of one seed, a block of seeds of a sweep over the nights, or a measurement of
failover; `harness.suite.run_job` carries it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from faults.schedule import Schedule
from harness.bench.failover.plan import FailoverPlan
from harness.errors import UsageError
from harness.reproduce.replay import load
from harness.run.config import RunConfig
from harness.run.expected import changed_files
from harness.run.run_sequence import schedule_for
from harness.search.swarm import SweepPlan, draw
from histories.folder import RUN, SCHEDULE


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
    """The folder of an earlier failure that is run again, instead of a configuration."""
    known: tuple[str, str] | None = None
    """The detector and the kind of evidence of that failure when it was found."""
    count: int = 1
    """With more than one: a block of this many seeds, from `seed`, of a sweep."""
    open_ended: bool = False
    """Part of a sweep, of which a night runs as much as its budget allows."""
    failure: str | None = None
    """The kind of leader failure to measure; `fixed` are then options of FailoverPlan."""

    @property
    def identity(self) -> str:
        """Identifies the job, also when the night is resumed."""
        block = f"+{self.count}" if self.count > 1 else ""
        return f"{self.cell}#{self.seed}{block}"

    @property
    def subject(self) -> str:
        """What is under test: the target, with the image that was asked for and its planted bug."""
        image = self.fixed.get("settings", {}).get("image")
        version = f"@{image}" if image else ""
        return self.target + version + (f"+{self.mutant}" if self.mutant else "")

    def single(self, seed: int) -> Job:
        """The run of one seed of a block."""
        return dataclasses.replace(self, seed=seed, count=1)

    def config(self) -> RunConfig:
        """The configuration without the swarm. Raises UsageError."""
        return RunConfig.of(
            target=self.target, mutant=self.mutant, on=self.on, seed=self.seed, **self.fixed
        )

    def failover(self) -> FailoverPlan:
        """The plan of a failover measurement. Raises UsageError."""
        assert self.failure is not None
        return FailoverPlan(
            targets=(self.target,),
            failures=(self.failure,),
            on=self.on,
            seed=self.seed,
            **self.fixed,
        )

    def run(self) -> tuple[RunConfig, Schedule]:
        """The configuration and schedule of this job. Raises UsageError where those of an earlier
        failure were changed."""
        if self.recorded is not None:
            earlier = load(self.recorded)
            for sentence in changed_files(earlier.folder, (RUN, SCHEDULE)):
                raise UsageError(f"{self.recorded}: {sentence}")
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
        known = (str(data["known"][0]), str(data["known"][1])) if data.get("known") else None
        return cls(**{**data, "fixed": fixed, "known": known})


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The result of a job. `outcome`: valid, invalid, unknown, or "error" if the harness failed.
    `symptoms`: (detector, kind) pairs, the most informative first.

    The result of a block of seeds sums up the valid ones, `runs` of them; `failures` has one result
    for each of the others."""

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
    """How often each kind of fault was injected, with evidence."""
    reached: Mapping[str, int] = field(default_factory=dict)
    """How often each state of `harness.search.coverage` was reached; simulated runs only."""
    unavailable_ms: float = 0.0
    simulated_s: float = 0.0
    tries: int = 1
    runs: int = 1
    block: int = 1
    """How many seeds the job had."""
    failures: tuple[JobResult, ...] = ()
    failover: Mapping[str, Any] | None = None
    """Of a failover measurement: the summary made by `harness.suite.failovers.measured`."""

    @property
    def parts(self) -> tuple[JobResult, ...]:
        """This result, and those of the failed seeds of a block."""
        return (self, *self.failures)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JobResult:
        symptoms = tuple((str(d), str(k)) for d, k in data.get("symptoms", ()))
        failures = tuple(cls.from_json(part) for part in data.get("failures", ()))
        return cls(**{**data, "symptoms": symptoms, "failures": failures})


def failed(job: Job, words: str, seconds: float, tries: int = 1) -> JobResult:
    """The result of a job that failed in the harness."""
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
    """The first line of a text, or an empty one."""
    return next(iter(text.splitlines()), "")
