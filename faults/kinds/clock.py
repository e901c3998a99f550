"""Clock: a node's wall clock jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault, require_some
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class ClockJump(Fault):
    """The node's CLOCK_REALTIME is `offset_us` off the host's; its monotonic clock is not
    changed."""

    kind: ClassVar[str] = "clock"

    offset_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some(self, "offset_us")

    def describe(self) -> str:
        return f"{super().describe()} {self.offset_us / 1e6:+.3f}s"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    least, most = draw.pick(
        [
            (20 * MS, 200 * MS),
            (200 * MS, 2 * SECOND),
            (2 * SECOND, 60 * SECOND),
            (3600 * SECOND,) * 2,
        ]
    )
    offset_us = draw.between(least, most) * draw.pick([-1, 1])
    return {"nodes": one_node(draw, constraints), "offset_us": offset_us}


KIND: Final = FaultKind(
    fault=ClockJump,
    summary="the wall clock is off by some time",
    generator=Generator("clock", 500 * MS, 8 * SECOND, 3, _draw),
    order=40,
    runtimes=("docker", "sim"),
    mix_weight=1,
)
