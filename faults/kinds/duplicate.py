"""Duplicate: messages arrive twice at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links


@dataclass(frozen=True, kw_only=True)
class Duplicate(LinkFault):
    """With a chance of `percent` a message arrives twice, the copy up to `spread_us` later."""

    kind: ClassVar[str] = "duplicate"

    percent: int
    spread_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_percent(self.percent)


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    spread_us = draw.pick([1, 50, 1000]) * MS
    links = draw_links(draw, constraints)
    return links | {"percent": draw.pick([5, 30, 80]), "spread_us": spread_us}


KIND: Final = FaultKind(
    fault=Duplicate,
    summary="messages arrive twice",
    generator=Generator("duplicate", 500 * MS, 6 * SECOND, 3, _draw),
    order=70,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
