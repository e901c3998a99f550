"""The descriptors of the directories that unsynced changes are in.

There may be many thousands of such changes, and a process has only so many descriptors: those of
one directory share one.
"""

from __future__ import annotations

import os

from faults.agent.disk.files import Key


class Directories:
    """The caller locks."""

    def __init__(self) -> None:
        self._by_key: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._users: dict[int, int] = {}

    def take(self, directory: int) -> int:
        """A descriptor of the same directory that stays open until it is given back."""
        status = os.fstat(directory)
        key = (status.st_dev, status.st_ino)
        fd = self._by_key.get(key)
        if fd is None:
            fd = self._by_key[key] = os.dup(directory)
            self._keys[fd] = key
        self._users[fd] = self._users.get(fd, 0) + 1
        return fd

    def give_back(self, fd: int) -> None:
        """One user of it less."""
        self._users[fd] -= 1
        if not self._users[fd]:
            del self._users[fd], self._by_key[self._keys.pop(fd)]
            os.close(fd)
