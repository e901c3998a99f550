"""Kill: every process of a node ends at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault
from faults.generators import MS, PROCESS, SECOND, Generator, nodes_to_stop
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Kill(Fault):
    """SIGKILL to every process of the node; after `duration_us` the node is started again."""

    kind: ClassVar[str] = "kill"


KIND: Final = FaultKind(
    fault=Kill,
    summary="processes are killed, and started again later",
    generator=Generator(PROCESS, 300 * MS, 4 * SECOND, 4, nodes_to_stop),
    order=20,
    runtimes=("docker", "sim"),
    mix_weight=3,
)
