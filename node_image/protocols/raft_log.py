"""Raft's log: entries without a hole, each with the term of the leader that made it.

    base             applied              last
     |  committed, still held  |  open  |
    ...-----------------------------------> indices, from 1

Entries up to `base` are only in the snapshot; the term of the last of them is kept as `base_term`
for the consistency check. Entries up to `applied` are committed and applied. Open entries may still
be replaced by another leader's: `put` at an index that is in use removes the entry there and all
after it. So, unlike a Paxos acceptor's vote, an entry on disk says nothing about its slot by
itself; only the log as a whole counts, by the term of its last entry.

**Log matching.** A leader creates at most one entry for an index in its term, and a follower
accepts an entry only if it holds the entry before it, with the same term as the leader's. By
induction, two logs that agree on the index and term of an entry agree on all entries before it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from node_image.protocols.interface import Command

NO_TERM: Final = -1
"""The term of an index without an entry. No leader has this term."""


class Entry(NamedTuple):
    """One entry, as kept in memory, on disk and in messages."""

    term: int
    slot: int
    commands: tuple[Command, ...]


class RaftLog:
    """The log in the figure above. Plain data: the protocol moves the marks."""

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
        """The term of the entry at `index`; NO_TERM if there is none."""
        place = index - self.base
        if 0 < place <= len(self._entries):
            return self._entries[place - 1].term
        return self.base_term if place == 0 else NO_TERM

    def at(self, index: int) -> Entry:
        return self._entries[index - self.base - 1]

    def put(self, entry: Entry) -> None:
        """Append an entry, replacing the one at its index and all after it."""
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
        """A snapshot up to `index` was installed. Entries after it are kept if they match."""
        if self.term_at(index) == term:
            self.forget(index)
        else:
            self._entries.clear()
            self.base, self.base_term, self.last = index, term, index
        self.applied = index
