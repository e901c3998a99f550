"""How long a node waits for a leader, and a candidate for votes, in Multi-Paxos and Raft.

A node that hears from no leader becomes a candidate after a random time, drawn from
`election_min_us` to `election_max_us` so that two rarely do so at once (Ongaro and Ousterhout, "In
Search of an Understandable Consensus Algorithm", 2014, section 5.2). Timeouts affect liveness only.
Without the following three rules, a node that receives messages late could always be the first
candidate, so that no node is elected, or none remains leader:

  * Timeouts are drawn anew for every election, by the candidate and by the nodes that promise to it
    or vote for it. Otherwise the node that once drew the shortest would always be first.
  * A candidate that repeats its request in the same ballot, or term, does not extend the timeouts
    of the others.
  * A leader that stepped down because it lost its quorum has a longer timeout next time, up to four
    times as long. It is the first to notice the loss, so it would be the first candidate again and
    again, while nodes that a quorum could follow still receive its late heartbeats.

Sweeps showed that all three are needed, in Raft and in Multi-Paxos, in runs where a few nodes
outside of the healed quorum received every vote, or every acknowledgement, late.

**Adaptive timeouts.** If `election_floor_us` is set, timeouts adapt to the heartbeats. They are
scaled down so that the shortest is a few times the longest recent gap (`heartbeat_gaps`), but at
least the floor, and never more than configured. With leases a leader is tolerated for at least as
long as they last, since no other node could be elected before.

**Own stalls.** A leader that was paused, or did not get the processor, notices on waking that no
quorum has answered for too long. It steps down, but without the longer timeout, since its links are
not the cause.

**Lost connections.** When the leader's process dies, its kernel closes its connections, and
followers need not wait for a timeout. Within about a heartbeat they ask in turn whether they would
be elected, in the order of node numbers after the leader, so that they do not compete. A quorum
must agree, of nodes that have each lost their own connection to the leader. A leader that is alive
reconnects at once, and its next heartbeat stops the election.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from node_image.protocols.context import FOLLOWER, LEADER, Context
from node_image.protocols.heartbeat_gaps import HeartbeatGaps
from node_image.protocols.interface import NodeId

LOST_QUORUM_MAX: Final = 3
"""How many times the timeout is prolonged, at most, after stepping down without a quorum."""
GAPS: Final = 3
"""An adaptive timeout is at least this many times the longest recent gap between heartbeats."""
TURNS_MIN: Final = 4
"""After a lost connection the heartbeat period is divided into at least this many turns."""


class ElectionTiming:
    """One node's election timeout. Times are microseconds of its own clock.

    `heard_us`: when the leader was last heard from, or a new candidate got a promise or a vote.
    `timeout_us`: how long the node waits for a leader, drawn for each election. `give_up_us`: when
    a candidate stops waiting for votes.
    """

    __slots__ = (
        "_ctx",
        "_gaps",
        "_lost_quorum",
        "_lost_us",
        "_scales",
        "give_up_us",
        "heard_us",
        "timeout_us",
    )

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._gaps = HeartbeatGaps(context.config.heartbeat_us)
        self._scales = True  # the timeout was drawn from the configured range
        self.heard_us = 0
        self.timeout_us = context.config.election_max_us
        self.give_up_us = 0
        self._lost_us = -1  # when the leader's connection was lost
        self._lost_quorum = 0  # how often in a row this node lost its quorum as leader

    def start(self, *, first_time: bool) -> None:
        """The node has started; in its first life it cannot disturb a leader."""
        config = self._ctx.config
        if first_time:
            self.wait_for_leader(config.heartbeat_us, config.election_min_us)
        else:
            self.wait_for_leader(config.election_min_us, config.election_max_us)

    def _draw(self, low_us: int, high_us: int) -> int:
        times = 1 + min(self._lost_quorum, LOST_QUORUM_MAX)
        self._scales = low_us == self._ctx.config.election_min_us
        self.timeout_us = times * self._ctx.random.randrange(low_us, high_us + 1)
        return self.timeout_us

    def wait_for_leader(self, low_us: int, high_us: int) -> None:
        """Become a candidate after a random time without hearing from a leader."""
        self._draw(low_us, high_us)
        self._ctx.set_timer("election", self._current_timeout_us())

    def heartbeat(self, term: Hashable, now_us: int) -> None:
        """A heartbeat has arrived from the leader of this term or ballot."""
        if self._ctx.config.election_floor_us:
            self._gaps.heard(term, now_us)

    def shortest_us(self) -> int:
        """The shortest silence of the leader after which a new one would be accepted."""
        config = self._ctx.config
        longest_us = self._gaps.longest_us()
        if not config.election_floor_us or longest_us is None:
            return config.election_min_us
        least_us = max(config.election_floor_us, GAPS * longest_us)
        if config.reads == "lease":
            least_us = max(least_us, config.lease_us)
        return min(least_us, config.election_min_us)

    def _current_timeout_us(self) -> int:
        """How long the leader may be silent: the drawn timeout, scaled if it adapts."""
        if not self._scales or not self._ctx.config.election_floor_us:
            return self.timeout_us
        return self.timeout_us * self.shortest_us() // self._ctx.config.election_min_us

    def keep_waiting(self, now_us: int) -> bool:
        """The timer fired. Set it again, and return True, if the leader was heard from
        meanwhile."""
        silence_us = now_us - self.heard_us
        timeout_us = self._current_timeout_us()
        if self._ctx.role != FOLLOWER or self.has_lost_leader() or silence_us >= timeout_us:
            return False
        self._ctx.set_timer("election", timeout_us - silence_us)
        return True

    def leader_lost(self, leader: NodeId, now_us: int) -> None:
        """The leader's connection is lost: become a candidate soon, in turn, unless it returns."""
        self._lost_us = now_us
        self.heard_us = min(self.heard_us, now_us - 1)
        config = self._ctx.config
        voters = config.voters
        if self._ctx.node in voters:
            turn_us = config.heartbeat_us // max(TURNS_MIN, len(voters) - 1)
            turn = sum(1 for n in voters if _comes_before(n, self._ctx.node, leader))
            self._ctx.set_timer(
                "election", (turn + 1) * turn_us, (turn + 1) * turn_us + turn_us // 2
            )

    def has_lost_leader(self) -> bool:
        """Whether no leader was heard from since the leader's connection was lost."""
        return self._lost_us > self.heard_us

    def defer_to_candidate(self, now_us: int) -> None:
        """This node promised to, or voted for, a new candidate: give it time to win."""
        self.heard_us = now_us
        if self._ctx.role == FOLLOWER:
            self.wait_for_leader(self._ctx.config.election_min_us, self._ctx.config.election_max_us)

    def begin_candidacy(self, now_us: int) -> None:
        """Start waiting for votes; `give_up_us` is the limit."""
        config = self._ctx.config
        self.give_up_us = now_us + self._draw(config.election_min_us, config.election_max_us)

    def ask_again_later(self) -> None:
        """Set the timer after which a candidate repeats its request."""
        heartbeat_us = self._ctx.config.heartbeat_us
        self._ctx.set_timer("election", heartbeat_us, 2 * heartbeat_us)

    def would_accept_leader(self, now_us: int) -> bool:
        if self._ctx.role == LEADER:
            return False
        silence_us = now_us - self.heard_us
        return self.has_lost_leader() or silence_us >= self.shortest_us()

    def stopped_leading(self, *, lost_quorum: bool) -> None:
        self._lost_quorum = self._lost_quorum + 1 if lost_quorum else 0


def _comes_before(one: NodeId, other: NodeId, leader: NodeId) -> bool:
    """Whether `one` comes before `other` in the order of numbers after the leader's, wrapping
    around to the lowest."""
    return one != leader and (one < leader, one) < (other < leader, other)
