"""A leader's rounds of heartbeats: how it confirms that it still leads.

All protocols with a leader share this part. "Ballot" means what the leader was elected in: a Paxos
ballot, or a Raft term.

The leader sends numbered rounds of heartbeats, one every `heartbeat_us` (a field of `ClusterConfig`
in `interface`). If a Phase 2 quorum acknowledges a round, no node had been elected in a higher
ballot when the round was sent: every quorum that elects would have included one of the nodes that
acknowledged it. If no round is confirmed for `election_max_us`, the leader steps down: otherwise
its messages, which may still arrive, would keep the others from electing a new leader. Reads
(`reads`) and leases (`lease`) are also based on confirmed rounds.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from node_image.protocols.context import Context
from node_image.protocols.interface import Json, NodeId
from node_image.protocols.lease import Lease
from node_image.protocols.quorums import NO_VOTES

ROUNDS_REMEMBERED: Final = 64


class HeartbeatSender(Protocol):
    """How a protocol sends heartbeats."""

    def last_proposed(self) -> int:
        """The last slot that this leader has proposed."""
        ...

    def send_heartbeat(self, stamp: int, last: int) -> None:
        """Broadcast the heartbeat of round `stamp`; `last` is the last slot proposed."""
        ...

    def ballot_number(self) -> tuple[int, ...]:
        """The ballot, or term, that this node leads in."""
        ...

    def note_fields(self) -> dict[str, Json]:
        """The ballot, or term, that this node leads in, as fields of a note."""
        ...


class Round(NamedTuple):
    """A round of heartbeats: when it was sent, and the last slot proposed by then."""

    sent_us: int
    lease_clock_us: int
    last: int


class Heartbeats:
    """The rounds that this leader has sent, and up to which each acceptor has acknowledged them.

    `stamp` numbers the last round sent, `confirmed` the last one that a quorum acknowledged;
    `acked` is the last that each acceptor acknowledged.
    """

    __slots__ = (
        "_contact_us",
        "_ctx",
        "_late_us",
        "_lease",
        "_rounds",
        "_sender",
        "acked",
        "confirmed",
        "stamp",
    )

    def __init__(self, context: Context, sender: HeartbeatSender, lease: Lease) -> None:
        self._ctx = context
        self._sender = sender
        self._lease = lease
        self.reset(0)

    def reset(self, now_us: int) -> None:
        """A new leader begins: no round is sent; the timeout `election_max_us` starts now."""
        self.stamp = 0
        self.confirmed = 0
        self._rounds: dict[int, Round] = {}
        self.acked = dict.fromkeys(self._ctx.config.voters, 0)
        self._contact_us = now_us
        self._late_us = 0  # by how much this node's own timers were late since then
        self._lease.reset()

    def begin(self, now_us: int) -> bool:
        """Send a round. Returns whether this node alone confirms it."""
        self.stamp += 1
        last = self._sender.last_proposed()
        self._rounds[self.stamp] = Round(now_us, self._lease.clock_us(now_us), last)
        self._rounds.pop(self.stamp - ROUNDS_REMEMBERED, None)
        self._sender.send_heartbeat(self.stamp, last)
        return self.acknowledge(self._ctx.node, self.stamp)

    def is_under_way(self) -> bool:
        """Whether a round was sent and is not confirmed."""
        return self.stamp != self.confirmed

    def round(self, stamp: int) -> Round | None:
        return self._rounds.get(stamp)

    def acknowledge(self, voter: NodeId, stamp: int) -> bool:
        """Count an acknowledgement. Returns whether it completes a Phase 2 quorum, which confirms
        the round and all earlier ones."""
        if stamp <= self.acked.get(voter, stamp):
            return False
        self.acked[voter] = stamp
        round_ = self._rounds.get(stamp)
        if stamp <= self.confirmed or round_ is None:
            return False
        votes, quorums = NO_VOTES, self._ctx.quorums
        for node, acked in self.acked.items():
            if acked >= stamp:
                votes = quorums.vote(votes, node)
        if not quorums.phase2(votes):
            return False
        assert stamp <= self.stamp, "only a round that was sent can be confirmed"
        self.confirmed = stamp
        self._contact_us = round_.sent_us
        self._late_us = 0
        self._lease.confirmed(round_.lease_clock_us)
        return True

    def late(self, by_us: int) -> None:
        """This node's timer fired late, by this much."""
        self._late_us += max(0, by_us)

    def has_stalled(self, now_us: int) -> bool:
        """Whether the quorum is missing only because this node itself was stalled."""
        silence_us = now_us - self._contact_us
        return silence_us - self._late_us <= self._ctx.config.election_max_us

    def has_lost_quorum(self, now_us: int) -> bool:
        return now_us - self._contact_us > self._ctx.config.election_max_us
