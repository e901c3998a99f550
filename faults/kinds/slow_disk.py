"""Slow disk: every fsync takes longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault, require_some
from faults.generators import DISK, MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class SlowDisk(Fault):
    """Every fsync of the nodes takes `fsync_us` longer."""

    kind: ClassVar[str] = "slow-disk"

    fsync_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some(self, "fsync_us")


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    nodes = constraints.nodes if draw.chance(30) else one_node(draw, constraints)
    return {"nodes": nodes, "fsync_us": draw.pick([10, 50, 200, 1000]) * MS}


KIND: Final = FaultKind(
    fault=SlowDisk,
    summary="every fsync takes longer",
    generator=Generator(DISK, 500 * MS, 6 * SECOND, 2, _draw),
    order=100,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
