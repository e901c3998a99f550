"""Leader failover: the runs of a plan, and what was measured.

Each block is a run of its own: a fresh cluster, a warm-up that is not counted, some failures or a
period without failures, and a recorded history that is judged like any other. Figures of a target
whose history is not valid are not meaningful: its verdict is shown above the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from faults.schedule import Schedule
from harness.bench.burners import busy
from harness.bench.plan import HEALTHY, Block, FailoverPlan
from harness.bench.probe import Probe, ProbeConfig, Sample
from harness.bench.stats import Summary, summarise
from harness.bench.windows import (
    CLASSES,
    NodeEvent,
    Phases,
    elections_in,
    node_events,
    phases_of,
    rate_back_us,
    windows_of,
)
from harness.report.node_logs import node_logs
from harness.run.engine import carry_out, open_runtime
from harness.run.observer import Observer
from harness.run.record import FolderRecord
from histories.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One failure: its windows by class and its phases, in microseconds. `recovered`: service was
    back while the fault lasted. `blocked_us`: where it was not, how long it took, healing
    included; None where it did not come back before the run ended."""

    number: int
    leader: int
    struck_us: int | None
    recovered: bool
    problem: str | None
    windows: dict[str, int | None]
    phases: Phases
    indefinite: int
    blocked_us: int | None = None

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
            "blocked_us": self.blocked_us,
        }


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """Time in which nothing failed: how often some node stood for election, and how often one came
    to lead. `late`: operations that were not answered in time."""

    us: int
    candidacies: int
    elections: int
    operations: int
    late: int
    busy: int


@dataclass(kw_only=True)
class Cell:
    """All failures of one kind of one target, at one value of the swept setting (`point`)."""

    target: str
    failure: str
    election_us: int
    point: str = ""
    observations: list[Observation] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    healthy: list[Healthy] = field(default_factory=list)
    latencies_us: list[int] = field(default_factory=list)
    """Latencies from the intended time, of all answered operations."""

    @property
    def name(self) -> str:
        """For people."""
        return " ".join(part for part in (self.target, self.failure, self.point) if part)

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

    def blocked_ms(self) -> list[float | None]:
        """For each proven failure during which service did not return: until it was back."""
        found = [o.blocked_us for o in self.proven if not o.recovered]
        return [None if us is None else us / 1000 for us in found]

    def phase_summary(self, name: str) -> Summary | None:
        found = [getattr(o.phases, name) for o in self.proven]
        known = [v / 1000 for v in found if v is not None]
        return summarise(known) if known else None

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "failure": self.failure,
            "point": self.point,
            "election_timeout_ms": self.election_us / 1000,
            "verdict": self.outcome,
            "reasons": self.reasons[:5],
            "failures": len(self.observations),
            "proven": len(self.proven),
            "recovered": sum(o.recovered for o in self.proven),
            "window_ms": self.summary().to_json(),
            "blocked_ms": summarise(self.blocked_ms()).to_json() if self.blocked_ms() else None,
            "windows_ms": {name: self.summary(name).to_json() for name in CLASSES},
            "phases_ms": {
                name: found.to_json()
                for name in Phases._fields
                if (found := self.phase_summary(name)) is not None
            },
            "indefinite": sum(o.indefinite for o in self.observations),
            "healthy": [asdict(healthy) for healthy in self.healthy],
            "folders": self.folders,
            "observations": [o.to_json() for o in self.observations],
        }


@dataclass(kw_only=True)
class FailoverResult:
    """Every cell, complete or interrupted."""

    plan: FailoverPlan
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)
    interrupted: bool = False

    def cell(self, block: Block) -> Cell:
        key = (block.target, block.failure, block.point)
        if key not in self.cells:
            self.cells[key] = Cell(
                target=block.target,
                failure=block.failure,
                point=block.point,
                election_us=self.plan.at(block.point).election_us,
            )
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
            "format": 2,
            "verdict": self.outcome,
            "interrupted": self.interrupted,
            "nodes": plan.nodes,
            "rate": plan.rate,
            "count": plan.count,
            "seed": plan.seed,
            "election_timeout_ms": plan.election_us / 1000,
            "settings": plan.settings,
            "sweep": None if plan.sweep is None else plan.sweep.name,
            "busy": plan.busy,
            "cells": [cell.to_json() for cell in self.cells.values()],
        }


def measure(
    plan: FailoverPlan,
    store: Path,
    observer: Observer,
    *,
    begin: Callable[[Cell], None] = lambda _: None,
    watch: Callable[[Cell], None] = lambda _: None,
) -> FailoverResult:
    """Run the plan; run folders go under `store`. `begin` is called before every block, `watch`
    after it."""
    result = FailoverResult(plan=plan)
    try:
        for block in plan.blocks():
            cell = result.cell(block)
            begin(cell)
            interrupted = _run_block(plan.at(block.point), cell, block, store, observer)
            watch(cell)
            if interrupted:
                result.interrupted = True
                break
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _run_block(
    plan: FailoverPlan, cell: Cell, block: Block, store: Path, observer: Observer
) -> bool:
    """One block; whether it was interrupted."""
    config = plan.config(block.target, block.failure, block.number)
    probing = plan.probe(config, block)
    record = FolderRecord(store)
    runtime = open_runtime(config, record.run_id, observer.say)
    schedule = Schedule(
        seed=config.seed, duration_us=1, faults=(), nodes=config.cluster.voter_ids()
    )

    def drive() -> Probe:
        probe = Probe(probing, record.event)
        observer.follow(lambda: f"{len(probe.failures)} of {block.count} failures")
        with busy(plan.busy) if block.failure == HEALTHY else nullcontext():
            runtime.drive(probe)
        return probe

    probe = carry_out(config, schedule, runtime, record, observer, drive)
    observer.say("judging the history")
    verdict = record.judge()
    cell.verdicts.append(verdict.outcome)
    cell.reasons += verdict.reasons
    cell.folders.append(str(record.folder.path))
    cell.latencies_us += [s.end_us - s.intended_us for s in probe.samples if s.ok]
    events = events_of(record.folder, config.cluster.node_ids())
    if probe.books.healthy is not None:
        cell.healthy.append(_healthy(probe, probe.books.healthy, probing, events, plan.busy))
    _observe(cell, probe, probing, events)
    return probe.is_interrupted


def _healthy(
    probe: Probe,
    period: tuple[int, int],
    config: ProbeConfig,
    events: Sequence[NodeEvent],
    busy: int,
) -> Healthy:
    start_us, end_us = period
    samples = _between(probe.samples, start_us, end_us - config.in_time_us)
    late = [s for s in samples if not s.ok or s.end_us - s.intended_us > config.in_time_us]
    candidacies, elections = elections_in(events, start_us, end_us)
    return Healthy(
        us=end_us - start_us,
        candidacies=candidacies,
        elections=elections,
        operations=len(samples),
        late=len(late),
        busy=busy,
    )


def _observe(cell: Cell, probe: Probe, config: ProbeConfig, events: Sequence[NodeEvent]) -> None:
    """Windows and phases of a block's failures, without those that were interrupted."""
    samples = sorted(probe.samples, key=lambda s: s.intended_us)
    last_us = max((s.end_us for s in samples), default=0)
    bounds = [*(failure.asked_us for failure in probe.failures), last_us]
    for failure, (_, next_us) in zip(probe.failures, pairwise(bounds), strict=True):
        if failure.ended_us is None:
            continue
        start_us = failure.struck_us or failure.asked_us
        first_us = start_us - config.operation_timeout_us
        near = _between(samples, first_us, failure.ended_us)
        windows = windows_of(failure, near, config.in_time_us, failure.ended_us)
        blocked_us = None
        if not failure.recovered:
            later = _between(samples, first_us, next_us)
            all_windows = windows_of(failure, later, config.in_time_us, next_us).values()
            known = [us for us in all_windows if us is not None]
            blocked_us = max(known) if len(known) == len(all_windows) else None
        cell.observations.append(
            Observation(
                number=failure.number,
                leader=failure.leader,
                struck_us=failure.struck_us,
                recovered=failure.recovered,
                problem=failure.problem,
                windows=windows,
                phases=phases_of(
                    failure,
                    events,
                    windows["write/leader"],
                    rate_back_us(failure, near, config.interval_us),
                ),
                indefinite=sum(s.indefinite for s in near),
                blocked_us=blocked_us,
            )
        )


def _between(samples: Sequence[Sample], start_us: int, end_us: int) -> list[Sample]:
    return [s for s in samples if start_us <= s.intended_us <= end_us]


def events_of(folder: RunFolder, nodes: Sequence[int]) -> list[NodeEvent]:
    """Elections and decisions from the nodes' logs of a run, on the history's clock."""
    logs = node_logs(folder, [])
    lines = [(at_us, node, event) for at_us, node, event, _ in logs.lines]
    decided = {
        node: [
            (line["time"] - logs.zero_ns) // 1000
            for line in _lines(folder.node_decided(node))
            if isinstance(line.get("time"), int)
        ]
        for node in nodes
    }
    return node_events(lines, decided)


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
