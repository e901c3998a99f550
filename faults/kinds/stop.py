"""Stop: every process of a node is asked to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault
from faults.generators import MS, PROCESS, SECOND, Generator, nodes_to_stop
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Stop(Fault):
    """SIGTERM to every process of the node, and SIGKILL to those that still live after `grace_us`;
    after `duration_us` the node is started again."""

    kind: ClassVar[str] = "stop"

    grace_us: int = 5_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.grace_us <= 15_000_000:
            raise BadFault(f"{self.id}: grace_us must be 0 to 15,000,000, not {self.grace_us}")


KIND: Final = FaultKind(
    fault=Stop,
    summary="processes get SIGTERM, and SIGKILL if they stay",
    generator=Generator(PROCESS, 300 * MS, 4 * SECOND, 3, nodes_to_stop),
    order=130,
    runtimes=("docker", "sim"),
)
