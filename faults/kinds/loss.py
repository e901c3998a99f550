"""Loss: messages are lost at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.generators import MS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.link_fault import LinkFault, draw_links


@dataclass(frozen=True, kw_only=True)
class Loss(LinkFault):
    """Each message is lost with a chance of `percent`."""

    kind: ClassVar[str] = "loss"

    percent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_percent(self.percent)


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return draw_links(draw, constraints) | {"percent": draw.pick([2, 10, 30, 60])}


KIND: Final = FaultKind(
    fault=Loss,
    summary="messages get lost with some probability",
    generator=Generator("loss", 500 * MS, 6 * SECOND, 3, _draw),
    order=50,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
