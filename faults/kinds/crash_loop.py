"""Crash loop: a node is killed repeatedly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.composite import cycles, require_few_cycles, require_positive, step
from faults.description import Fault
from faults.generators import (
    MS,
    PROCESS,
    SECOND,
    Constraints,
    Draw,
    Fields,
    Generator,
    nodes_to_stop,
)
from faults.kind import FaultKind
from faults.kinds.kill import Kill


@dataclass(frozen=True, kw_only=True)
class CrashLoop(Fault):
    """The nodes are killed, started again after `down_us`, and killed again `up_us` later, until
    the fault ends."""

    kind: ClassVar[str] = "crash-loop"

    down_us: int
    up_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "down_us", "up_us")
        require_few_cycles(self, self.down_us + self.up_us)

    def steps(self) -> tuple[Fault, ...]:
        times = cycles(self.start_us, self.end_us, self.down_us, self.up_us)
        return tuple(
            step(self, number, Kill, start_us=start_us, duration_us=duration_us)
            for number, (start_us, duration_us) in enumerate(times, 1)
        )


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    """Some nodes are killed before they have caught up, others when they are about to lead
    again."""
    times = {
        "down_us": draw.pick([100, 300, 1_000]) * MS,
        "up_us": draw.pick([200, 600, 2_000]) * MS,
    }
    return nodes_to_stop(draw, constraints) | times


KIND: Final = FaultKind(
    fault=CrashLoop,
    summary="nodes are killed again soon after each start",
    generator=Generator(PROCESS, 1 * SECOND, 8 * SECOND, 2, _draw),
    order=150,
    runtimes=("docker", "sim"),
)
