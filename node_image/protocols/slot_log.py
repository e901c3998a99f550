"""The log of slots that one replica holds: what it voted for, and how far it is decided.

    base          applied            prefix          last
     |  decided, still held  |  voted, no hole  |  voted, with holes  |
    ...------------------------------------------------------------------> slots, from 1

Slots up to `base` are only in the snapshot. Slots up to `applied` are decided, and applied in
order. `prefix` is the end of the run of votes without a hole that were all given in one ballot,
the one promised: it is what an acceptor may acknowledge, and, because one ballot has one proposer,
what it may take as decided when that ballot's leader announces it. Votes beyond a hole are kept, so
that only the hole has to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.interface import Command


class Vote(NamedTuple):
    """An acceptor's vote for one slot, as kept in memory, on disk and in promises.

    `commit` is what the voter knew to be decided when it voted: on disk that makes a record of
    its own for each decision unnecessary.
    """

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]
    commit: int


class SlotLog:
    """What one acceptor remembers: see the picture on top. Plain data; the protocol decides when to
    move the marks. `promised` is the highest ballot that the acceptor has promised, where one
    promise holds for all slots."""

    __slots__ = ("applied", "base", "entries", "last", "prefix", "promised")

    def __init__(self) -> None:
        self.promised: Ballot = ZERO
        self.entries: dict[int, Vote] = {}
        self.base = 0
        self.applied = 0
        self.prefix = 0
        self.last = 0

    def put(self, vote: Vote) -> None:
        """Keep a vote, in place of an older one for the same slot."""
        self.entries[vote.slot] = vote
        self.last = max(self.last, vote.slot)

    def add(self, vote: Vote) -> None:
        """Keep a vote in the promised ballot, and move `prefix` if it closes its hole."""
        slot = vote.slot
        self.entries[slot] = vote
        if slot == self.prefix + 1:
            self.prefix = slot
        if slot > self.last:
            self.last = slot
        else:
            self.extend_prefix(vote.ballot)

    def extend_prefix(self, ballot: Ballot) -> None:
        """Move `prefix` over the votes of `ballot` that follow it without a hole."""
        entries, slot = self.entries, max(self.prefix, self.applied)
        while (vote := entries.get(slot + 1)) is not None and vote.ballot == ballot:
            slot += 1
        self.prefix = slot

    def restart_prefix(self, ballot: Ballot) -> None:
        """Compute `prefix` again, for another ballot."""
        self.prefix = self.applied
        self.extend_prefix(ballot)

    def held(self, first: int, last: int) -> Iterator[Vote]:
        """The votes held for slots from `first` to `last`, in order."""
        entries = self.entries
        for slot in range(max(first, self.base + 1), last + 1):
            if (vote := entries.get(slot)) is not None:
                yield vote

    def open(self) -> Iterator[Vote]:
        """The votes for slots that are not known to be decided, in order."""
        return self.held(self.applied + 1, self.last)

    def forget(self, through: int) -> None:
        """Drop the decided slots up to `through`: a snapshot covers them."""
        for slot in [s for s in self.entries if s <= through]:
            del self.entries[slot]
        self.base = max(self.base, through)

    def abandon(self, after: int) -> None:
        """Drop the votes above `after`, and propose from there: for a new leader, whose Phase 1
        has shown that nothing was chosen there, and made sure that nothing in older ballots can.
        """
        for slot in [s for s in self.entries if s > after]:
            del self.entries[slot]
        self.last = after

    def jump(self, slot: int) -> None:
        """A snapshot up to `slot` has been installed: everything below it is settled."""
        assert slot >= self.applied, "a snapshot never takes the state back"
        self.forget(slot)
        self.applied = slot
        self.prefix = max(self.prefix, slot)
        self.last = max(self.last, slot)
