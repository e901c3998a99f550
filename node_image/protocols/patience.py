"""How long a node waits before it stands for election: a random time, drawn anew every time.

What every protocol with a leader shares. It matters for liveness alone. The times are drawn from
`election_min_us` to `election_max_us`, so that seldom two stand at once (Ongaro and Ousterhout, "In
Search of an Understandable Consensus Algorithm", 2014, section 5.2). Two rules keep a node whose
votes always come too late from standing first for ever, with nobody elected:

  * Patience is drawn for every election, by the candidate as well as by those that make way for it:
    else whoever drew the shortest once would always be first.
  * Who asks again in the same ballot, or term, gets no more of the others' time.

Sweeps found both to be needed, in Raft and in Multi-Paxos, where a few nodes outside of the healed
quorum heard every vote late.
"""

from __future__ import annotations

from collections.abc import Callable

from node_image.protocols.replica import FOLLOWER, LEADER
from node_image.protocols.rounds import Rounds
from node_image.protocols.seam import ClusterConfig, NodeId, Randomness, StateMachine


class Patience(Rounds):
    """Adds the time that a follower waits for a leader, and a candidate for its votes."""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._heard_us = 0  # from a leader, or a promise was given to a new candidate
        self._patience_us = config.election_max_us
        self._give_up_us = 0

    def _draw_patience(self, low_us: int, high_us: int) -> int:
        self._patience_us = self._random.randrange(low_us, high_us + 1)
        return self._patience_us

    def _wait_for_leader(self, low_us: int, high_us: int) -> None:
        """Stand after a random time without hearing from a leader."""
        self._set_timer("election", self._draw_patience(low_us, high_us))

    def _make_way(self, now_us: int) -> None:
        """A promise, or a vote, is given in a new ballot: its candidate has its time now."""
        self._heard_us = now_us
        if self.role == FOLLOWER:
            self._wait_for_leader(self.config.election_min_us, self.config.election_max_us)

    def _begin_candidacy(self, now_us: int) -> None:
        """Stand, until votes have had their time to come."""
        config = self.config
        patience_us = self._draw_patience(config.election_min_us, config.election_max_us)
        self._give_up_us = now_us + patience_us

    def _would_welcome_leader(self, now_us: int) -> bool:
        silence_us = now_us - self._heard_us
        return self.role != LEADER and silence_us >= self.config.election_min_us
