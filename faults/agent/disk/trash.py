"""Where removed files and directories wait until their removal is durable: a directory on the same
file system, which the node does not see."""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import suppress
from typing import Final, NamedTuple

from faults.agent.disk.files import Key

TRASH: Final = b".antipaxos-trash"


class Trashed(NamedTuple):
    """Something in the trash: its name there, and what it is. `space`: how many bytes it keeps from
    being free."""

    name: bytes
    key: Key
    is_folder: bool
    space: int


class Trash:
    """In the directory that `root` stands for; `close` it."""

    def __init__(self, root: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(TRASH, 0o700, dir_fd=root)
        self._fd = os.open(TRASH, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        self._count = 0
        self._names: Counter[Key] = Counter()
        self.space = 0
        """How many bytes would be free without it."""

    def names_of(self, key: Key) -> int:
        """How many names a file or directory has here."""
        return self._names[key]

    def put(self, directory: int, name: bytes) -> Trashed:
        """Move an entry here."""
        self._count += 1
        trashed = b"%d" % self._count
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        os.rename(name, trashed, src_dir_fd=directory, dst_dir_fd=self._fd)
        key = (status.st_dev, status.st_ino)
        self._names[key] += 1
        space = status.st_blocks * 512 if self._names[key] == status.st_nlink else 0
        self.space += space
        return Trashed(trashed, key, stat.S_ISDIR(status.st_mode), space)

    def take_back(self, trashed: Trashed, directory: int, name: bytes) -> None:
        os.rename(trashed.name, name, src_dir_fd=self._fd, dst_dir_fd=directory)
        self._forget(trashed)

    def delete(self, trashed: Trashed) -> bool:
        """Whether that was the last name of a file."""
        if trashed.is_folder:
            os.rmdir(trashed.name, dir_fd=self._fd)
            self._forget(trashed)
            return False
        status = os.stat(trashed.name, dir_fd=self._fd, follow_symlinks=False)
        os.unlink(trashed.name, dir_fd=self._fd)
        self._forget(trashed)
        return status.st_nlink == 1

    def _forget(self, trashed: Trashed) -> None:
        self.space -= trashed.space
        self._names[trashed.key] -= 1
        if not self._names[trashed.key]:
            del self._names[trashed.key]

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)
