"""Flapping: a partition that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.composite import cycles, require_few_cycles, require_positive, step
from faults.description import BadFault, Fault
from faults.generators import MS, PARTITION, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.kinds.partition import Partition, draw_partition
from faults.shapes import SHAPES


@dataclass(frozen=True, kw_only=True)
class Flapping(Fault):
    """A partition of this shape is in effect for `cut_us`, then healed for `open_us`,
    repeatedly."""

    kind: ClassVar[str] = "flapping"

    shape: str
    cut_us: int
    open_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "cut_us", "open_us")
        require_few_cycles(self, self.cut_us + self.open_us)
        if self.shape not in SHAPES:
            raise BadFault(
                f"{self.id}: no partition shape {self.shape!r}; choose one of {', '.join(SHAPES)}"
            )

    def steps(self) -> tuple[Fault, ...]:
        times = cycles(self.start_us, self.end_us, self.cut_us, self.open_us)
        return tuple(
            step(
                self,
                number,
                Partition,
                shape=self.shape,
                start_us=start_us,
                duration_us=duration_us,
            )
            for number, (start_us, duration_us) in enumerate(times, 1)
        )

    def describe(self) -> str:
        return f"{super().describe()} {self.shape}"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    times = {
        "cut_us": draw.pick([100, 400, 1_200]) * MS,
        "open_us": draw.pick([100, 400, 1_200]) * MS,
    }
    return draw_partition(draw, constraints) | times


KIND: Final = FaultKind(
    fault=Flapping,
    summary="a partition comes and goes",
    generator=Generator(PARTITION, 2 * SECOND, 8 * SECOND, 2, _draw, draws_shape=True),
    order=170,
    runtimes=("docker", "sim"),
)
