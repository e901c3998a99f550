"""Raft's log: entries without a hole, each with the term of the leader that made it.

    base             applied              last
     |  committed, still held  |  open  |
    ...-----------------------------------> indices, from 1

Entries up to `base` are only in the snapshot; of the last of them the term is kept, `base_term`,
because the consistency check asks for it. Entries up to `applied` are committed, and applied. The
open ones may still be replaced by another leader's: `put` at an index that is taken removes what
was there and everything after it. That is why, other than a Paxos acceptor's votes, an entry on
disk is no fact about its slot: only the log as a whole, by the term of its last entry, is.

**Log matching.** A leader makes at most one entry for an index in its term, and a follower takes
an entry only after one that it holds with the same index and term as the leader's. By induction
two logs that agree on the index and the term of one entry agree on everything before it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from node_image.protocols.interface import Command

NO_TERM: Final = -1
"""The term of an index for which nothing is held. No leader has it."""


class Entry(NamedTuple):
    """One entry, as kept in memory, on disk and in messages."""

    term: int
    slot: int
    commands: tuple[Command, ...]


class RaftLog:
    """See the picture on top. Plain data; the protocol decides when to move the marks."""

    __slots__ = ("_entries", "applied", "base", "base_term", "last")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.base = 0
        self.base_term = 0
        self.applied = 0
        self.last = 0

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base_term

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`; NO_TERM where none is held."""
        place = index - self.base
        if 0 < place <= len(self._entries):
            return self._entries[place - 1].term
        return self.base_term if place == 0 else NO_TERM

    def at(self, index: int) -> Entry:
        return self._entries[index - self.base - 1]

    def put(self, entry: Entry) -> None:
        """Append an entry, in place of the one at its index and all after that."""
        place = entry.slot - self.base - 1
        if not 0 <= place <= len(self._entries):
            raise ValueError(f"entry {entry.slot} does not fit a log of {self.base}..{self.last}")
        del self._entries[place:]
        self._entries.append(entry)
        self.last = entry.slot

    def held(self, first: int, last: int) -> tuple[Entry, ...]:
        """The entries held from `first` to `last`, in order."""
        start = max(first - self.base - 1, 0)
        return tuple(self._entries[start : max(last - self.base, start)])

    def open(self) -> tuple[Entry, ...]:
        """The entries that are not known to be committed, in order."""
        return self.held(self.applied + 1, self.last)

    def forget(self, through: int) -> None:
        """Drop the applied entries up to `through`: a snapshot covers them."""
        if through > self.base:
            self.base_term = self.term_at(through)
            del self._entries[: through - self.base]
            self.base = through

    def jump(self, index: int, term: int) -> None:
        """A snapshot up to `index` has been installed. What follows it here stays, if it can."""
        if self.term_at(index) == term:
            self.forget(index)
        else:
            self._entries.clear()
            self.base, self.base_term, self.last = index, term, index
        self.applied = index
