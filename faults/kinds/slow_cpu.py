"""Slow CPU: a node gets only part of a processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class SlowCpu(Fault):
    """The nodes may use no more than `percent` of one processor: in each period of 100 ms they
    run for that share of it, and are stopped for the rest if they need more."""

    kind: ClassVar[str] = "slow-cpu"

    percent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.percent <= 100:
            raise BadFault(f"{self.id}: percent must be 1 to 100, not {self.percent}")

    def describe(self) -> str:
        return f"{super().describe()} {self.percent} %"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    nodes = constraints.nodes if draw.chance(30) else one_node(draw, constraints)
    return {"nodes": nodes, "percent": draw.pick([2, 5, 10, 30])}


KIND: Final = FaultKind(
    fault=SlowCpu,
    summary="nodes get a few per cent of a processor",
    generator=Generator("cpu", 500 * MS, 6 * SECOND, 2, _draw),
    order=190,
    runtimes=("docker", "sim"),
)
