"""Damaged disk: a file that had been fsynced is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import (
    MS,
    PROCESS,
    SECOND,
    Constraints,
    Draw,
    Fields,
    Generator,
    a_lasting_minority,
)
from faults.kind import FaultKind

MODES: Final = ("flip", "truncate", "old", "read-error")


@dataclass(frozen=True, kw_only=True)
class DiskDamage(Fault):
    """The nodes are killed, one file of each is damaged, and after `duration_us` they are started
    again.

    `mode`: "flip", some bits in one place are wrong. "truncate": the end of the file is missing.
    "old": a block has the content from before its last fsync, as if the drive had lost the write.
    "read-error": a block cannot be read until it is written again. `path`: a pattern of the paths
    to choose from, in the data directory; "" for any. `seed` decides on the file and the place.

    A node that cannot repair what it lost is allowed to stay down: it must not vote as if nothing
    had happened.
    """

    kind: ClassVar[str] = "disk-damage"

    mode: str
    path: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise BadFault(f"{self.id}: no mode {self.mode!r}; choose one of {', '.join(MODES)}")

    def describe(self) -> str:
        return f"{super().describe()} {self.mode}"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return {
        "nodes": a_lasting_minority(draw, constraints),
        "mode": draw.pick(MODES),
        "seed": draw.between(0, 1 << 30),
    }


KIND: Final = FaultKind(
    fault=DiskDamage,
    summary="a file is damaged while its node is down",
    generator=Generator(PROCESS, 300 * MS, 2 * SECOND, 2, _draw),
    order=270,
    runtimes=("docker", "sim"),
)
