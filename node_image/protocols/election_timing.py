"""How long a node waits for a leader, and a candidate for votes: Multi-Paxos and Raft alike.

A node that hears no leader becomes a candidate after a random time, drawn from `election_min_us` to
`election_max_us` so that seldom two do at once (Ongaro and Ousterhout, "In Search of an
Understandable Consensus Algorithm", 2014, section 5.2). It matters for liveness alone. Three rules
prevent that a node which hears others late is always the first candidate, and nobody is elected, or
nobody who can stay:

  * The timeout is drawn for every election, by the candidate as well as by those that make way for
    it: else whoever drew the shortest once would always be first.
  * Who asks again in the same ballot, or term, gets no more of the others' time.
  * Who has stopped leading for want of a quorum has a longer timeout the next time, up to four
    times: it was the first to notice, and would be the first candidate, again and again, while
    those that a quorum could follow still hear its late heartbeats.

Sweeps found all of them to be needed, in Raft and in Multi-Paxos, where a few nodes outside of the
healed quorum heard every vote, or every acknowledgement, late.
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.context import FOLLOWER, LEADER, Context

LOST_QUORUM_MAX: Final = 3
"""So many times, at most, is the timeout prolonged after leading was given up without a quorum."""


class ElectionTiming:
    """One node's election timeout. Times are microseconds of its own clock.

    `heard_us`: when a leader was heard, or a new candidate was given a promise or a vote.
    `timeout_us`: how long silence is borne, drawn anew for each election. `give_up_us`: when a
    candidate stops waiting for votes.
    """

    __slots__ = ("_ctx", "_lost_quorum", "give_up_us", "heard_us", "timeout_us")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self.heard_us = 0
        self.timeout_us = context.config.election_max_us
        self.give_up_us = 0
        self._lost_quorum = 0  # times in a row that leading ended for want of a quorum

    def start(self, *, first_time: bool) -> None:
        """The node has started; in its first life it need not fear to disturb a leader."""
        config = self._ctx.config
        if first_time:
            self.wait_for_leader(config.heartbeat_us, config.election_min_us)
        else:
            self.wait_for_leader(config.election_min_us, config.election_max_us)

    def _draw(self, low_us: int, high_us: int) -> int:
        times = 1 + min(self._lost_quorum, LOST_QUORUM_MAX)
        self.timeout_us = times * self._ctx.random.randrange(low_us, high_us + 1)
        return self.timeout_us

    def wait_for_leader(self, low_us: int, high_us: int) -> None:
        """Become a candidate after a random time without hearing from a leader."""
        self._ctx.set_timer("election", self._draw(low_us, high_us))

    def still_waits(self, now_us: int) -> bool:
        """Whether a follower whose timer fired has heard a leader meanwhile; it waits on."""
        silence_us = now_us - self.heard_us
        if self._ctx.role != FOLLOWER or silence_us >= self.timeout_us:
            return False
        self._ctx.set_timer("election", self.timeout_us - silence_us)
        return True

    def make_way(self, now_us: int) -> None:
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

    def would_welcome_leader(self, now_us: int) -> bool:
        silence_us = now_us - self.heard_us
        return self._ctx.role != LEADER and silence_us >= self._ctx.config.election_min_us

    def stopped_leading(self, *, lost_quorum: bool) -> None:
        self._lost_quorum = self._lost_quorum + 1 if lost_quorum else 0
