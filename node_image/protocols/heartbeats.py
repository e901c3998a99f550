"""A leader's rounds of heartbeats: how it finds out that it still leads.

What every protocol with a leader shares, whatever it calls its election and its log. "Ballot" is
what the leader was elected in: a Paxos ballot, a Raft term.

The leader sends numbered rounds of heartbeats, one every `heartbeat_us` (a setting: `ClusterConfig`
in `interface`). A round that a Phase 2 quorum has acknowledged
confirms that no node had been elected above its ballot when the round was sent: every quorum that
elects would have included one of those who acknowledged. Without such a round for
`election_max_us` the leader steps down; its messages may still arrive, and would keep the others
from electing a new one. Confirmed rounds are also what reads (`reads`) and leases (`lease`) rest
on.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from node_image.protocols.context import Context
from node_image.protocols.interface import Json, NodeId
from node_image.protocols.lease import Lease
from node_image.protocols.quorums import NO_VOTES

ROUNDS_REMEMBERED: Final = 64


class HeartbeatSender(Protocol):
    """What a protocol's heartbeats look like."""

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
        """The ballot, or term, that this node leads in, for its notes."""
        ...


class Round(NamedTuple):
    """A round of heartbeats: when it was sent, and which slots had been proposed by then."""

    sent_us: int
    lease_clock_us: int
    last: int


class Heartbeats:
    """The rounds that this leader has sent, and who has acknowledged up to which.

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
        """A new leader begins: no round is sent, and none is missing before `election_max_us`."""
        self.stamp = 0
        self.confirmed = 0
        self._rounds: dict[int, Round] = {}
        self.acked = dict.fromkeys(self._ctx.config.voters, 0)
        self._contact_us = now_us
        self._late_us = 0  # how late this node itself has been since then
        self._lease.reset()

    def begin(self, now_us: int) -> bool:
        """Send a round. Whether it is confirmed at once: by this node alone."""
        self.stamp += 1
        last = self._sender.last_proposed()
        self._rounds[self.stamp] = Round(now_us, self._lease.clock_us(now_us), last)
        self._rounds.pop(self.stamp - ROUNDS_REMEMBERED, None)
        self._sender.send_heartbeat(self.stamp, last)
        return self.acknowledge(self._ctx.node, self.stamp)

    def is_under_way(self) -> bool:
        """Whether a round is sent and not confirmed."""
        return self.stamp != self.confirmed

    def round(self, stamp: int) -> Round | None:
        return self._rounds.get(stamp)

    def acknowledge(self, voter: NodeId, stamp: int) -> bool:
        """Count an acknowledgement. Whether a Phase 2 quorum confirms the round, and with it all
        rounds before, just now."""
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
        """This node woke later than it wanted to, by so much."""
        self._late_us += max(0, by_us)

    def has_stalled(self, now_us: int) -> bool:
        """Whether a quorum is missed only because this node itself did nothing for a while."""
        silence_us = now_us - self._contact_us
        return silence_us - self._late_us <= self._ctx.config.election_max_us

    def has_lost_quorum(self, now_us: int) -> bool:
        return now_us - self._contact_us > self._ctx.config.election_max_us
