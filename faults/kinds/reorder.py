"""Reorder: later messages overtake earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import require_some
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links


@dataclass(frozen=True, kw_only=True)
class Reorder(LinkFault):
    """With a chance of `percent` a message is held back up to `window_us`; later ones overtake
    it."""

    kind: ClassVar[str] = "reorder"

    percent: int
    window_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_percent(self.percent)
        require_some(self, "window_us")


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    window_us = draw.pick([5, 50, 500]) * MS
    links = draw_links(draw, constraints)
    return links | {"percent": draw.pick([5, 30, 80]), "window_us": window_us}


KIND: Final = FaultKind(
    fault=Reorder,
    summary="messages overtake one another",
    generator=Generator("reorder", 500 * MS, 6 * SECOND, 3, _draw),
    order=80,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
