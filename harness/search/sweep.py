"""Runs many seeds, and groups the failures.

Seeds are independent, so an executor runs them in any number of processes. Results are in the order
of seeds, so that "the first failure" does not depend on the number of jobs. Folders are written
only for failing seeds, and only for the first few of each group. For this the seed is simulated
again, which takes a fraction of a second and is bit for bit the same.
"""

from __future__ import annotations

import shlex
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from faults.description import FaultError
from faults.schedule import Schedule
from harness.errors import HarnessError
from harness.run.config import RunConfig
from harness.run.simulation import Symptom, simulate_and_judge, write_folder
from harness.search.bounded import time_limit, without_collector
from harness.search.coverage import REACHED, reached
from harness.search.executors import Executor, Outcome, local_executor
from harness.search.swarm import SweepPlan, draw


class SeedResult(NamedTuple):
    """The result of one seed. `outcome` is valid, invalid or unknown."""

    seed: int
    outcome: str
    symptoms: tuple[Symptom, ...]
    sentence: str
    mix: str
    simulated_us: int
    operations: int
    faults: int
    reached: Mapping[str, int] | None = None
    """How often each of `coverage.REACHED` happened."""


@dataclass
class Group:
    """Seeds that failed in the same way: the same detector, and the same kind of evidence."""

    symptom: Symptom
    seeds: list[int] = field(default_factory=list)
    sentence: str = ""
    mix: str = ""
    also: dict[str, int] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)

    def wants(self, result: SeedResult, keep: int) -> bool:
        """Whether to keep a folder of this run: of the first ones, if there was a run at all."""
        return len(self.folders) < keep and result.simulated_us > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "detector": self.symptom.detector,
            "kind": self.symptom.kind,
            "seeds": self.seeds,
            "sentence": self.sentence,
            "mix": self.mix,
            "also": self.also,
            "folders": [str(path) for path in self.folders],
            "replay": [f"antipaxos replay {shlex.quote(str(path))}" for path in self.folders[:1]],
        }


@dataclass
class SweepResult:
    """The result of a sweep, complete or interrupted."""

    plan: SweepPlan
    first: int
    asked: int
    done: int = 0
    invalid: int = 0
    unknown: int = 0
    simulated_us: int = 0
    operations: int = 0
    faults: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    stopped: bool = False
    groups: dict[Symptom, Group] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    """How often each of `coverage.REACHED` happened, in all seeds."""
    seeds_reaching: Counter[str] = field(default_factory=Counter)
    """In how many seeds each was reached."""
    store_problem: str | None = None
    """Why the folder of some failing seed could not be written, in a sentence."""

    @property
    def outcome(self) -> str:
        """invalid if any seed is; unknown if something is undecided; else valid."""
        if self.invalid:
            return "invalid"
        return "unknown" if self.unknown or self.interrupted or not self.done else "valid"

    def add(self, result: SeedResult) -> Group | None:
        """Count one seed. Returns its group if it failed."""
        self.done += 1
        self.simulated_us += result.simulated_us
        self.operations += result.operations
        self.faults += result.faults
        counts = result.reached or {}
        self.reached.update(counts)
        self.seeds_reaching.update(name for name, count in counts.items() if count)
        if result.outcome == "valid":
            return None
        if result.outcome == "invalid":
            self.invalid += 1
        else:
            self.unknown += 1
        first = result.symptoms[0]
        group = self.groups.setdefault(first, Group(first))
        if not group.seeds:
            group.sentence, group.mix = result.sentence, result.mix
        group.seeds.append(result.seed)
        for other in result.symptoms[1:]:
            group.also[str(other)] = group.also.get(str(other), 0) + 1
        return group

    def keep(self, group: Group, seed: int, store: Path) -> None:
        """Write the folder of a failing seed. If that fails the sweep continues without folders,
        since failures can be reproduced from their seeds."""
        if self.store_problem is None:
            try:
                group.folders.append(_write(self.plan, seed, store))
            except HarnessError as error:
                self.store_problem = f"seed {seed}: {error.message}"

    def to_json(self) -> dict[str, Any]:
        simulated_s = self.simulated_us / 1e6
        seconds = self.seconds or 1e-9
        return {
            "verdict": self.outcome,
            "protocol": self.plan.protocol,
            "mutant": self.plan.mutant,
            "from": self.first,
            "seeds": self.done,
            "asked": self.asked,
            "invalid": self.invalid,
            "unknown": self.unknown,
            "interrupted": self.interrupted,
            "store_problem": self.store_problem,
            "operations": self.operations,
            "faults": self.faults,
            "seconds": round(self.seconds, 3),
            "simulated_s": round(simulated_s, 3),
            "seeds_per_s": round(self.done / seconds, 2),
            "simulated_s_per_s": round(simulated_s / seconds, 1),
            "reached": {
                name: {"count": self.reached[name], "seeds": self.seeds_reaching[name]}
                for name in REACHED
            },
            "groups": [group.to_json() for group in self.groups.values()],
        }


# ------------------------------------------------------------------------------- one seed


def run_seed(sweep: SweepPlan, seed: int) -> SeedResult:
    """Draw, simulate and judge one seed. Errors are results, not exceptions."""
    config, schedule = draw(sweep, seed)
    mix = describe_mix(config, schedule)
    try:
        with time_limit():
            run = simulate_and_judge(config, schedule)
    except (KeyboardInterrupt, HarnessError, FaultError):
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {Path(where.filename).name}:{where.name}"
        sentence = "".join(traceback.format_exception(error))
        return SeedResult(seed, "unknown", (Symptom("harness", kind),), sentence, mix, 0, 0, 0)
    outcomes = run.stats.outcomes
    return SeedResult(
        seed,
        run.outcome,
        run.symptoms,
        run.sentence,
        mix,
        run.simulated_us,
        outcomes["ok"] + outcomes["fail"] + outcomes["info"],
        run.stats.injected,
        reached(run.runtime.world),
    )


def describe_mix(config: RunConfig, schedule: Schedule) -> str:
    """The configuration that a seed drew, in one line."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in schedule.kinds().items()) or "no faults"
    world, traffic = config.world, config.traffic
    network = f"links {world.get('link_min_us', '?')} to {world.get('link_max_us', '?')} us"
    return (
        f"{config.cluster.nodes} nodes, {traffic.concurrency} clients, {traffic.rate:g}/s, "
        f"{traffic.keys} keys, {config.cluster.transport}, {network}, "
        f"reads={config.cluster.settings.get('reads', 'log')}, heal {config.heal}; {kinds}"
    )


# ------------------------------------------------------------------------------- many seeds


def sweep(
    plan: SweepPlan,
    seeds: range,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    stop_at_first: bool = False,
    store: Path | None = None,
    keep: int = 3,
    watch: Callable[[SweepResult, SeedResult], None] = lambda _, __: None,
) -> SweepResult:
    """Run all these seeds. An interrupt (Ctrl-C) ends it early, with what was found so far.

    executor: where seeds are run; by default `jobs` processes of this machine.
    store: where the first `keep` failing runs of each group are written; None: nowhere. watch is
    called after every seed. Raises UsageError for an invalid plan.
    """
    plan.check()
    executor = executor or local_executor(jobs)
    result = SweepResult(plan, seeds.start, len(seeds))
    started = time.monotonic()
    try:
        with closing(executor.map(SeedJob(plan), seeds)) as outcomes:
            for one in map(_result_of, outcomes):
                group = result.add(one)
                result.seconds = time.monotonic() - started
                if group is not None and store is not None and group.wants(one, keep):
                    result.keep(group, one.seed, store)
                watch(result, one)
                if stop_at_first and group is not None:
                    result.stopped = True
                    break
    except KeyboardInterrupt:
        result.interrupted = True
    result.seconds = time.monotonic() - started
    return result


def _write(plan: SweepPlan, seed: int, store: Path) -> Path:
    run = simulate_and_judge(*draw(plan, seed), traced=True)
    mutant = f"-{plan.mutant}" if plan.mutant else ""
    return write_folder(run, store, f"sweep-{plan.protocol}{mutant}-seed{seed}").path


@dataclass(frozen=True)
class SeedJob:
    """The work of one seed, for an executor: without the garbage collector, since a run is freed
    without it."""

    plan: SweepPlan

    def __call__(self, seed: int) -> SeedResult:
        with without_collector(seed):
            return run_seed(self.plan, seed)


def _result_of(outcome: Outcome[int, SeedResult]) -> SeedResult:
    """The result of a seed, even if its worker died."""
    if outcome.result is not None:
        return outcome.result
    sentence = f"the worker that ran seed {outcome.item} died: {outcome.lost}"
    symptom = Symptom("harness", "worker died")
    return SeedResult(outcome.item, "unknown", (symptom,), sentence, "", 0, 0, 0)
