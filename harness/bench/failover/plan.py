"""What a failover benchmark measures, and in which order.

Targets, failures and the values of a swept setting alternate in blocks (A, B, A, B, ...), so that
other load on the machine affects all of them. Each block is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from harness.bench.failover.failures import TRANSFER, failure_named
from harness.bench.failover.probe import ProbeConfig
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.targets import settings_of

BLOCK_FAILURES: Final = 10
HEALTHY_BLOCK_US: Final = 60_000_000
HOLD_TIMEOUTS: Final = 20
"""A failure is held for at most this many election timeouts."""
HEALTHY: Final = "healthy"
"""In place of a failure's name, for a period without failures."""


@dataclass(frozen=True, slots=True)
class Block:
    """One run: `count` failures of one kind, or `healthy_us` in which nothing fails. `point` is the
    value of the swept setting ("" if nothing is swept)."""

    target: str
    failure: str
    point: str
    number: int
    count: int
    healthy_us: int = 0


class Sweep(NamedTuple):
    """A setting, and the values that it takes in turn. `name` is the user's name for it, such as
    "election-timeout"; `values` are pairs of text and value."""

    name: str
    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class FailoverPlan:
    """What is measured. `rate` is operations a second; `election_us` the election timeout that
    every target is set to; `healthy_us` how long each target is observed without failures, and
    `busy` how many processes keep the machine busy during that time. Raises UsageError."""

    targets: tuple[str, ...]
    failures: tuple[str, ...] = ("kill",)
    count: int = 100
    nodes: int = 5
    rate: float = 500.0
    election_us: int = 1_000_000
    healthy_us: int = 0
    busy: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    sweep: Sweep | None = None
    on: str = "docker"
    seed: int = 0
    block: int = BLOCK_FAILURES

    def __post_init__(self) -> None:
        if self.count < 0 or self.block < 1 or not (self.count or self.healthy_us):
            raise UsageError(
                "the number of failures must be at least 1, or 0 with a healthy time to measure"
            )
        if not 1 <= self.rate <= 20_000:
            raise UsageError(f"the rate must be 1 to 20,000 operations a second, not {self.rate}")
        if not 20_000 <= self.election_us <= 60_000_000:
            raise UsageError("the election timeout must be 20 ms to 60 s")
        if not 0 <= self.busy <= 64:
            raise UsageError(f"the number of busy processes must be 0 to 64, not {self.busy}")
        if self.on == "sim" and self.busy:
            raise UsageError("a simulated cluster does not feel a busy machine: leave out --busy")
        _require_distinct("target", self.targets)
        _require_distinct("failure", self.failures)
        for name in self.failures:
            failure_named(name)
        for _, plan in self.points():
            for target in self.targets:
                for name in self.failures:
                    plan.config(target, name, 0)

    def points(self) -> list[tuple[str, FailoverPlan]]:
        """The plan for each value of the swept setting, by the value's text; a single one, with an
        empty text, if nothing is swept."""
        if self.sweep is None:
            return [("", self)]
        name = self.sweep.name
        field_name = SWEPT_FIELDS.get(name)
        found = []
        for text, value in self.sweep.values:
            changed = {field_name: value} if field_name else {}
            settings = self.settings if field_name else {**self.settings, name: value}
            found.append((text, replace(self, sweep=None, settings=settings, **changed)))
        return found

    @property
    def sweep_name(self) -> str:
        return "" if self.sweep is None else self.sweep.name

    def at(self, point: str) -> FailoverPlan:
        return dict(self.points())[point]

    def config(self, target: str, failure: str, block: int) -> RunConfig:
        """The run of one block."""
        kinds = () if failure in (HEALTHY, TRANSFER) else (failure_named(failure).kind,)
        settings = dict(self.settings)
        base = RunConfig.of(target=target, on=self.on)
        able = base.system.capabilities
        if failure == TRANSFER and able.transfer_leadership is None:
            raise UsageError(
                f"{target} cannot be asked to hand over leadership: leave out {TRANSFER}"
            )
        timing = able.timing
        if timing is not None:
            settings = timing(self.election_us) | settings
        return RunConfig.of(
            target=target,
            nodes=self.nodes,
            on=self.on,
            seed=self.seed * 1_000_003 + block,
            faults=kinds,
            finale=False,
            rate=self.rate,
            settings=settings_of(target, settings),
        )

    def probe(self, config: RunConfig, block: Block) -> ProbeConfig:
        able = config.system.capabilities
        fails = block.failure != HEALTHY
        return ProbeConfig(
            nodes=config.cluster.voter_ids(),
            failure=failure_named(block.failure if fails else self.failures[0]),
            failures=block.count if fails else 0,
            interval_us=max(1, round(1e6 / self.rate)),
            attempt_timeout_us=_attempt_timeout_us(self.election_us, sessions=able.sessions),
            operation_timeout_us=max(200_000, self.election_us),
            in_time_us=self.in_time_us,
            hold_max_us=HOLD_TIMEOUTS * self.election_us,
            spread_us=max(1, self.election_us // 10),
            healthy_us=block.healthy_us,
            seed=config.seed,
            sessions=able.sessions,
            has_leader=able.leader,
            transfer=able.transfer_leadership if block.failure == TRANSFER else None,
        )

    @property
    def in_time_us(self) -> int:
        """How long an operation may take that counts as served: no shorter window can be seen."""
        return max(20_000, min(100_000, self.election_us // 3))

    def blocks(self) -> Iterator[Block]:
        """In the order of running."""
        points = [text for text, _ in self.points()]
        number = 0
        left = self.count
        while left > 0:
            count = min(self.block, left)
            left -= count
            for failure in self.failures:
                for point in points:
                    for target in self.targets:
                        yield Block(target, failure, point, number, count)
                        number += 1
        left = self.healthy_us
        while left > 0:
            healthy_us = min(HEALTHY_BLOCK_US, left)
            left -= healthy_us
            for point in points:
                for target in self.targets:
                    yield Block(target, HEALTHY, point, number, 0, healthy_us)
                    number += 1


SWEPT_FIELDS: Final = {"election-timeout": "election_us", "nodes": "nodes", "rate": "rate"}
"""Settings of the plan that can be swept; every other name is a setting of the targets."""


def _attempt_timeout_us(election_us: int, *, sessions: bool) -> int:
    """Without sessions only reads are repeated, and the node still works on the earlier attempt: a
    client that retries too soon overloads the cluster during the election."""
    return max(10_000, min(60_000, election_us // 5) if sessions else election_us // 2)


def _require_distinct(what: str, names: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if not names:
        raise UsageError(f"at least one {what} must be named")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the {what} {name} is named twice")
