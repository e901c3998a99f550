"""A replica's log of slots: its votes, and how far they are decided.

    base          applied            prefix          last
     |  decided, still held  |  voted, no hole  |  voted, with holes  |
    ...------------------------------------------------------------------> slots, from 1

Slots up to `base` are only in the snapshot. Slots up to `applied` are decided, and applied in
order. Up to `prefix` there are votes without a hole, all in the promised ballot. An acceptor may
acknowledge slots up to `prefix`, and, because a ballot has one proposer, treat them as decided when
the ballot's leader announces it. Votes after a hole are kept, so that only the hole has to be sent
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.interface import Command


class Vote(NamedTuple):
    """An acceptor's vote for one slot, as kept in memory, on disk and in promises.

    `commit` is the last slot that the voter knew to be decided when it voted, so no separate record
    of each decision is needed on disk.
    """

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]
    commit: int


class SlotLog:
    """An acceptor's state, as in the figure above. Plain data: the protocol moves the marks.
    `promised` is the highest ballot that the acceptor has promised, where one promise holds for all
    slots."""

    __slots__ = ("applied", "base", "entries", "last", "prefix", "promised")

    def __init__(self) -> None:
        self.promised: Ballot = ZERO
        self.entries: dict[int, Vote] = {}
        self.base = 0
        self.applied = 0
        self.prefix = 0
        self.last = 0

    def put(self, vote: Vote) -> None:
        """Store a vote, replacing an older one for the same slot."""
        self.entries[vote.slot] = vote
        self.last = max(self.last, vote.slot)

    def add(self, vote: Vote) -> None:
        """Store a vote in the promised ballot, and move `prefix` if it closes the hole."""
        slot = vote.slot
        self.entries[slot] = vote
        if slot == self.prefix + 1:
            self.prefix = slot
        if slot > self.last:
            self.last = slot
        else:
            self.extend_prefix(vote.ballot)

    def extend_prefix(self, ballot: Ballot) -> None:
        """Move `prefix` past the votes of `ballot` that follow it without a hole."""
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
        """Drop the votes above `after`, so that proposals start there. For a new leader, whose
        Phase 1 has shown that nothing was chosen there, and excluded that older ballots choose
        anything.
        """
        for slot in [s for s in self.entries if s > after]:
            del self.entries[slot]
        self.last = after

    def jump(self, slot: int) -> None:
        """A snapshot up to `slot` was installed: all slots up to it are decided."""
        assert slot >= self.applied, "a snapshot never takes the state back"
        self.forget(slot)
        self.applied = slot
        self.prefix = max(self.prefix, slot)
        self.last = max(self.last, slot)
