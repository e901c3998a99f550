"""Delay: messages take longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import require_some
from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links


@dataclass(frozen=True, kw_only=True)
class Delay(LinkFault):
    """Each message takes `delay_us` longer, and up to `jitter_us` more; the order is kept where
    the transport keeps it."""

    kind: ClassVar[str] = "delay"

    delay_us: int
    jitter_us: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_some(self, "delay_us", "jitter_us")


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    delay_us = draw.pick([10, 50, 200, 500]) * MS
    links = draw_links(draw, constraints)
    return links | {"delay_us": delay_us, "jitter_us": draw.between(0, delay_us)}


KIND: Final = FaultKind(
    fault=Delay,
    summary="messages arrive later, with jitter",
    generator=Generator("delay", 500 * MS, 6 * SECOND, 3, _draw),
    order=60,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
