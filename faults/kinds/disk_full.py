"""Full disk: there is no space for what a node writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import (
    DISK,
    MS,
    SECOND,
    Constraints,
    Draw,
    Fields,
    Generator,
    one_or_few_nodes,
)
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class DiskFull(Fault):
    """The nodes' disks have space for `left_bytes` more, then every write that needs space fails
    with ENOSPC; the write that reaches the limit is cut short. At the end there is space again, and
    a node that exited because of it is started."""

    kind: ClassVar[str] = "disk-full"

    left_bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left_bytes < 0:
            raise BadFault(f"{self.id}: left_bytes must not be negative")


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    nodes = one_or_few_nodes(draw, constraints)
    return {"nodes": nodes, "left_bytes": draw.pick([0, 100, 1000, 4000])}


KIND: Final = FaultKind(
    fault=DiskFull,
    summary="writes fail for lack of space (ENOSPC)",
    generator=Generator(DISK, 500 * MS, 4 * SECOND, 2, _draw),
    order=250,
    runtimes=("docker", "sim"),
)
