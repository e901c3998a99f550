"""Monotonic: a node's monotonic clock jumps ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class MonotonicJump(Fault):
    """The nodes' CLOCK_MONOTONIC jumps `offset_us` ahead, as on a virtual machine that was
    suspended. It cannot go back, so the offset remains when the fault ends; CLOCK_REALTIME is not
    changed."""

    kind: ClassVar[str] = "monotonic"

    offset_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offset_us <= 0:
            raise BadFault(f"{self.id}: a monotonic clock jumps ahead: offset_us must be above 0")

    def describe(self) -> str:
        return f"{super().describe()} {self.offset_us / 1e6:+.3f}s"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    offset_us = draw.pick([50, 300, 2_000, 60_000]) * MS
    return {"nodes": one_node(draw, constraints), "offset_us": offset_us}


KIND: Final = FaultKind(
    fault=MonotonicJump,
    summary="the monotonic clock jumps ahead",
    generator=Generator("clock", 500 * MS, 8 * SECOND, 2, _draw),
    order=220,
    runtimes=("docker", "sim"),
)
