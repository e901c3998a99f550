"""Planted bugs of Fast Paxos: each removes one safeguard, in one method, of `fast_paxos`.

Those of Multi-Paxos whose safeguards Fast Paxos has kept serve here as well (`multi_paxos`). Read
each beside the method that it overrides.
"""

from __future__ import annotations

from collections.abc import Sequence

from node_image.mutants import multi_paxos
from node_image.protocols.ballots import Ballot
from node_image.protocols.fast_paxos import FastPaxos
from node_image.protocols.fast_paxos_proposer import CLOSED
from node_image.protocols.fast_paxos_rounds import FastTally, Value, is_fast
from node_image.protocols.interface import NodeId
from node_image.protocols.quorums import FastMajority
from node_image.protocols.replica import LEADER
from node_image.protocols.slot_log import Vote


class B9(FastPaxos):
    """Messages are counted, not distinct acceptors: a duplicate is a second vote."""

    def _quorum_system(self) -> FastMajority:
        return _MessagesCounted(self.config.voters)


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
    """Fast quorums of n * 3 // 4: rounded down, two of them and a majority may share nobody."""

    def _quorum_system(self) -> FastMajority:
        return _RoundedDown(self.config.voters)


class _RoundedDown(FastMajority):
    @staticmethod
    def _fast_size(count: int) -> int:
        return max(1, count * 3 // 4)


class Q2(FastPaxos):
    """Recovery takes the vote that it heard first, be it chosen or not."""

    def _pick(self, counted: Sequence[tuple[Value, int]], heard: int) -> Value:
        return counted[0][0]


class Q3(FastPaxos):
    """Coordinated recovery begins with the first fast votes: those of a majority are not there."""

    def _has_heard_enough(self, tally: FastTally) -> bool:
        return True


class Q4(FastPaxos):
    """An acceptor votes again in the same fast round, when another value is proposed."""

    def _may_vote(self, held: Vote | None, round_: Ballot) -> bool:
        return held is None or held.ballot < round_ or (held.ballot == round_ and is_fast(round_))


class Q5(FastPaxos):
    """What one ballot's `Any` opened stays open in the next, where the coordinator proposes."""

    def _is_open(self, ballot: Ballot, slot: int) -> bool:
        if self.role == LEADER:
            return super()._is_open(ballot, slot)
        return ballot == self._promised and self._any != CLOSED


class Q6(FastPaxos):
    """After Phase 1 a fast vote counts like a classic one: any vote of the highest round."""

    def _may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        return max(votes, key=lambda vote: vote.ballot)


class Q7(FastPaxos):
    """An acceptor takes its own fast vote for the decision when it hears how far those go."""

    def _commit_to(self, commit: int) -> None:
        self._apply_votes(commit)


class Q8(FastPaxos):
    """An acceptor votes in the fast round of a slot although it voted in the classic one."""

    def _may_vote(self, held: Vote | None, round_: Ballot) -> bool:
        if held is not None and is_fast(round_):
            return held.ballot < round_ or held.ballot == round_._replace(node=round_.node + 1)
        return super()._may_vote(held, round_)


FROM_MULTI_PAXOS = ("B1", "B2", "B3", "B7", "B8", "B10", "M1", "M2", "M3", "M12", "L1", "L2")

FAST_PAXOS: dict[str, type] = {
    **{name: multi_paxos.MULTI_PAXOS[name] for name in FROM_MULTI_PAXOS},
    **{cls.__name__: cls for cls in (B9, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8)},
}
