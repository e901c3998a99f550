"""Rolling restart: the nodes are taken down one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.composite import require_positive, step
from faults.description import BadFault, Fault
from faults.generators import MS, PROCESS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind
from faults.kinds.kill import Kill
from faults.kinds.stop import Stop

ACTIONS: Final[dict[str, type[Fault]]] = {"stop": Stop, "kill": Kill}


@dataclass(frozen=True, kw_only=True)
class Rolling(Fault):
    """The nodes, in their order, are taken down for `down_us` each. Their starts are spread evenly
    over the fault's duration, and none goes down before the one before it has been started again.

    `action`: "stop" (SIGTERM, as an upgrade does) or "kill".
    """

    kind: ClassVar[str] = "rolling"

    down_us: int
    action: str = "stop"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "down_us")
        if self.action not in ACTIONS:
            raise BadFault(
                f"{self.id}: no action {self.action!r}; choose one of {', '.join(ACTIONS)}"
            )

    @property
    def down_at_once(self) -> int:
        return 1

    def steps(self) -> tuple[Fault, ...]:
        each_us = self.duration_us // max(1, len(self.nodes))
        down_us = min(self.down_us, each_us)
        return tuple(
            step(
                self,
                number,
                ACTIONS[self.action],
                nodes=(node,),
                start_us=self.start_us + (number - 1) * each_us,
                duration_us=down_us,
            )
            for number, node in enumerate(self.nodes, 1)
        )


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return {
        "nodes": tuple(draw.some(constraints.nodes, len(constraints.nodes))),
        "down_us": draw.pick([200, 500, 1_500]) * MS,
        "action": draw.pick(list(ACTIONS)),
    }


KIND: Final = FaultKind(
    fault=Rolling,
    summary="nodes are taken down one after another",
    generator=Generator(PROCESS, 3 * SECOND, 10 * SECOND, 2, _draw),
    order=160,
    runtimes=("docker", "sim"),
)
