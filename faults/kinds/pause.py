"""Pause: every process of a node is stopped for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault
from faults.generators import MS, PROCESS, SECOND, Generator, nodes_to_stop
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Pause(Fault):
    """SIGSTOP to every process of the node; after `duration_us` SIGCONT."""

    kind: ClassVar[str] = "pause"


KIND: Final = FaultKind(
    fault=Pause,
    summary="processes are stopped (SIGSTOP) for a while",
    generator=Generator(PROCESS, 200 * MS, 4 * SECOND, 3, nodes_to_stop),
    order=30,
    runtimes=("docker", "sim"),
    mix_weight=2,
)
