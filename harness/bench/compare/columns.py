"""The columns of the table: the protocols compared, and which node their clients ask.

A client of a protocol with a leader (`asks` "leader") asks the leader, which it knows. Where
every node takes commands (`asks` "any") it asks a node that does not lead, if any does: the nearest
one, for a client that is near some node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from harness.errors import UnknownChoice
from harness.targets import target_named


@dataclass(frozen=True, kw_only=True)
class Column:
    """`target` as for a run; `head` is at most six characters wide; `options` are settings of the
    target for a number of nodes."""

    target: str
    head: str
    title: str
    asks: str
    options: Callable[[int], dict[str, Any]] = lambda _: {}

    @property
    def reads(self) -> tuple[str, ...]:
        """The ways in which it can answer reads."""
        return tuple(target_named(self.target).capabilities.reads)

    @property
    def leads(self) -> bool:
        """Whether clients have to ask one particular node."""
        return self.asks == "leader"


def smaller_phase2(nodes: int) -> dict[str, Any]:
    """Flexible Paxos' quorums in this table: one acceptor fewer than a majority decides, and as
    many as that asks for elect (of five: two and four)."""
    majority = nodes // 2 + 1
    return {"q2": majority - 1, "q1": nodes + 2 - majority}


COLUMNS: Final = (
    Column(target="basic-paxos", head="Basic", title="Basic Paxos", asks="any"),
    Column(target="multi-paxos", head="Multi", title="Multi-Paxos", asks="leader"),
    Column(
        target="flexible-paxos",
        head="Flex",
        title="Flexible Paxos",
        asks="leader",
        options=smaller_phase2,
    ),
    Column(target="fast-paxos", head="Fast", title="Fast Paxos", asks="any"),
    Column(target="epaxos", head="EPaxos", title="EPaxos", asks="any"),
    Column(target="raft", head="Raft", title="Raft", asks="leader"),
    Column(target="two-phase-commit", head="2PC", title="Two-phase commit", asks="leader"),
)


def columns_named(names: tuple[str, ...]) -> tuple[Column, ...]:
    """The columns of these targets, in the table's order; all if none is named. Raises
    UnknownChoice."""
    known = [column.target for column in COLUMNS]
    for name in names:
        if name not in known:
            raise UnknownChoice("protocol", name, known)
    return tuple(c for c in COLUMNS if not names or c.target in names)
