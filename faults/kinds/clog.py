"""Clog: nodes are cut off one by one, and let back in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.composite import step
from faults.description import LEADER, BadFault, Fault
from faults.generators import PARTITION, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.kinds.partition import Partition


@dataclass(frozen=True, kw_only=True)
class Clog(Fault):
    """The nodes are isolated one by one in their order during the first half of the fault, and let
    back one by one in the order `release` (the same nodes; empty: first cut, first back) during the
    second half. So the set of nodes that can communicate changes several times."""

    kind: ClassVar[str] = "clog"

    release: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.release and LEADER in (*self.nodes, *self.release):
            raise BadFault(
                f"{self.id}: release orders nodes that are known: name them in place of the leader"
            )
        if self.release and sorted(self.release) != sorted(map(int, self.nodes)):
            raise BadFault(f"{self.id}: release must name the same nodes as nodes")

    def steps(self) -> tuple[Fault, ...]:
        every_us = self.duration_us // (2 * max(1, len(self.nodes)))
        release = self.release or self.nodes
        return tuple(
            step(
                self,
                number,
                Partition,
                nodes=(node,),
                shape="isolate",
                start_us=self.start_us + (number - 1) * every_us,
                duration_us=self._held_us(number, release.index(node), every_us),
            )
            for number, node in enumerate(self.nodes, 1)
        )

    def _held_us(self, number: int, released: int, every_us: int) -> int:
        back_us = self.duration_us - (len(self.nodes) - 1 - released) * every_us
        return back_us - (number - 1) * every_us


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    nodes = tuple(draw.some(constraints.nodes, max(1, len(constraints.nodes) // 2)))
    return {"nodes": nodes, "release": tuple(draw.some(nodes, len(nodes)))}


KIND: Final = FaultKind(
    fault=Clog,
    summary="nodes are cut off one by one, then let back",
    generator=Generator(PARTITION, 2 * SECOND, 8 * SECOND, 2, _draw),
    order=180,
    runtimes=("docker", "sim"),
)
