"""Corrupt: bits of packets are flipped at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links


@dataclass(frozen=True, kw_only=True)
class Corrupt(LinkFault):
    """With a chance of `percent` one bit of a packet is flipped. The checksums of TCP and UDP
    detect that, so the packet is lost, and TCP sends it again."""

    kind: ClassVar[str] = "corrupt"

    percent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_percent(self.percent)


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return draw_links(draw, constraints) | {"message": "", "percent": draw.pick([2, 10, 30])}


KIND: Final = FaultKind(
    fault=Corrupt,
    summary="bits of packets are flipped",
    generator=Generator("corrupt", 500 * MS, 6 * SECOND, 1, _draw),
    order=230,
    runtimes=("docker",),
)
