"""The mutation score: which planted bugs the harness finds.

For every planted bug of a protocol, seeds are tried one after the other until a detector fires,
from several starting points far apart; and the correct protocol runs through at least as many
seeds, in which no detector may fire. Which faults expose a bug is measured: each kind of fault is
removed from the failing run's schedule, and a kind without which no detector fires counts as
needed. Failures in the simulator are bit for bit reproducible.
"""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults.schedule import Schedule
from harness.errors import UnknownChoice
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.simulation import simulate_and_judge
from harness.search.executors import Executor, local_executor
from harness.search.swarm import SweepPlan, draw
from harness.search.sweep import SeedResult, run_seed
from node_image.mutants import IMPLEMENTATIONS, MUTANTS, PROTOCOLS, Mutant

STARTS: Final = 3
STRIDE: Final = 1_000_000
"""Starting points are this far apart: they share no seed."""
DETECTORS: Final = ("linearizability", "agreement", "liveness", "crash")
DOCKER_TIME_US: Final = 20_000_000
"""How long the faults of a run in containers last."""


class Task(NamedTuple):
    """One trial: a planted bug (None: the correct protocol), from one start, over some seeds."""

    protocol: str
    mutant: str | None
    first: int
    seeds: int
    on: str


class Trial(NamedTuple):
    """The result of a trial. `runs` counts the seeds tried, including the failing one; `seed` is
    that one, None if none failed. `needed`: the kinds of faults without which it does not fail.
    `problem`: why there is no result. `folder`: that of the failing run, if it was in
    containers."""

    task: Task
    seed: int | None
    runs: int
    seconds: float
    detectors: tuple[str, ...] = ()
    sentence: str = ""
    needed: tuple[str, ...] = ()
    problem: str = ""
    folder: str = ""


@dataclass
class Score:
    """All trials of one planted bug, or of a correct protocol (None)."""

    protocol: str
    mutant: str | None
    trials: list[Trial] = field(default_factory=list)

    @property
    def found(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.seed is not None]

    @property
    def must_pass(self) -> bool:
        """A correct protocol, or a control: any alarm is a false one."""
        return self.mutant is None or MUTANTS[self.mutant].control

    @property
    def is_right(self) -> bool:
        """Whether it was found from every start, or, if nothing is wrong, from none."""
        if any(trial.problem for trial in self.trials):
            return False
        return not self.found if self.must_pass else len(self.found) == len(self.trials)

    def to_json(self) -> dict[str, Any]:
        runs = [trial.runs for trial in self.trials]
        return {
            "protocol": self.protocol,
            "mutant": self.mutant,
            "change": MUTANTS[self.mutant].change if self.mutant else None,
            "control": self.must_pass,
            "right": self.is_right,
            "starts": len(self.trials),
            "found": len(self.found),
            "runs": runs,
            "runs_median": statistics.median(runs) if runs else None,
            "seconds_median": round(statistics.median(h.seconds for h in self.trials), 3),
            "detectors": {d: sum(d in h.detectors for h in self.found) for d in DETECTORS},
            "needed": self.needed(),
            "again": self.again(),
            "sentence": self.found[0].sentence if self.found else "",
            "problems": [trial.problem for trial in self.trials if trial.problem],
        }

    def needed(self) -> dict[str, int]:
        """For each kind of fault, in how many failures it was needed."""
        kinds = [kind for trial in self.found for kind in trial.needed]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def again(self) -> str:
        """The command that reproduces the first failure."""
        trial = self.found[0] if self.found else None
        if trial is None or trial.seed is None:
            return ""
        if trial.folder:
            return f"antipaxos replay {shlex.quote(trial.folder)}"
        mutant = f" --mutant {self.mutant}" if self.mutant else ""
        return f"antipaxos sweep {self.protocol}{mutant} --from {trial.seed} --seeds 1"


def tasks(
    protocols: Sequence[str], seeds: int, *, starts: int = STARTS, first: int = 0, on: str = "sim"
) -> list[Task]:
    """Every trial of a score: for each protocol the correct one, then its planted bugs.

    The correct protocol gets `seeds` at each start. Raises UnknownChoice for a protocol that does
    not exist. No protocols: all of them.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise UnknownChoice("protocol", name, PROTOCOLS)
    return [
        Task(name, mutant, first + start * STRIDE, seeds, on)
        for name in protocols or PROTOCOLS
        for mutant in (None, *planted_bugs(name))
        for start in range(starts)
    ]


def planted_bugs(protocol: str) -> tuple[str, ...]:
    """The planted bugs that a protocol has, in the order of the catalogue."""
    return tuple(m.id for m in _catalogue() if m.id in IMPLEMENTATIONS.get(protocol, {}))


def _catalogue() -> Iterator[Mutant]:
    return iter(MUTANTS.values())


def run_trials(
    work: Sequence[Task],
    *,
    executor: Executor | None = None,
    trial: Callable[[Task], Trial] | None = None,
) -> Iterator[Trial]:
    """Run the trials, in turn or by an executor; results are in the order of the trials."""
    executor = executor or local_executor(1)
    with closing(executor.map(trial or try_seeds, work)) as outcomes:
        for outcome in outcomes:
            yield outcome.result or Trial(outcome.item, None, 0, 0.0, problem=str(outcome.lost))


def try_seeds(task: Task) -> Trial:
    """Seeds one after the other until one fails."""
    plan = SweepPlan(protocol=task.protocol, mutant=task.mutant)
    started = time.monotonic()
    for number, seed in enumerate(range(task.first, task.first + task.seeds), 1):
        result = run_seed(plan, seed)
        if result.outcome != "valid":
            seconds = time.monotonic() - started
            return Trial(
                task,
                seed,
                number,
                seconds,
                _detectors(result),
                result.sentence.strip(),
                needed_kinds(plan, seed, result),
            )
    return Trial(task, None, task.seeds, time.monotonic() - started)


def _detectors(result: SeedResult) -> tuple[str, ...]:
    return tuple(dict.fromkeys(symptom.detector for symptom in result.symptoms))


def needed_kinds(plan: SweepPlan, seed: int, result: SeedResult) -> tuple[str, ...]:
    """The kinds of faults without which this seed no longer fails, each taken out by itself."""
    config, schedule = draw(plan, seed)
    return tuple(
        kind for kind in schedule.kinds() if not _fails(config, _without(schedule, kind), result)
    )


def _without(schedule: Schedule, kind: str) -> Schedule:
    return replace(schedule, faults=tuple(f for f in schedule.faults if f.kind != kind))


def _fails(config: RunConfig, schedule: Schedule, result: SeedResult) -> bool:
    """Does any of the same detectors fire?"""
    run = simulate_and_judge(config, schedule)
    fired = {symptom.detector for symptom in run.symptoms}
    return bool(fired & {symptom.detector for symptom in result.symptoms})


class DockerTrials:
    """Tries seeds in containers, with the configurations that the swarm draws; folders go under
    `store`."""

    def __init__(self, store: Path, say: Callable[[str], None]) -> None:
        self._store = store
        self._say = say

    def __call__(self, task: Task) -> Trial:
        from harness.run.run_sequence import execute  # noqa: PLC0415 (needs the Docker client)

        fixed = {"time_us": DOCKER_TIME_US}
        plan = SweepPlan(protocol=task.protocol, mutant=task.mutant, fixed=fixed, on="docker")
        started = time.monotonic()
        for number, seed in enumerate(range(task.first, task.first + task.seeds), 1):
            config, schedule = draw(plan, seed)
            observer = _BuildProgress(self._say)
            result = execute(config, self._store, observer, schedule=schedule)
            if result.verdict.outcome == "invalid":
                fired = tuple(
                    name for name, one in result.verdict.detectors().items() if one == "invalid"
                )
                return Trial(
                    task,
                    seed,
                    number,
                    time.monotonic() - started,
                    fired,
                    result.verdict.reasons[0],
                    folder=str(result.folder.path),
                )
        return Trial(task, None, task.seeds, time.monotonic() - started)


class _BuildProgress(Observer):
    """Passes on only steps that take long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def say(self, text: str) -> None:
        if text.startswith(("building", "pulling")):
            self._say(text)


def by_mutant(done: Sequence[Trial]) -> list[Score]:
    """The trials by planted bug, in their order."""
    scores: dict[tuple[str, str | None], Score] = {}
    for trial in done:
        key = (trial.task.protocol, trial.task.mutant)
        scores.setdefault(key, Score(*key)).trials.append(trial)
    return list(scores.values())
