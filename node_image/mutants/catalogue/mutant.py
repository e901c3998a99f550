"""The description of a planted bug."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MULTI = ("multi-paxos", "flexible-paxos")
BASIC = ("basic-paxos",)
EPAXOS = ("epaxos",)
FAST = ("fast-paxos",)
RAFT = ("raft",)
TWO_PHASE = ("two-phase-commit",)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted bug: what it changes, what exposes it, what it then shows.

    `scenario` is a function in `tests/node_image`, as "module.function": the correct protocol
    passes it, and the one with the bug does not. A bug of several protocols has a scenario in the
    tests of each, under the same id; this is the first.

    `protocols` are the names it is written for. `needs` holds cluster settings without which it
    cannot show: fields of ClusterConfig by name, and `learners` as a number of nodes. A `control`
    is a change that is safe, and must never be flagged. `liveness`: it violates progress, not
    safety.
    """

    id: str
    protocols: tuple[str, ...]
    change: str
    exposed_by: str
    shows: str
    scenario: str
    control: bool = False
    liveness: bool = False
    needs: dict[str, Any] = field(default_factory=dict)
