"""How long a node waits for a leader, and a candidate for votes: Multi-Paxos and Raft alike.

A node that hears from no leader becomes a candidate after a random time, drawn from
`election_min_us` to `election_max_us` so that seldom two do at once (Ongaro and Ousterhout, "In
Search of an Understandable Consensus Algorithm", 2014, section 5.2). It matters for liveness alone.
Three rules
prevent that a node which receives messages late is always the first candidate, so that no node is
elected, or none that stays leader:

  * The timeout is drawn for every election, by the candidate as well as by those that promise or
    vote for it: else the node that drew the shortest once would always be first.
  * A candidate that asks again in the same ballot, or term, does not extend the others' timeouts.
  * A leader that stepped down without a quorum has a longer timeout the next time, up to four
    times: it was the first to notice, and would be the first candidate, again and again, while
    those that a quorum could follow still hear its late heartbeats.

Sweeps found all of them to be needed, in Raft and in Multi-Paxos, where a few nodes outside of the
healed quorum heard every vote, or every acknowledgement, late.

**Measured heartbeats.** Where `election_floor_us` is set, timeouts follow the heartbeats: all are
scaled down so that the shortest is a few times the longest gap of late (`heartbeat_gaps`), but not
less than the floor, and never more than was configured. A leader that granted leases is tolerated
for at least as long as they last, since no other node could be elected before.

**Own stalls.** A leader that was paused, or got no processor, finds on waking that no quorum has
answered for too long. It steps down like any other, but without the longer timeout: its links are
not to blame.

**Lost connections.** When the leader's process dies its kernel closes its connections, and the
followers need not wait for silence: one after the other, within about a heartbeat, they ask whether
they would be elected, in the order of the cluster after the leader, so that they do not compete.
The answer is still that of a quorum that has lost the leader as well, each on a connection of its
own. A leader that lives connects again at once, and its heartbeat ends the doubt.
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.context import FOLLOWER, LEADER, Context
from node_image.protocols.heartbeat_gaps import HeartbeatGaps
from node_image.protocols.interface import NodeId

LOST_QUORUM_MAX: Final = 3
"""The most times that the timeout is prolonged after leading was given up without a quorum."""
GAPS: Final = 3
"""An adaptive timeout is at least this many times the longest recent gap between heartbeats."""
TURNS_MIN: Final = 4
"""A heartbeat's time is shared among the followers of a lost leader, and by at least this many."""


class ElectionTiming:
    """One node's election timeout. Times are microseconds of its own clock.

    `heard_us`: when a leader was heard, or a new candidate was given a promise or a vote.
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
        self._lost_quorum = 0  # times in a row that leading ended for want of a quorum

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

    def heartbeat(self, leader: NodeId, now_us: int) -> None:
        """A heartbeat has come from the leader."""
        if self._ctx.config.election_floor_us:
            self._gaps.heard(leader, now_us)

    def shortest_us(self) -> int:
        """The shortest silence of a leader after which a new one would be accepted."""
        config = self._ctx.config
        longest_us = self._gaps.longest_us()
        if not config.election_floor_us or longest_us is None:
            return config.election_min_us
        least_us = max(config.election_floor_us, GAPS * longest_us)
        if config.reads == "lease":
            least_us = max(least_us, config.lease_us)
        return min(least_us, config.election_min_us)

    def _current_timeout_us(self) -> int:
        """How long a leader may be silent now: the drawn timeout, scaled where it adapts."""
        if not self._scales or not self._ctx.config.election_floor_us:
            return self.timeout_us
        return self.timeout_us * self.shortest_us() // self._ctx.config.election_min_us

    def keep_waiting(self, now_us: int) -> bool:
        """Whether a follower whose timer fired has heard a leader meanwhile; it waits on."""
        silence_us = now_us - self.heard_us
        timeout_us = self._current_timeout_us()
        if self._ctx.role != FOLLOWER or self.has_lost_leader() or silence_us >= timeout_us:
            return False
        self._ctx.set_timer("election", timeout_us - silence_us)
        return True

    def leader_lost(self, leader: NodeId, now_us: int) -> None:
        """The leader's connection is lost: become a candidate soon, in turn, unless it is heard."""
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
        """Whether nothing was heard of a leader since the connection of one was lost."""
        return self._lost_us > self.heard_us

    def defer_to_candidate(self, now_us: int) -> None:
        """A promise, or a vote, is given in a new ballot: its candidate has its time now."""
        self.heard_us = now_us
        if self._ctx.role == FOLLOWER:
            self.wait_for_leader(self._ctx.config.election_min_us, self._ctx.config.election_max_us)

    def begin_candidacy(self, now_us: int) -> None:
        """Wait for votes, until they have had their time to come."""
        config = self._ctx.config
        self.give_up_us = now_us + self._draw(config.election_min_us, config.election_max_us)

    def ask_again_later(self) -> None:
        """A candidate repeats its question before it gives up."""
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
    """Whether `one` comes before `other` when nodes are counted upwards from after the leader, and
    on from the lowest."""
    return one != leader and (one < leader, one) < (other < leader, other)
