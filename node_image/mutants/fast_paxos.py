"""Planted bugs of Fast Paxos: each removes one safeguard, in one method of one of its parts.

Those of Multi-Paxos whose safeguards Fast Paxos shares apply here as well (`multi_paxos`). Compare
each with the method that it replaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node_image.mutants import multi_paxos
from node_image.mutants.variation import Protocol, Variation, part_of, vary_part
from node_image.protocols.ballots import Ballot
from node_image.protocols.context import LEADER
from node_image.protocols.fast_paxos import FastPaxos
from node_image.protocols.fast_paxos_rounds import CLOSED, FastTally, is_fast
from node_image.protocols.interface import ClusterConfig, NodeId
from node_image.protocols.quorums import FastMajority
from node_image.protocols.slot_log import Vote


class B9(FastPaxos):
    """Messages are counted, not distinct acceptors: a duplicate is a second vote."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> FastMajority:
        return _MessagesCounted(config.voters)


class _MessagesCounted(FastMajority):
    def vote(self, votes: int, node: NodeId) -> int:
        return votes + 1 if node in self._bit else votes

    def count(self, votes: int) -> int:
        return votes

    def phase1(self, votes: int) -> bool:
        return votes >= self.q1

    def phase2(self, votes: int) -> bool:
        return votes >= self.q2


class Q1(FastPaxos):
    """Fast quorums of n * 3 // 4: rounded down, two of them and a majority may share no node."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> FastMajority:
        return _RoundedDown(config.voters)


class _RoundedDown(FastMajority):
    @staticmethod
    def _fast_size(count: int) -> int:
        return max(1, count * 3 // 4)


def q2(protocol: Protocol) -> Protocol:
    """Recovery takes the vote that it received first, whether or not it may have been chosen."""
    return vary_part(protocol, "election", pick=lambda self, counted, heard: counted[0][0])


class Q3(FastPaxos):
    """Coordinated recovery begins with the first fast votes, before those of a majority."""

    def _has_enough_votes(self, tally: FastTally) -> bool:
        return True


def q4(protocol: Protocol) -> Protocol:
    """An acceptor votes again in the same fast round when another value is proposed."""

    def may_vote(self: Any, held: Vote | None, round_: Ballot) -> bool:
        return held is None or held.ballot < round_ or (held.ballot == round_ and is_fast(round_))

    return vary_part(protocol, "acceptor", may_vote=may_vote)


def q5(protocol: Protocol) -> Protocol:
    """Slots opened by one ballot's `Any` stay open in the next, where the coordinator proposes."""
    slots = part_of(protocol, "slots")

    def is_open(self: Any, ballot: Ballot, slot: int) -> bool:
        if self._ctx.role == LEADER:
            return bool(slots.is_open(self, ballot, slot))
        return bool(ballot == self._log.promised and self.any != CLOSED)

    return vary_part(protocol, "slots", is_open=is_open)


def q6(protocol: Protocol) -> Protocol:
    """After Phase 1 a fast vote counts like a classic one: any vote of the highest round."""

    def may_be_chosen(self: Any, votes: Sequence[Vote]) -> Vote:
        return max(votes, key=lambda vote: vote.ballot)

    return vary_part(protocol, "election", may_be_chosen=may_be_chosen)


class Q7(FastPaxos):
    """An acceptor takes its own fast vote for the decision when it receives the commit index."""

    def _apply_commit_index(self, commit: int) -> None:
        self.storage.apply_votes(commit)


def q8(protocol: Protocol) -> Protocol:
    """An acceptor votes in the fast round of a slot although it voted in the classic one."""
    original = part_of(protocol, "acceptor").may_vote

    def may_vote(self: Any, held: Vote | None, round_: Ballot) -> bool:
        if held is not None and is_fast(round_):
            return held.ballot < round_ or held.ballot == round_._replace(node=round_.node + 1)
        return bool(original(self, held, round_))

    return vary_part(protocol, "acceptor", may_vote=may_vote)


FROM_MULTI_PAXOS = ("B1", "B2", "B3", "B7", "B8", "B10", "M1", "M2", "M3", "M12", "L1", "L2")

FAST_PAXOS: dict[str, Variation | type[FastPaxos]] = {
    **{name: multi_paxos.MULTI_PAXOS[name] for name in FROM_MULTI_PAXOS},
    **{cls.__name__: cls for cls in (B9, Q1, Q3, Q7)},
    "Q2": q2,
    "Q4": q4,
    "Q5": q5,
    "Q6": q6,
    "Q8": q8,
}
