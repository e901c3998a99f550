"""What a failover benchmark measured: each failure, each cell of the table, the whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from harness.bench.failover.plan import Block, FailoverPlan
from harness.bench.failover.windows import CLASSES, Phases
from harness.bench.stats import Summary, summarise


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One failure: its windows by class and its phases, in microseconds. `recovered`: service was
    back while the fault lasted. `blocked_us`: if it was not, how long it took including
    the healing; None if service did not return before the run ended."""

    number: int
    leader: int
    applied_us: int | None
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
            "struck_us": self.applied_us,
            "recovered": self.recovered,
            "problem": self.problem,
            "windows_us": self.windows,
            "phases_us": self.phases._asdict(),
            "indefinite": self.indefinite,
            "blocked_us": self.blocked_us,
        }


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """Time in which nothing failed: how often a node became a candidate, and how often one became
    leader. `late`: operations that were not answered in time."""

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
    in_time_us: int = 0
    """A window is 0 where no operation took longer than this: it may have been as long."""
    point: str = ""
    observations: list[Observation] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be measured."""
    folders: list[str] = field(default_factory=list)
    healthy: list[Healthy] = field(default_factory=list)
    latencies_us: list[int] = field(default_factory=list)
    """Latencies from the intended time, of all answered operations."""

    @property
    def name(self) -> str:
        """The name to display."""
        return " ".join(part for part in (self.target, self.failure, self.point) if part)

    @property
    def outcome(self) -> str:
        """The worst verdict of the histories."""
        return next((v for v in ("invalid", "unknown") if v in self.verdicts), "valid")

    @property
    def proven(self) -> list[Observation]:
        return [o for o in self.observations if o.applied_us is not None and o.problem is None]

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
            "in_time_ms": self.in_time_us / 1000,
            "verdict": self.outcome,
            "reasons": self.reasons[:5],
            "notes": self.notes,
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


FORMAT: Final = 3
PARAMETERS: Final = ("on", "nodes", "rate", "election_timeout_ms", "settings", "sweep")
"""What two results must have in common to be compared."""


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
                in_time_us=self.plan.at(block.point).in_time_us,
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
            "format": FORMAT,
            "verdict": self.outcome,
            "interrupted": self.interrupted,
            "on": plan.on,
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
