"""Memory pressure: a node's memory is limited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import PROCESS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class MemoryPressure(Fault):
    """The nodes' memory is limited to what they use when the fault begins and `spare_kib` more.
    A node that needs more loses its page cache, then waits, and may be killed by the kernel; a
    node that was killed is started again when the fault ends."""

    kind: ClassVar[str] = "memory"

    spare_kib: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.spare_kib <= 1 << 30:
            raise BadFault(f"{self.id}: spare_kib must be 0 to 2^30, not {self.spare_kib}")

    def describe(self) -> str:
        return f"{super().describe()} +{self.spare_kib} KiB"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return {"nodes": one_node(draw, constraints), "spare_kib": draw.pick([256, 1_024, 8_192])}


KIND: Final = FaultKind(
    fault=MemoryPressure,
    summary="nodes get little more memory than they use",
    generator=Generator(PROCESS, 1 * SECOND, 6 * SECOND, 2, _draw),
    order=200,
    runtimes=("docker",),
)
