"""The data of the node's files, kept in a backing directory, and the effect of a power cut on them.

Every operation is carried out on the backing directory at once. What it replaces is remembered
(`durability`) until it is durable. All operations, those on directories (`entries`) too, take the
store's lock; only the real fsync of the backing file runs outside it, so that a slow disk does not
hold up writes.

Files at the root whose names are in `exempt` are not under test (a node's own record of what it
decided, which is evidence): they keep all that was written to them.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from faults.agent import libc
from faults.agent.disk.drive import Drive
from faults.agent.disk.durability import Durability
from faults.agent.disk.entries import Entries
from faults.agent.disk.files import File, Key, reopen, tear, torn_candidates
from faults.agent.disk.ranges import END
from faults.agent.disk.trash import TRASH
from faults.agent.disk.unsynced import DirectoryJournal, write_all

LISTED_MAX: Final = 50
"""How many of each the report of a cut names."""


class PowerLost(Exception):
    """The power was cut while this fsync ran: it never returns."""


class Sync(NamedTuple):
    """An fsync that has begun: up to where it makes a file and the directories durable."""

    file: File | None
    epoch: int
    until: int
    journal: DirectoryJournal
    changes: int


class Store:
    """`root` is the backing directory; `exempt` are names in it."""

    def __init__(self, root: Path, exempt: tuple[str, ...] = ()) -> None:
        self.root = root
        self.root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.exempt = frozenset(name.encode() for name in exempt)
        self.lock = threading.RLock()
        self.broken: str | None = None
        """An unexpected error: the node has seen a disk that no fault explains."""
        self.epoch = 0
        """The number of cuts so far."""
        self.fsyncs = 0
        self.drive = Drive()
        self.durability = Durability(self.drive)
        self.entries = Entries(self.root_fd, self.exempt, self.lock, self.drive, self.durability)

    def erased(self) -> None:
        """The backing directory has been emptied: there is nothing left to restore."""
        with self.lock:
            self.durability.erased()
            self.entries.erased()

    # ------------------------------------------------------------------ files

    def open(self, path_fd: int, *, exempt: bool, ours: bool) -> File:
        """The file that an O_PATH descriptor stands for; `close` it."""
        with self.lock:
            status = os.fstat(path_fd)
            key = (status.st_dev, status.st_ino)
            file = self.durability.files.get(key)
            if file is None:
                fd = reopen(path_fd, os.O_RDWR)
                file = File(key, fd, exempt=exempt, ours=ours)
                self.durability.files[key] = file
            file.opens += 1
            return file

    def close(self, file: File) -> None:
        with self.lock:
            file.opens -= 1
            self.durability.forget_if_unused(file)

    def read(self, file: File, offset: int, size: int) -> bytes:
        return self.read_of(file.key, file.fd, offset, size)

    def read_of(self, key: Key, fd: int, offset: int, size: int) -> bytes:
        """What a read of the file that `fd` has open gives. Raises OSError where it has been
        damaged."""
        self.drive.require_readable(key, offset, offset + size)
        return os.pread(fd, size, offset)

    def write(self, file: File, offset: int, data: memoryview, *, whole: bool = False) -> int:
        """How much was written: less than asked for when the disk is full, or, with `whole`,
        nothing."""
        with self.lock:
            allowed = self.drive.allocate(file, offset, len(data), whole=whole)
            data = data[:allowed]
            self.durability.before_write(file, offset, data)
            write_all(file.fd, data, offset)
            self.drive.written(file.key, offset, offset + len(data))
            self.durability.after_write()
            return len(data)

    def truncate(self, file: File, size: int) -> None:
        with self.lock:
            self.durability.before_truncate(file, size)
            os.ftruncate(file.fd, size)
            self.drive.freed(file.key, size, END)

    def allocate(self, file: File, mode: int, offset: int, length: int) -> None:
        """fallocate(2): reserve, punch a hole, or zero a range."""
        with self.lock:
            punches, zeroes = bool(mode & libc.PUNCH_HOLE), bool(mode & libc.ZERO_RANGE)
            if not punches:
                self.drive.allocate(file, offset, length, whole=True)
            changed = length if punches or zeroes else 0  # but perhaps the size
            self.durability.before_change(file, offset, changed)
            libc.fallocate(file.fd, mode, offset, length)
            if punches or zeroes:
                self.drive.freed(file.key, offset, offset + length)
            if not punches:
                self.drive.reserve(file.key, offset, offset + length)

    def sync(self, file: File | None, epoch: int, *, ours: bool = False) -> None:
        """Make a file (None: only directories) durable. Raises PowerLost when the power was cut
        since `epoch`, before or while it ran."""
        self.finish_sync(self.begin_sync(file, epoch, ours=ours))

    def begin_sync(self, file: File | None, epoch: int, *, ours: bool = False) -> Sync:
        """What comes from now on is not covered. An fsync of evidence commits no directories: the
        node would not do it if there were no harness."""
        with self.lock:
            if self.epoch != epoch:
                raise PowerLost
            journal = self.durability.journals[ours if file is None else file.ours]
            is_evidence = file is not None and file.exempt
            changes = 0 if is_evidence else journal.seal()
            until = file.data.seal() if file is not None else 0
        return Sync(file, epoch, until, journal, changes)

    def finish_sync(self, sync: Sync) -> None:
        """Once the disk has answered."""
        file = sync.file
        if self.drive.fail_fsync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if file is not None and self.epoch == sync.epoch:
            os.fdatasync(file.fd)
        with self.lock:
            if self.epoch != sync.epoch:
                raise PowerLost
            self.fsyncs += 1
            if file is not None:
                self.durability.made_durable(file, sync.until)
            sync.journal.commit(sync.changes)

    # ------------------------------------------------------------------ the cut

    def unsynced(self) -> dict[str, int]:
        """How many files and directory changes a cut would undo now."""
        with self.lock:
            return self.durability.unsynced()

    def power_off(self) -> None:
        """The cut: from now on nothing takes effect, and no fsync in progress completes."""
        with self.lock:
            self.epoch += 1

    def lose(self, seed: str) -> dict[str, Any]:
        """After the cut: restore what is durable, and tear one write. Returns what was lost."""
        with self.lock:
            root = str(self.root)
            torn = torn_candidates(self.durability.files.values())
            losses = self.durability.restore(root)
            undone = self.durability.undo_changes()
            report = {
                "files": {
                    path: {
                        "bytes": loss.size_before,
                        "left": loss.size_after,
                        "blocks_changed": loss.blocks,
                    }
                    for path, loss in losses[:LISTED_MAX]
                },
                "files_count": len(losses),
                "entries": undone[:LISTED_MAX],
                "entries_count": len(undone),
                "torn": tear(torn, Random(seed), root),
                "written_back": self.durability.written_back,
            }
            self.durability.forget_all_unused()
            return report

    def shut(self) -> None:
        """Everything is durable, the trash is gone."""
        with self.lock:
            self.durability.close()
            self.entries.close()
            with suppress(OSError):
                os.close(self.root_fd)
            with suppress(OSError):
                (self.root / os.fsdecode(TRASH)).rmdir()
