"""The two rounds of a Fast Paxos ballot, and what fast votes say.

A coordinator's ballot holds, for every slot, a fast round and a classic one right above it: no
other ballot's round lies between them. That is what lets fast votes count as promises for the
classic round. In a vote stands the round, in messages the ballot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command, NodeId
from node_image.protocols.quorums import NOBODY, FastMajority

Value = tuple[Command, ...]


def fast_round(ballot: Ballot) -> Ballot:
    """The fast round of a coordinator's ballot, as it stands in votes."""
    return Ballot(ballot.round, 2 * ballot.node)


def classic_round(ballot: Ballot) -> Ballot:
    """The classic round of a coordinator's ballot: right above the fast one."""
    return Ballot(ballot.round, 2 * ballot.node + 1)


def is_fast(round_: Ballot) -> bool:
    return round_.node % 2 == 0


def ballot_of(round_: Ballot) -> Ballot:
    """The coordinator's ballot that a round belongs to."""
    return Ballot(round_.round, round_.node // 2)


@dataclass(slots=True)
class FastTally:
    """The fast votes for one slot: who voted, and for each value who voted for it."""

    heard: int = NOBODY
    values: list[tuple[Value, int]] = field(default_factory=list)

    def add(self, quorums: FastMajority, node: NodeId, value: Value) -> int:
        """Count a vote; the votes that `value` has now."""
        self.heard = quorums.vote(self.heard, node)
        for i, (known, votes) in enumerate(self.values):
            if known == value:
                votes = quorums.vote(votes, node)  # noqa: PLW2901
                self.values[i] = (known, votes)
                return votes
        self.values.append((value, quorums.vote(NOBODY, node)))
        return self.values[-1][1]

    def may_be_chosen(self, quorums: FastMajority) -> bool:
        """Whether some value still may have, or get, a fast quorum."""
        heard = quorums.count(self.heard)
        return any(quorums.may_be_fast(quorums.count(v), heard) for _, v in self.values)


def pick(quorums: FastMajority, counted: Sequence[tuple[Value, int]], heard: int) -> Value:
    """Of the values voted for in a fast round, by `heard` acceptors, the one that may have been
    chosen (observation O4); if there is none, the one that most want."""
    for value, count in counted:
        if quorums.may_be_fast(count, heard):
            return value
    return max(counted, key=lambda item: item[1])[0]
