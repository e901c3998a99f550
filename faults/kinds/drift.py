"""Drift: a node's clocks run at a wrong rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault, require_some
from faults.generators import SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Drift(Fault):
    """The nodes' clocks, wall and monotonic, run `ppm` millionths too fast (or slow, if below 0).

    At the end the rate is correct again; the offset gained remains.
    """

    kind: ClassVar[str] = "drift"

    ppm: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some(self, "ppm")
        if not -900_000 <= self.ppm <= 9_000_000:
            raise BadFault(f"{self.id}: a clock cannot run {self.ppm} ppm off")

    def describe(self) -> str:
        return f"{super().describe()} {self.ppm:+d} ppm"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    ppm = draw.pick([1_000, 10_000, 100_000, 400_000]) * draw.pick([-1, 1])
    return {"nodes": one_node(draw, constraints), "ppm": ppm}


KIND: Final = FaultKind(
    fault=Drift,
    summary="clocks run too fast or too slow",
    generator=Generator("clock", 1 * SECOND, 8 * SECOND, 2, _draw),
    order=110,
    runtimes=("docker", "sim"),
    mix_weight=1,
)
