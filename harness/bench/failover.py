"""Leader failover: the plan over targets and failures, its runs, and its result.

Targets and failures alternate in blocks (A, B, A, B, ...), so that whatever the machine does in the
meantime falls on all. Each block is a run of its own: a fresh cluster, a warm-up that is not
counted, some failures, and a recorded history that is judged like any other. A target whose history
is not valid has no honest figures: its verdict stands on top of the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.schedule import Schedule
from harness.bench.faults import failure_named
from harness.bench.probe import Probe, ProbeConfig, Sample
from harness.bench.stats import Summary, summarise
from harness.bench.windows import (
    CLASSES,
    NodeEvent,
    Phases,
    node_events,
    phases_of,
    rate_back_us,
    windows_of,
)
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.engine import carry_out, open_runtime
from harness.run.observer import Observer
from harness.run.record import FolderRecord
from harness.targets import settings_of
from histories.folder import RunFolder

BLOCK_FAILURES: Final = 10
HOLD_TIMEOUTS: Final = 20
"""A failure is held for at most so many election time-outs."""


@dataclass(frozen=True, kw_only=True)
class FailoverPlan:
    """What is measured. `rate` is operations a second; `election_us` the election time-out that
    every target is set to. Raises UsageError."""

    targets: tuple[str, ...]
    failures: tuple[str, ...] = ("kill",)
    count: int = 100
    nodes: int = 5
    rate: float = 500.0
    election_us: int = 1_000_000
    settings: dict[str, Any] = field(default_factory=dict)
    on: str = "docker"
    seed: int = 0
    block: int = BLOCK_FAILURES

    def __post_init__(self) -> None:
        if self.count < 1 or self.block < 1:
            raise UsageError("the number of failures must be at least 1")
        if not 1 <= self.rate <= 20_000:
            raise UsageError(f"the rate must be 1 to 20,000 operations a second, not {self.rate}")
        if not 20_000 <= self.election_us <= 60_000_000:
            raise UsageError("the election time-out must be 20 ms to 60 s")
        for name in self.failures:
            failure_named(name)
        for target in self.targets:
            self.config(target, self.failures[0], 0)

    def config(self, target: str, failure: str, block: int) -> RunConfig:
        """The run of one block."""
        kind = failure_named(failure).kind
        settings = dict(self.settings)
        base = RunConfig.of(target=target, on=self.on)
        timing = base.system.capabilities.timing
        if timing is not None:
            settings = timing(self.election_us) | settings
        return RunConfig.of(
            target=target,
            nodes=self.nodes,
            on=self.on,
            seed=self.seed * 1_000_003 + block,
            faults=(kind,),
            finale=False,
            rate=self.rate,
            settings=settings_of(target, settings),
        )

    def probe(self, config: RunConfig, failure: str, count: int) -> ProbeConfig:
        able = config.system.capabilities
        return ProbeConfig(
            nodes=config.cluster.voter_ids(),
            failure=failure_named(failure),
            failures=count,
            interval_us=max(1, round(1e6 / self.rate)),
            attempt_timeout_us=_attempt_timeout_us(self.election_us, sessions=able.sessions),
            operation_timeout_us=max(200_000, self.election_us),
            in_time_us=max(20_000, min(100_000, self.election_us // 3)),
            hold_max_us=HOLD_TIMEOUTS * self.election_us,
            spread_us=max(1, self.election_us // 10),
            seed=config.seed,
            sessions=able.sessions,
        )

    def blocks(self) -> Iterable[tuple[str, str, int, int]]:
        """(failure, target, number of the block, failures in it), in the order of running."""
        number = 0
        left = self.count
        while left > 0:
            count = min(self.block, left)
            left -= count
            for failure in self.failures:
                for target in self.targets:
                    yield failure, target, number, count
                    number += 1


def _attempt_timeout_us(election_us: int, *, sessions: bool) -> int:
    """Without sessions only reads are repeated, and what was asked before goes on in the node: a
    client that asks again too soon overloads the cluster just when it elects."""
    return max(10_000, min(60_000, election_us // 5) if sessions else election_us // 2)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One failure: its windows by class and its phases, in microseconds."""

    number: int
    leader: int
    struck_us: int | None
    recovered: bool
    problem: str | None
    windows: dict[str, int | None]
    phases: Phases
    indefinite: int

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "leader": self.leader,
            "struck_us": self.struck_us,
            "recovered": self.recovered,
            "problem": self.problem,
            "windows_us": self.windows,
            "phases_us": self.phases._asdict(),
            "indefinite": self.indefinite,
        }


@dataclass(kw_only=True)
class Cell:
    """All failures of one kind of one target."""

    target: str
    failure: str
    election_us: int
    observations: list[Observation] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    calm_us: int = 0
    calm_elections: int = 0
    latencies_us: list[int] = field(default_factory=list)
    """Latencies from the intended time, of all answered operations."""

    @property
    def outcome(self) -> str:
        """The worst verdict of the histories."""
        return next((v for v in ("invalid", "unknown") if v in self.verdicts), "valid")

    @property
    def proven(self) -> list[Observation]:
        return [o for o in self.observations if o.struck_us is not None and o.problem is None]

    def windows_ms(self, name: str) -> list[float | None]:
        """One value for each proven failure; None where service did not return."""
        found = [o.windows.get(name) if o.recovered else None for o in self.proven]
        return [None if v is None else v / 1000 for v in found]

    def worst_ms(self) -> list[float | None]:
        """The longest window of all classes, for each proven failure."""
        rows = zip(*(self.windows_ms(name) for name in CLASSES), strict=True)
        return [None if None in row else max(v for v in row if v is not None) for row in rows]

    def summary(self, name: str | None = None) -> Summary:
        return summarise(self.worst_ms() if name is None else self.windows_ms(name))

    def phase_summary(self, name: str) -> Summary | None:
        found = [getattr(o.phases, name) for o in self.proven]
        known = [v / 1000 for v in found if v is not None]
        return summarise(known) if known else None

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "failure": self.failure,
            "election_timeout_ms": self.election_us / 1000,
            "verdict": self.outcome,
            "reasons": self.reasons[:5],
            "failures": len(self.observations),
            "proven": len(self.proven),
            "recovered": sum(o.recovered for o in self.proven),
            "window_ms": self.summary().to_json(),
            "windows_ms": {name: self.summary(name).to_json() for name in CLASSES},
            "phases_ms": {
                name: found.to_json()
                for name in Phases._fields
                if (found := self.phase_summary(name)) is not None
            },
            "indefinite": sum(o.indefinite for o in self.observations),
            "healthy_s": self.calm_us / 1e6,
            "healthy_elections": self.calm_elections,
            "folders": self.folders,
            "observations": [o.to_json() for o in self.observations],
        }


@dataclass(kw_only=True)
class FailoverResult:
    """Every cell, complete or interrupted."""

    plan: FailoverPlan
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    interrupted: bool = False

    def cell(self, target: str, failure: str) -> Cell:
        key = (target, failure)
        if key not in self.cells:
            election_us = self.plan.election_us
            self.cells[key] = Cell(target=target, failure=failure, election_us=election_us)
        return self.cells[key]

    @property
    def outcome(self) -> str:
        outcomes = {cell.outcome for cell in self.cells.values()}
        if "invalid" in outcomes:
            return "invalid"
        return "unknown" if "unknown" in outcomes or self.interrupted else "valid"

    def to_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "format": 1,
            "verdict": self.outcome,
            "interrupted": self.interrupted,
            "nodes": plan.nodes,
            "rate": plan.rate,
            "count": plan.count,
            "seed": plan.seed,
            "election_timeout_ms": plan.election_us / 1000,
            "settings": plan.settings,
            "cells": [cell.to_json() for cell in self.cells.values()],
        }


def measure(
    plan: FailoverPlan,
    store: Path,
    observer: Observer,
    *,
    watch: Callable[[Cell], None] = lambda _: None,
) -> FailoverResult:
    """Run the plan; run folders go under `store`. `watch` is told after every block."""
    result = FailoverResult(plan=plan)
    try:
        for failure, target, number, count in plan.blocks():
            cell = result.cell(target, failure)
            interrupted = _run_block(plan, cell, number, count, store, observer)
            watch(cell)
            if interrupted:
                result.interrupted = True
                break
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _run_block(
    plan: FailoverPlan, cell: Cell, number: int, count: int, store: Path, observer: Observer
) -> bool:
    """One block; whether it was interrupted."""
    config = plan.config(cell.target, cell.failure, number)
    probing = plan.probe(config, cell.failure, count)
    record = FolderRecord(store)
    runtime = open_runtime(config, record.run_id, observer.say)
    schedule = Schedule(
        seed=config.seed, duration_us=1, faults=(), nodes=config.cluster.voter_ids()
    )

    def drive() -> Probe:
        probe = Probe(probing, record.event)
        runtime.drive(probe)
        return probe

    probe = carry_out(config, schedule, runtime, record, observer, drive)
    verdict = record.judge()
    cell.verdicts.append(verdict.outcome)
    cell.reasons += verdict.reasons
    cell.folders.append(str(record.folder.path))
    cell.calm_us += probe.books.calm_us
    cell.calm_elections += probe.books.calm_elections
    cell.latencies_us += [s.end_us - s.intended_us for s in probe.samples if s.ok]
    _observe(cell, probe, probing, events_of(record.folder, config.cluster.node_ids()))
    return probe.is_interrupted


def _observe(cell: Cell, probe: Probe, config: ProbeConfig, events: Sequence[NodeEvent]) -> None:
    """Windows and phases of a block's failures. Those that an interruption cut off are left out."""
    samples = sorted(probe.samples, key=lambda s: s.intended_us)
    for failure in probe.failures:
        if failure.ended_us is None:
            continue
        start_us = failure.struck_us or failure.asked_us
        near = _between(samples, start_us - config.operation_timeout_us, failure.ended_us)
        windows = windows_of(failure, near, config.in_time_us, failure.ended_us)
        rate_us = rate_back_us(failure, near, config.interval_us)
        cell.observations.append(
            Observation(
                number=failure.number,
                leader=failure.leader,
                struck_us=failure.struck_us,
                recovered=failure.recovered,
                problem=failure.problem,
                windows=windows,
                phases=phases_of(failure, events, windows["write/leader"], rate_us),
                indefinite=sum(s.indefinite for s in near),
            )
        )


def _between(samples: Sequence[Sample], start_us: int, end_us: int) -> list[Sample]:
    return [s for s in samples if start_us <= s.intended_us <= end_us]


def events_of(folder: RunFolder, nodes: Sequence[int]) -> list[NodeEvent]:
    """Elections and decisions from the nodes' logs of a run, on the history's clock; none where the
    target writes no such logs."""
    versions = folder.read_json("run.json").get("versions", {})
    zero_ns = int(versions.get("clock_zero_ns", 0))
    logs = {node: list(_lines(folder.node_log(node))) for node in nodes}
    decided = {
        node: [
            line["time"]
            for line in _lines(folder.node_decided(node))
            if isinstance(line.get("time"), int)
        ]
        for node in nodes
    }
    return node_events(logs, decided, zero_ns)


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
