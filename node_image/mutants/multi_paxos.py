"""Planted bugs of Multi-Paxos, and of the protocols that share its parts.

Each removes one safeguard, in one method. Compare each with the method that it replaces: that
method's docstring says what it is for, and this one's what happens without it.
"""

from __future__ import annotations

from typing import Any

from node_image.mutants.leadership import LEADERSHIP
from node_image.mutants.variation import Protocol, Variation, part_of, vary, vary_part
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import NOOP, ClusterConfig, NodeId
from node_image.protocols.multi_paxos_messages import Promise
from node_image.protocols.quorums import QuorumSystem, Sizes


def b1(protocol: Protocol) -> Protocol:
    """Closes an open slot with a no-op although a promise reported a vote for it."""
    return vary_part(protocol, "election", value_for=lambda self, votes: (NOOP,))


def b2(protocol: Protocol) -> Protocol:
    """Takes the vote that was reported first, not the one of the highest ballot."""
    return vary_part(protocol, "election", may_be_chosen=lambda self, votes: votes[0])


def b3(protocol: Protocol) -> Protocol:
    """Counts every reply, also to another ballot."""
    return vary_part(protocol, "election", answers_my_ballot=lambda self, ballot: True)


def b4(protocol: Protocol) -> Protocol:
    """Accepts what is proposed in a ballot above its promise, and does not raise that to it: a late
    proposal of a ballot in between replaces the vote."""
    follow = part_of(protocol, "election").follow

    def follow_unpromised(self: Any, sender: NodeId, ballot: Ballot, now_us: int) -> None:
        promised = self._log.promised
        follow(self, sender, ballot, now_us)
        self._log.promised = promised

    return vary_part(protocol, "election", follow=follow_unpromised)


def b7(protocol: Protocol) -> Protocol:
    """Counts rounds from zero in every life. Its own promise is on the disk, so it continues from
    there; but a ballot that it used before the crash counts as unused."""
    election = part_of(protocol, "election")

    def new_ballot(self: Any) -> Ballot:
        promised, node = self._log.promised, self._ctx.node
        fresh = Ballot(getattr(self, "rounds_used", 0) + 1, node)
        allowed = Ballot(promised.round, node)
        if allowed < promised:
            allowed = Ballot(promised.round + 1, node)
        return max(fresh, allowed)

    def begin_phase1(self: Any, now_us: int) -> None:
        self.rounds_used = self.ballot.round
        election.begin_phase1(self, now_us)

    return vary_part(protocol, "election", new_ballot=new_ballot, begin_phase1=begin_phase1)


def b8(protocol: Protocol) -> Protocol:
    """Ballots are rounds only: two proposers of one round share a ballot."""
    original = part_of(protocol, "election").new_ballot
    return vary_part(protocol, "election", new_ballot=lambda self: original(self)._replace(node=0))


def b10(protocol: Protocol) -> Protocol:
    """Accepts every proposal, also below the ballot that was promised."""
    election = part_of(protocol, "election")

    def follow(self: Any, sender: NodeId, ballot: Ballot, now_us: int) -> None:
        promised = self._log.promised
        election.follow(self, sender, ballot, now_us)
        self._log.promised = max(promised, ballot)

    return vary_part(protocol, "election", refuses=lambda self, ballot: False, follow=follow)


def m1(protocol: Protocol) -> Protocol:
    """Leaves the holes of the log as they are: nothing after them is ever applied."""
    return vary_part(protocol, "election", hole_value=lambda self: None)


def m2(protocol: Protocol) -> Protocol:
    """Reports only open slots: a new leader that missed a decision sees "no vote"."""

    def report(self: Any, first: int) -> Promise:
        log = self._log
        return Promise(log.promised, 0, tuple(log.held(log.applied + 1, log.last)))

    return vary_part(protocol, "election", report=report)


def m9(protocol: Protocol) -> Protocol:
    """Acknowledges up to the last slot that it voted for, also past holes."""
    return vary(protocol, _covers=lambda self, slot: True, _voted_to=lambda self: self.log.last)


def m10(protocol: Protocol) -> Protocol:
    """Learners acknowledge proposals, and are counted; Phase 1 still asks acceptors only."""
    return vary(learners_counted(protocol), _acknowledges=lambda self: True)


def learners_counted(protocol: Protocol) -> Protocol:
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        system = protocol.quorum_system(config)
        return EveryNodeVotes(config.nodes, system.q1, system.q2)

    return vary(protocol, quorum_system=staticmethod(quorum_system))


class EveryNodeVotes(Sizes):
    @staticmethod
    def _refuse_bad_sizes(count: int, q1: int, q2: int) -> None:
        pass


def l2(protocol: Protocol) -> Protocol:
    """Begins Phase 1 without a probe: a node that receives nothing deposes a healthy leader."""
    return vary_part(
        protocol, "election", begin_if_granted=lambda self, now_us: self.begin_phase1(now_us)
    )


MULTI_PAXOS: dict[str, Variation] = {
    **LEADERSHIP,
    "B1": b1,
    "B2": b2,
    "B3": b3,
    "B4": b4,
    "B7": b7,
    "B8": b8,
    "B10": b10,
    "M1": m1,
    "M2": m2,
    "M9": m9,
    "M10": m10,
    "L2": l2,
}
