"""The two rounds of a Fast Paxos ballot, the open fast rounds, and the counting of fast votes.

A coordinator's ballot has, for every slot, a fast round, and a classic round directly above it: no
other ballot's round lies between them. Therefore fast votes can serve as promises for the classic
round. Votes state the round, messages the ballot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.context import Context
from node_image.protocols.fast_paxos_messages import Any
from node_image.protocols.interface import Command, NodeId
from node_image.protocols.quorums import NO_VOTES, FastMajority
from node_image.protocols.slot_log import SlotLog

CLOSED: Final = Any(Ballot(-1, 0), 0)
"""Before the first `Any`: lower than every ballot."""

Value = tuple[Command, ...]


def fast_round(ballot: Ballot) -> Ballot:
    """The fast round of a coordinator's ballot, as stated in votes."""
    return Ballot(ballot.round, 2 * ballot.node)


def classic_round(ballot: Ballot) -> Ballot:
    """The classic round of a coordinator's ballot: directly above the fast one."""
    return Ballot(ballot.round, 2 * ballot.node + 1)


def is_fast(round_: Ballot) -> bool:
    return round_.node % 2 == 0


def ballot_of(round_: Ballot) -> Ballot:
    """The coordinator's ballot that a round belongs to."""
    return Ballot(round_.round, round_.node // 2)


class FastSlots:
    """A node's view of the fast rounds: which slots are open, and which are used.

    `any` states which slots are open, in which ballot; `used` is the last slot known to be used;
    `in_flight` are this node's values in fast rounds, by slot; `tallies` the fast votes that it has
    received. The last two belong to the ballot `counted_in`.
    """

    __slots__ = ("_ctx", "_log", "any", "counted_in", "in_flight", "tallies", "used")

    def __init__(self, context: Context, log: SlotLog) -> None:
        self._ctx = context
        self._log = log
        self.any = CLOSED
        self.counted_in: Ballot = ZERO
        self.used = 0
        self.in_flight: dict[int, Value] = {}
        self.tallies: dict[int, FastTally] = {}

    def next(self) -> int:
        """The first slot in which no node is known to have proposed."""
        return max(self.used, self._log.applied, self.any.first - 1) + 1

    def is_open(self, ballot: Ballot, slot: int) -> bool:
        """Whether the coordinator of the promised ballot has opened the slot's fast round."""
        return ballot == self._log.promised == self.any.ballot and slot >= self.any.first

    def use(self, slot: int) -> None:
        self.used = max(self.used, slot)

    def enter_ballot(self) -> list[Value]:
        """In a new ballot nothing is proposed or counted yet. Returns this node's values that were
        in flight in the last one, and may be lost."""
        if self.counted_in == self._log.promised:
            return []
        self.counted_in = self._log.promised
        self.tallies.clear()
        values, self.in_flight = list(self.in_flight.values()), {}
        return values


@dataclass(slots=True)
class FastTally:
    """The fast votes for one slot: who voted, and for each value who voted for it."""

    heard: int = NO_VOTES
    values: list[tuple[Value, int]] = field(default_factory=list)

    def add(self, quorums: FastMajority, node: NodeId, value: Value) -> int:
        """Count a vote. Returns the votes for `value`."""
        self.heard = quorums.vote(self.heard, node)
        for i, (known, votes) in enumerate(self.values):
            if known == value:
                votes = quorums.vote(votes, node)  # noqa: PLW2901
                self.values[i] = (known, votes)
                return votes
        self.values.append((value, quorums.vote(NO_VOTES, node)))
        return self.values[-1][1]

    def may_be_chosen(self, quorums: FastMajority) -> bool:
        """Whether some value may have, or still get, a fast quorum."""
        heard = quorums.count(self.heard)
        return any(quorums.may_be_fast(quorums.count(v), heard) for _, v in self.values)


def pick(quorums: FastMajority, counted: Sequence[tuple[Value, int]], heard: int) -> Value:
    """Of the values voted for in a fast round by `heard` acceptors, the one that may have been
    chosen (observation O4); if there is none, the one with the most votes."""
    for value, count in counted:
        if quorums.may_be_fast(count, heard):
            return value
    return max(counted, key=lambda item: item[1])[0]
