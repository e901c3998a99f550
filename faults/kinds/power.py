"""Power cut: what was not fsynced is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault
from faults.generators import (
    MS,
    PROCESS,
    SECOND,
    Constraints,
    Draw,
    Fields,
    Generator,
    nodes_to_stop,
)
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class PowerCut(Fault):
    """The nodes' machines lose power at the same time, and have it back after `duration_us`:
    exactly what was not fsynced is gone, and the record that was being written is torn."""

    kind: ClassVar[str] = "power"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    """Often the whole cluster at once, as when a site loses power: this distinguishes a protocol
    that waits for its disk from one that does not."""
    if constraints.allow_all and draw.chance(60):
        return {"nodes": constraints.nodes}
    return nodes_to_stop(draw, constraints)


KIND: Final = FaultKind(
    fault=PowerCut,
    summary="power fails: what was not fsynced is gone",
    generator=Generator(PROCESS, 300 * MS, 4 * SECOND, 3, _draw),
    order=90,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
