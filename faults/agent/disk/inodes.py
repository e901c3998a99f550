"""The files and directories that the kernel knows by numbers, until it forgets them."""

from __future__ import annotations

import os
import threading

from faults.agent.disk import fuse_protocol as fuse


class Inode:
    """A file or directory. `path` is an O_PATH descriptor."""

    __slots__ = ("exempt", "lookups", "ours", "path")

    def __init__(self, path: int, *, exempt: bool, ours: bool) -> None:
        self.path = path
        self.exempt = exempt
        self.ours = ours
        self.lookups = 0


class Inodes:
    """Those of one mount; the first one that is remembered is its root. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inodes: dict[int, Inode] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._next = fuse.ROOT

    def __getitem__(self, number: int) -> Inode:
        return self._inodes[number]

    def remember(self, path: int, *, exempt: bool, ours: bool) -> int:
        """The number of an inode, which the kernel looks up once more; takes the descriptor
        over."""
        status = os.fstat(path)
        key = (status.st_dev, status.st_ino)
        with self._lock:
            number = self._numbers.get(key)
            if number is not None:
                os.close(path)
            else:
                number, self._next = self._next, self._next + 1
                self._numbers[key] = number
                self._inodes[number] = Inode(path, exempt=exempt, ours=ours)
            self._inodes[number].lookups += 1
            return number

    def forget(self, number: int, lookups: int) -> None:
        """The kernel has forgotten so many of its lookups."""
        with self._lock:
            inode = self._inodes.get(number)
            if inode is None or number == fuse.ROOT:
                return
            inode.lookups -= lookups
            if inode.lookups <= 0:
                status = os.fstat(inode.path)
                self._numbers.pop((status.st_dev, status.st_ino), None)
                del self._inodes[number]
                os.close(inode.path)

    def close(self) -> None:
        with self._lock:
            for inode in self._inodes.values():
                os.close(inode.path)
            self._inodes.clear()
