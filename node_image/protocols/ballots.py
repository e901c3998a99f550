"""Ballots: the totally ordered numbers that let proposers take over from one another.

A ballot is a pair (round, node), compared in that order. The node breaks ties, so two proposers
never share a ballot; within one node the round only grows, also across a crash, because the round
is on the disk (as the node's own promise) before the first message that carries it leaves. Those
two facts together make "one proposer per ballot", on which every proof in the family rests.
"""

from __future__ import annotations

from typing import NamedTuple


class Ballot(NamedTuple):
    """A ballot number. Comparison is lexicographic: round first, then node."""

    round: int
    node: int


ZERO = Ballot(0, 0)
"""Below every ballot that a proposer uses: rounds start at 1."""


def next_ballot(round_seen: int, node: int) -> Ballot:
    """The smallest ballot of `node` that is above every ballot of a round up to `round_seen`."""
    return Ballot(round_seen + 1, node)
