"""Strobe: a node's wall clock jumps back and forth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault, require_some
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Strobe(Fault):
    """The nodes' CLOCK_REALTIME is `offset_us` off for half of each `period_us`, and correct for
    the other half."""

    kind: ClassVar[str] = "strobe"

    offset_us: int
    period_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some(self, "offset_us")
        if self.period_us < 2_000:
            raise BadFault(f"{self.id}: period_us must be at least 2,000, not {self.period_us}")

    def describe(self) -> str:
        return (
            f"{super().describe()} {self.offset_us / 1e6:+.3f}s every {self.period_us / 1e3:g} ms"
        )


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    offset_us = draw.pick([5, 50, 500, 5_000]) * MS * draw.pick([-1, 1])
    return {
        "nodes": one_node(draw, constraints),
        "offset_us": offset_us,
        "period_us": draw.pick([10, 50, 200, 1_000]) * MS,
    }


KIND: Final = FaultKind(
    fault=Strobe,
    summary="the wall clock jumps to and fro",
    generator=Generator("clock", 500 * MS, 8 * SECOND, 2, _draw),
    order=210,
    runtimes=("docker", "sim"),
)
