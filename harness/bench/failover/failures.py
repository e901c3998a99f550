"""The failures of a leader that the failover benchmark can make, by name.

Each is a fault of `faults/kinds` aimed at the node that leads (or, as a control, at another one).
The last four are the partial connectivity of OmniPaxos (Ng, Haridi, Carbone, EuroSys 2023): while
the links stay cut, some node can still reach a majority, and the question is whether it becomes
leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from faults.description import Fault
from faults.kinds import fault_from_json
from harness.errors import UnknownChoice


@dataclass(frozen=True, kw_only=True)
class LeaderFailure:
    """`of` is the node that it affects: "leader" or "follower". `stale_hub`: the hub is cut off
    first, so that its log is behind."""

    kind: str
    summary: str
    of: str = "leader"
    fields: dict[str, Any] = field(default_factory=dict)
    has_hub: bool = False
    stale_hub: bool = False

    def fault(self, identity: str, leader: int, nodes: Sequence[int]) -> Fault:
        """The resolved fault, for a cluster in which `leader` leads."""
        others = [node for node in nodes if node != leader]
        affected: tuple[int, ...] = (leader,) if self.of == "leader" else (others[0],)
        if self.has_hub:
            affected = (leader, others[0])
        times = {"start_us": 0, "duration_us": 0}
        made = fault_from_json(
            {"kind": self.kind, "id": identity, "nodes": affected, **times, **self.fields}
        )
        return made.resolve(leader, nodes)

    def preparation(self, identity: str, leader: int, nodes: Sequence[int]) -> Fault | None:
        """The fault before it, which is healed when the failure begins."""
        if not self.stale_hub:
            return None
        hub = next(node for node in nodes if node != leader)
        times = {"start_us": 0, "duration_us": 0}
        fields = {"shape": "isolate", "nodes": (hub,)}
        made = fault_from_json({"kind": "partition", "id": f"{identity}-before", **times, **fields})
        return made.resolve(leader, nodes)


TRANSFER: Final = "transfer"


def _cut(shape: str) -> dict[str, Any]:
    return {"shape": shape}


FAILURES: Final[dict[str, LeaderFailure]] = {
    "kill": LeaderFailure(kind="kill", summary="SIGKILL to the leader's process"),
    "pause": LeaderFailure(kind="pause", summary="the leader's process is stopped"),
    "isolate": LeaderFailure(
        kind="partition", summary="all of the leader's links are cut", fields=_cut("isolate")
    ),
    "one-way-in": LeaderFailure(
        kind="partition", summary="nothing reaches the leader", fields=_cut("one-way-in")
    ),
    "one-way-out": LeaderFailure(
        kind="partition", summary="nothing leaves the leader", fields=_cut("one-way-out")
    ),
    "power": LeaderFailure(kind="power", summary="the leader's machine loses power"),
    "disk-stall": LeaderFailure(kind="disk-stall", summary="the leader's fsync hangs"),
    "slow-disk": LeaderFailure(
        kind="slow-disk", summary="the leader's fsync is slow", fields={"fsync_us": 50_000}
    ),
    "follower-kill": LeaderFailure(
        kind="kill", summary="SIGKILL to a follower: the control", of="follower"
    ),
    TRANSFER: LeaderFailure(
        kind=TRANSFER, summary="no failure: the leader is asked to hand over; the least possible"
    ),
    "quorum-loss": LeaderFailure(
        kind="partition",
        summary="the leader is alive, but only the hub sees a majority",
        fields=_cut("quorum-loss"),
        has_hub=True,
    ),
    "constrained": LeaderFailure(
        kind="partition",
        summary="quorum loss, a hub with a stale log, and the leader cut off",
        fields=_cut("constrained"),
        has_hub=True,
        stale_hub=True,
    ),
    "chained": LeaderFailure(
        kind="partition",
        summary="a line in which each node sees its neighbours only",
        fields=_cut("chained"),
        has_hub=True,
    ),
    "hub": LeaderFailure(
        kind="partition",
        summary="the leader sees only the hub, which sees all nodes",
        fields=_cut("hub"),
        has_hub=True,
    ),
}


GROUPS: Final = {"partial": ("quorum-loss", "constrained", "chained", "hub")}
"""Several failures by one name."""


def failure_named(name: str) -> LeaderFailure:
    """Raises UnknownChoice."""
    if name not in FAILURES:
        raise UnknownChoice("failure", name, FAILURES)
    return FAILURES[name]
