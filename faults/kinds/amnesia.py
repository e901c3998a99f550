"""Amnesia: a node loses everything that it had stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import Fault
from faults.generators import MS, PROCESS, SECOND, Constraints, Draw, Fields, Generator, one_node
from faults.kind import FaultKind


@dataclass(frozen=True, kw_only=True)
class Amnesia(Fault):
    """The node is killed, its data directory is emptied, and after `duration_us` it starts with
    nothing.

    No consensus protocol is required to be correct after this: an acceptor that forgets a promise
    may vote twice. It is only injected where it is requested by name.
    """

    kind: ClassVar[str] = "amnesia"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    return {"nodes": one_node(draw, constraints)}


KIND: Final = FaultKind(
    fault=Amnesia,
    summary="a node starts again with an empty disk",
    generator=Generator(PROCESS, 300 * MS, 4 * SECOND, 2, _draw),
    order=140,
    runtimes=("docker", "sim"),
)
