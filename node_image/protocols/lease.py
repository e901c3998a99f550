"""Leases: for a while, acceptors refuse all nodes but the leader, and the leader may rely on it.

With `reads="lease"` every acknowledgement of a heartbeat also promises to refuse other ballots for
`lease_us` on the acceptor's clock. The leader counts from the *sending* of a round that a quorum
acknowledged, and shortens the span by `clock_drift_max_us`; until that runs out no other node can
be elected, so the leader answers reads from its own state (`reads`). After a crash an acceptor
refuses all nodes for `lease_us`, since it does not remember to which one it granted.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.interface import NodeId


class Lease:
    """The lease that this node has as a leader, and the one that it has granted as an acceptor.

    Raises ValueError for a lease that could never be held.
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
        """The clock that leases are measured on: monotonic."""
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
        """Whether a lease granted to another node keeps this candidate from being elected."""
        if not self.is_used or candidate == self._holder:
            return False
        return self.clock_us(now_us) < self._granted_until_us
