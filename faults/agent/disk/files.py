"""A file of the node's, and what a power cut takes from such files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple

from faults.agent.disk.unsynced import Loss, UnsyncedData, write_all

Key = tuple[int, int]
"""Device and inode number."""
SECTOR: Final = 512
"""What a drive writes whole or not at all, in bytes."""


def reopen(fd: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


class File:
    """A regular file that is open, or has unsynced data."""

    def __init__(self, key: Key, fd: int, *, exempt: bool, ours: bool) -> None:
        self.key = key
        self.fd = fd
        self.data = UnsyncedData(fd)
        self.exempt = exempt
        self.ours = ours
        self.opens = 0

    def path(self, root: str) -> str:
        """Where it is now, relative to `root`; for reports."""
        path = os.readlink(f"/proc/self/fd/{self.fd}")  # noqa: PTH115
        if not self._is_at(path):  # it has been opened by a name that is gone, and has others
            found = (f"{folder}/{name}" for folder, _, names in os.walk(root) for name in names)
            path = next(filter(self._is_at, found), path)
        return path.removeprefix(root).lstrip("/")

    def _is_at(self, path: str) -> bool:
        with suppress(OSError):
            status = os.lstat(path)
            return (status.st_dev, status.st_ino) == self.key
        return False


class TornWrite(NamedTuple):
    """An unsynced write of which a cut may leave a part."""

    file: File
    offset: int
    data: bytes


def restore(files: Iterable[File], root: str) -> list[tuple[str, Loss]]:
    """Restore what is durable. The paths are those before directory changes are undone: the node's
    names for the files."""
    losses = []
    for file in sorted(files, key=lambda f: f.key):
        if not file.data.is_clean:
            path = file.path(root)
            loss = file.data.restore()
            if not file.ours:
                losses.append((path, loss))
    return losses


def torn_candidates(files: Iterable[File]) -> list[TornWrite]:
    """Before `restore`: the first unsynced write of each file, the file written to last first."""
    dirty = [f for f in files if not f.data.is_clean and not f.ours]
    dirty.sort(key=lambda f: -f.data.touched)
    firsts = [(f, f.data.generations[0].first) for f in dirty]
    return [TornWrite(f, *first) for f, first in firsts if first is not None and len(first[1]) > 1]


def tear(candidates: list[TornWrite], random: Random, root: str) -> dict[str, Any] | None:
    """After `restore`: of one of these writes the first part remains. A write that cannot be torn
    is lost whole, and the next one is torn."""
    for file, offset, data in candidates:
        status = os.fstat(file.fd)
        if not status.st_nlink or offset > status.st_size:
            continue
        lengths = torn_lengths(offset, len(data), status.st_size)
        if lengths:
            length = random.choice(lengths)
            write_all(file.fd, data[:length], offset)
            path = file.path(root)
            return {"file": path, "offset": offset, "of": len(data), "kept": length}
    return None


def torn_lengths(offset: int, length: int, size: int) -> list[int]:
    """How much of a write of `length` bytes at `offset` may remain, where `size` bytes of the file
    are durable. What replaces durable bytes remains in whole sectors: programs that write into
    preallocated files rely on that (etcd's log takes a record that ends amid a sector for damage).
    What appends may end at any byte, because a file's size is recorded to the byte."""
    replacing = min(size, offset + length)
    first = (offset // SECTOR + 1) * SECTOR
    return [
        *(end - offset for end in range(first, min(replacing, offset + length - 1) + 1, SECTOR)),
        *range(max(size - offset, 0) + 1, length),
    ]
