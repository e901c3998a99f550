"""Planted bugs of Multi-Paxos: each removes one safeguard, in one method, of `protocols`.

Read each beside the method that it overrides: that method's comment says what it is for, and this
class what happens without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from node_image.mutants.leaders import LEADERS
from node_image.protocols import paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.flexible_paxos import FlexiblePaxos
from node_image.protocols.interface import NodeId
from node_image.protocols.multi_paxos import MultiPaxos
from node_image.protocols.quorums import Grid, QuorumSystem, Sizes, from_options
from node_image.protocols.replica import Replica
from node_image.protocols.slot_log import Vote


class B1(MultiPaxos):
    """Closes an open slot with a no-op although a promise reported a vote for it."""

    def _finish_slot(self, slot: int, votes: Sequence[Vote]) -> None:
        self._fill_hole(slot)


class B2(MultiPaxos):
    """Takes the vote that was reported first, not the one of the highest ballot."""

    def _may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        return votes[0]


class B3(MultiPaxos):
    """Counts every reply, whatever ballot it answers."""

    def _answers_my_ballot(self, ballot: tuple[int, ...]) -> bool:
        return True


class B7(MultiPaxos):
    """Counts rounds from zero in every life. Its own promise is on the disk, so it finds its way
    up to that; but a ballot that it used before the crash looks unused."""

    _rounds_used = 0

    def _new_ballot(self) -> Ballot:
        fresh = Ballot(self._rounds_used + 1, self.node)
        allowed = Ballot(self._promised.round, self.node)
        if allowed < self._promised:
            allowed = Ballot(self._promised.round + 1, self.node)
        return max(fresh, allowed)

    def _begin_phase1(self, now_us: int) -> None:
        self._rounds_used = self.ballot.round
        super()._begin_phase1(now_us)


class B8(MultiPaxos):
    """Ballots are rounds only: two proposers of one round share a ballot."""

    def _new_ballot(self) -> Ballot:
        return super()._new_ballot()._replace(node=0)


class B10(MultiPaxos):
    """Accepts whatever is proposed, also below the ballot that was promised."""

    def _refuses(self, ballot: Ballot) -> bool:
        return False

    def _follow(self, sender: NodeId, ballot: Ballot, now_us: int) -> None:
        promised = self._promised
        super()._follow(sender, ballot, now_us)
        self._promised = max(promised, ballot)


class M1(MultiPaxos):
    """Leaves the holes of the log as they are: nothing after them is ever applied."""

    def _fill_hole(self, slot: int) -> None:
        pass


class M2(MultiPaxos):
    """Reports only what is still open: a new leader that missed a decision sees "no vote"."""

    def _report(self, first: int) -> m.Promise:
        log = self._log
        return m.Promise(self._promised, 0, tuple(log.held(log.applied + 1, log.last)))


class M3(MultiPaxos):
    """The leader applies, and answers, as soon as it has voted itself."""

    def _is_chosen(self, votes: int) -> bool:
        return bool(self.quorums.vote(0, self.node) & votes)


class M9(MultiPaxos):
    """Acknowledges the last slot that it voted for, holes or not."""

    def _covers(self, slot: int) -> bool:
        return True

    def _voted_to(self) -> int:
        return self._log.last


class M10(MultiPaxos):
    """Learners acknowledge proposals, and are counted; Phase 1 still asks acceptors only."""

    def _quorum_system(self) -> QuorumSystem:
        system = super()._quorum_system()
        return EveryNodeVotes(self.config.nodes, system.q1, system.q2)

    def _acknowledges(self) -> bool:
        return True


class EveryNodeVotes(Sizes):
    @staticmethod
    def _refuse_bad_sizes(count: int, q1: int, q2: int) -> None:
        pass


class L2(MultiPaxos):
    """Stands without asking first: a node that hears nothing deposes a healthy leader."""

    def _begin_if_granted(self, now_us: int) -> None:
        self._begin_phase1(now_us)


class F1(FlexiblePaxos):
    """Quorums whose sizes add up to N: two of them may be disjoint."""

    def _quorum_system(self) -> QuorumSystem:
        q2 = from_options(self.config).q2
        return EveryNodeVotes(self.config.voters, len(self.config.voters) - q2, q2)


class F2(FlexiblePaxos):
    """The control: Q1 and Q2 change places. Their sum is the same, and so it is safe; of a grid a
    whole column elects and a whole row decides."""

    def _quorum_system(self) -> QuorumSystem:
        system = from_options(self.config)
        if isinstance(system, Grid):
            return system.transposed()
        return Sizes(self.config.voters, system.q2, system.q1)


MULTI_PAXOS: dict[str, type[Replica]] = {
    **LEADERS,
    **{cls.__name__: cls for cls in (B1, B2, B3, B7, B8, B10, M1, M2, M3, M9, M10, L2)},
}
FLEXIBLE_PAXOS: dict[str, type[FlexiblePaxos]] = {"F1": F1, "F2": F2}
