"""What a power cut would undo: for each file the bytes, and for the directories the entries, that
have changed since they were last made durable.

Everything is written to the backing directory at once, and what it replaces is kept here until an
fsync. A cut restores it. So a program sees its own writes as usual, and what survives a cut is
exactly what was fsynced:

    file data    the blocks that a write or a truncation replaces, and the size, by **generation**:
                 an fsync ends the generation, and drops it and the older ones when it has
                 returned. Writes that come while it runs belong to the next generation
    directories  one ordered **journal** of creations, removals, renames and links, each with its
             inverse. The rule is ext4's (data=ordered, auto_da_alloc): an fsync of any file
                 or directory commits the journal up to that point; a rename over an existing file
                 carries the new file's data with it

Attributes (mode, owner, times) are durable at once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from faults.agent.disk.ranges import with_data

BLOCK: Final = 4096
FIRST_WRITE_MAX: Final = 1 << 16
HISTORY: Final = 8
"""How many past generations are kept for the damage `old`, which restores an old block."""
HISTORY_BYTES_MAX: Final = 1 << 19
"""Of all of them together, for one file."""
NUMBER_BYTES: Final = 64
"""What the number of a block takes in memory."""


@dataclass
class Generation:
    """The file's content before the writes since one fsync."""

    size: int
    blocks: dict[int, bytes] = field(default_factory=dict)
    """By block number, its content; blocks beyond `size` had none."""
    written: set[int] = field(default_factory=set)
    """The numbers of all blocks written to."""
    first: tuple[int, bytes] | None = None
    """Offset and data of the first write: the one that a cut may tear."""
    kept: int = 0
    """How many bytes of memory all of this takes."""


class Loss(NamedTuple):
    """What a cut undid in one file. `bytes` counts what was written and is lost."""

    size_before: int
    size_after: int
    blocks: int


class UnsyncedData:
    """The generations of one file. `file` is open for reading and writing, and not closed here.
    The caller holds a lock."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.generations: list[Generation] = []
        self.history: deque[Generation] = deque()
        self._history_bytes = 0
        self._number = 0
        """The size in the oldest generation."""
        self._sealed = True
        self.touched = 0
        """When it was last written to; the caller's count."""

    @property
    def is_clean(self) -> bool:
        return not self.generations

    def bytes_kept(self) -> int:
        return sum(generation.kept for generation in self.generations)

    def _current(self) -> Generation:
        if self._sealed:
            self.generations.append(Generation(os.fstat(self.file).st_size))
            self._sealed = False
        return self.generations[-1]

    def before_write(self, offset: int, data: bytes | memoryview) -> int:
        """Keep what this write will replace; returns how many bytes more are kept."""
        generation = self._current()
        if generation.first is None:
            generation.first = (offset, bytes(data[:FIRST_WRITE_MAX]))
        return self._keep(range(offset // BLOCK, -(-(offset + len(data)) // BLOCK)))

    def before_change(self, offset: int, length: int) -> int:
        """The same for a change that is not a write, such as punching a hole. It leaves holes as
        they are, however large: what reads as zeros need not be kept."""
        generation, kept = self._current(), 0
        for data in with_data(self.file, offset, min(offset + length, generation.size)):
            kept += self._keep(range(data.start // BLOCK, -(-data.end // BLOCK)))
        return kept

    def before_truncate(self, size: int) -> int:
        generation = self._current()
        return self.before_change(size, generation.size - size) if size < generation.size else 0

    def would_keep(self, offset: int, length: int) -> int:
        """At most so many bytes would be kept before such a change."""
        return sum(data.end - data.start for data in with_data(self.file, offset, offset + length))

    def _keep(self, blocks: range) -> int:
        """These will change."""
        generation = self._current()
        kept = -len(generation.written) * NUMBER_BYTES
        for block in blocks:
            count = min(BLOCK, generation.size - block * BLOCK)
            if count > 0 and block not in generation.blocks:
                # Where the file is shorter by now there were zeros, or it would have been kept.
                data = os.pread(self.file, count, block * BLOCK).ljust(count, b"\0")
                generation.blocks[block] = data
                kept += len(data)
        generation.written.update(blocks)
        kept += len(generation.written) * NUMBER_BYTES
        generation.kept += kept
        return kept

    def seal(self) -> int:
        """An fsync begins: it does not cover later writes. Returns what to `drop` when it is
        done."""
        self._sealed = True
        return self._number + len(self.generations)

    def drop(self, until: int) -> None:
        """The fsync that got `until` has returned: everything up to it is durable."""
        while self.generations and self._number < until:
            old = self.generations.pop(0)
            self._number += 1
            if old.written:
                old.first = None
                self._remember(old)
        if not self.generations:
            self._sealed = True

    def _remember(self, old: Generation) -> None:
        if old.kept > HISTORY_BYTES_MAX:
            return
        self.history.append(old)
        self._history_bytes += old.kept
        while len(self.history) > HISTORY or self._history_bytes > HISTORY_BYTES_MAX:
            self._history_bytes -= self.history.popleft().kept

    def forget(self) -> None:
        """Nothing is to be restored; drop everything kept."""
        self._number += len(self.generations)
        self.generations.clear()
        self.history.clear()
        self._history_bytes = 0
        self._sealed = True

    def restore(self) -> Loss:
        """The cut: restore what is durable."""
        before = os.fstat(self.file).st_size
        blocks: set[int] = set()
        self._number += len(self.generations)
        while self.generations:
            generation = self.generations.pop()
            blocks |= generation.written
            os.ftruncate(self.file, generation.size)
            for block, data in generation.blocks.items():
                write_all(self.file, data, block * BLOCK)
        self._sealed = True
        return Loss(before, os.fstat(self.file).st_size, len(blocks))


def write_all(file: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def _nothing() -> None:
    """For a change that needs no further work once it is durable."""


class Change(NamedTuple):
    """One change of a directory. `undo` reverts it, `finish` does what had to wait until it was
    durable; `let_go` frees the resources of both, and is called after one of them."""

    what: str
    undo: Callable[[], None]
    finish: Callable[[], None] = _nothing
    let_go: Callable[[], None] = _nothing


class DirectoryJournal:
    """The changes of directories that no fsync has committed, oldest first. The caller locks."""

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self._first = 0

    def add(self, change: Change) -> None:
        self.changes.append(change)

    def seal(self) -> int:
        """An fsync begins; returns what to `commit` when it has returned."""
        return self._first + len(self.changes)

    def commit(self, until: int) -> None:
        while self.changes and self._first < until:
            change = self.changes.popleft()
            self._first += 1
            change.finish()
            change.let_go()

    def forget(self) -> None:
        """Neither undo nor finish the changes."""
        self._first += len(self.changes)
        for change in self.changes:
            change.let_go()
        self.changes.clear()

    def undo(self) -> list[str]:
        """The cut: undo the changes, newest first; returns them."""
        undone = []
        while self.changes:
            change = self.changes.pop()
            change.undo()
            change.let_go()
            undone.append(change.what)
        return undone
