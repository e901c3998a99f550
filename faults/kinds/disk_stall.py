"""Stalled disk: an fsync hangs, and returns when the fault ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault
from faults.generators import DISK, MS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class DiskStall(Fault):
    """No fsync of the nodes returns until the end of the fault; then all return. Writes continue
    meanwhile: they only need memory."""

    kind: ClassVar[str] = "disk-stall"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    """All disks at once where nodes share a storage system."""
    nodes = constraints.nodes if draw.chance(20) else one_node(draw, constraints)
    return {"nodes": nodes}


KIND: Final = FaultKind(
    fault=DiskStall,
    summary="no fsync returns until the fault ends",
    generator=Generator(DISK, 300 * MS, 5 * SECOND, 3, _draw),
    order=260,
    runtimes=("docker", "sim"),
)
