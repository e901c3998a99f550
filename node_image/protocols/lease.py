"""Leases: acceptors refuse all other candidates for a while, so the leader can answer reads.

With `reads="lease"` an acknowledgement of a heartbeat is also a promise to refuse other ballots for
`lease_us` on the acceptor's clock. For the leader the lease starts when it *sent* a round that a
quorum acknowledged, and is shorter by `clock_drift_max_us`. Until it expires no other node can be
elected, so the leader answers reads from its own state. After a crash an acceptor refuses all
nodes for `lease_us`, since it does not know to which node it granted a lease.

This class only keeps the lease. `Reads.take` (`reads`) checks it before a local read; the elections
(`paxos_election`, `raft_election`) refuse candidates that it forbids.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.interface import NodeId


class Lease:
    """The lease that this node holds as a leader, and the one that it granted as an acceptor.

    Raises ValueError for a lease that is not longer than the clock drift allowed for.
    """

    __slots__ = ("_ctx", "_granted_until_us", "_held_until_us", "_holder", "is_used")

    def __init__(self, context: Context) -> None:
        config = context.config
        self.is_used = config.reads == "lease"
        if self.is_used and config.lease_us <= config.clock_drift_max_us:
            raise ValueError(
                "lease_us must be more than clock_drift_max_us, or no lease ever holds"
            )
        self._ctx = context
        self._holder: NodeId | None = None
        self._granted_until_us = 0
        self._held_until_us: int | None = None

    def clock_us(self, now_us: int) -> int:
        """The clock of leases: monotonic."""
        return now_us

    # ------------------------------------------------------------------ the leader

    def reset(self) -> None:
        self._held_until_us = None

    def confirmed(self, sent_us: int) -> None:
        """A quorum has acknowledged a round that was sent at this time of `clock_us`."""
        config = self._ctx.config
        self._held_until_us = sent_us + config.lease_us - config.clock_drift_max_us

    def is_held(self, now_us: int) -> bool:
        until = self._held_until_us
        return until is not None and self.clock_us(now_us) < until

    # ------------------------------------------------------------------ the acceptor

    def grant(self, leader: NodeId | None, now_us: int) -> None:
        if self.is_used:
            self._holder = leader
            self._granted_until_us = self.clock_us(now_us) + self._ctx.config.lease_us

    def forbids(self, candidate: NodeId, now_us: int) -> bool:
        """Whether a lease granted to another node forbids to elect this candidate."""
        if not self.is_used or candidate == self._holder:
            return False
        return self.clock_us(now_us) < self._granted_until_us
