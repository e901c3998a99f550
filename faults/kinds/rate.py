"""Rate: the bits per second of links are limited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links

KBPS_MAX: Final = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Rate(LinkFault):
    """Each link passes at most `kbps` kilobits per second; packets beyond that are queued."""

    kind: ClassVar[str] = "rate"

    kbps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.kbps <= KBPS_MAX:
            raise BadFault(f"{self.id}: kbps must be 1 to {KBPS_MAX}, not {self.kbps}")

    def describe(self) -> str:
        return f"{super().describe()} {self.kbps} kbit/s"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return draw_links(draw, constraints) | {"message": "", "kbps": draw.pick([64, 512, 4_000])}


KIND: Final = FaultKind(
    fault=Rate,
    summary="the rate of links is limited (kbit/s)",
    generator=Generator("rate", 500 * MS, 6 * SECOND, 1, _draw),
    order=240,
    runtimes=("docker",),
)
