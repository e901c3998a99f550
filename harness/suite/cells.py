"""The rows of a suite: each combination of a matrix, and its jobs.

A row of runs has fixed seeds, seeds drawn for the night, or a sweep: a range of seeds, of which
every night runs as many as its budget allows, continuing where the night before ended. A row of
failover measures one kind of leader failure of one target.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.suite.jobs import Job
from harness.targets import settings_of

SWARM: Final = "swarm"
BLOCK: Final = 100
"""How many seeds of a sweep are one job."""
FIRST_BLOCK: Final = 10
"""The first job of a night is smaller: how long a seed takes is not known before."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a matrix of runs. Times are microseconds."""

    name: str
    on: str
    target: str
    workload: str
    faults: str
    nodes: int | None
    image: str | None
    mutant: str | None
    time_us: int
    rate: float | None
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    fresh: int
    sweep: int
    budget_us: int | None

    @property
    def label(self) -> str:
        """The name of the row, used everywhere."""
        parts = [self.name, self.target, self.workload, self.faults, self.on]
        if self.nodes is not None:
            parts.append(f"{self.nodes} nodes")
        if self.image is not None:
            parts.append(f"image {self.image}")
        if self.mutant is not None:
            parts.append(f"mutant {self.mutant}")
        return " / ".join(parts)

    def job(self, seed: int, count: int = 1) -> Job:
        """The job of one seed, or of a block of them."""
        fixed: dict[str, Any] = {"time_us": self.time_us, "workload": self.workload}
        for name in ("nodes", "rate"):
            if getattr(self, name) is not None:
                fixed[name] = getattr(self, name)
        if settings := with_image(self.settings, self.image):
            fixed["settings"] = settings_of(self.target, settings)
        swarm = self.faults == SWARM
        if not swarm:
            kinds = tuple(k.strip() for k in self.faults.split(",") if k.strip() != "none")
            fixed["faults"] = kinds
        return Job(
            cell=self.label,
            target=self.target,
            mutant=self.mutant,
            on=self.on,
            seed=seed,
            swarm=swarm,
            fixed=fixed,
            count=count,
        )

    def seeds_of(self, suite: str, night: str) -> tuple[int, ...]:
        """The fixed seeds, and those drawn for this night."""
        return self.seeds + fresh_seeds(suite, night, self.label, self.fresh)

    def jobs(self, suite: str, night: str) -> list[Job]:
        """The jobs of this night, without the sweep."""
        return [self.job(seed) for seed in self.seeds_of(suite, night)]

    def blocks(self, done: int) -> Iterator[Job]:
        """The blocks of the sweep, after the first `done` seeds."""
        size = min(FIRST_BLOCK, BLOCK)
        while done < self.sweep:
            left = self.sweep - done
            count = left if left <= size + 1 else size  # none of one seed: that is a run of its own
            yield dataclasses.replace(self.job(done, count), open_ended=True)
            done, size = done + count, BLOCK


@dataclass(frozen=True, kw_only=True)
class FailoverCell:
    """The failover of one target after one kind of failure. `allowed`: by how much a median may
    exceed the baseline (0.2 is 20 %); `baseline`: the night to compare with, None for the first."""

    name: str
    on: str
    target: str
    image: str | None
    failure: str
    count: int
    nodes: int
    rate: float
    election_us: int
    settings: Mapping[str, Any]
    allowed: float
    baseline: str | None
    budget_us: int | None

    @property
    def label(self) -> str:
        """The name of the row, used everywhere."""
        parts = [self.name, self.target, self.failure, self.on, f"{self.nodes} nodes"]
        return " / ".join([*parts, *([f"image {self.image}"] if self.image else [])])

    def jobs(self, suite: str, night: str) -> list[Job]:
        """The measurement of a night: a single job."""
        fixed: dict[str, Any] = {
            "count": self.count,
            "nodes": self.nodes,
            "rate": self.rate,
            "election_us": self.election_us,
        }
        if settings := with_image(self.settings, self.image):
            fixed["settings"] = settings
        (seed,) = fresh_seeds(suite, night, self.label, 1)
        return [
            Job(
                cell=self.label,
                target=self.target,
                mutant=None,
                on=self.on,
                seed=seed % 1_000_000,
                swarm=False,
                fixed=fixed,
                failure=self.failure,
            )
        ]


def with_image(settings: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    """The settings of a row, with the one that names the nodes' image."""
    return dict(settings) | ({} if image is None else {"image": image})


def fresh_seeds(suite: str, night: str, label: str, count: int) -> tuple[int, ...]:
    """Seeds drawn for this night, from its name (the date, or a commit)."""
    digest = hashlib.sha256(f"{suite}\0{night}\0{label}".encode()).digest()
    first = int.from_bytes(digest[:5], "big") * 1_000  # below 2**50: exact in every JSON reader
    return tuple(range(first, first + count))
