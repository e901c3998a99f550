"""The kernel's requests about inodes and about the file system as a whole: looking up, forgetting,
attributes, and the space that is free.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.fuse_protocol import Handler, Request
from faults.agent.disk.inodes import Inodes
from faults.agent.disk.store import Store


class InodeRequests:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.inodes = Inodes()

    def handlers(self) -> dict[int, Handler]:
        return {
            fuse.LOOKUP: self._look_up,
            fuse.FORGET: self._forget,
            fuse.BATCH_FORGET: self._forget_many,
            fuse.GETATTR: lambda r: self._attributes(r, r.node),
            fuse.SETATTR: self._set_attributes,
            fuse.READLINK: self._read_link,
            fuse.STATFS: self._space,
        }

    def path(self, number: int) -> int:
        return self.inodes[number].path

    def entry(self, directory: int, name: bytes, path: int) -> bytes:
        """The answer that describes an inode to the kernel."""
        root = self._store.entries.is_root(directory)
        exempt = root and name in self._store.exempt
        ours = self._store.entries.is_ours(directory, name)
        status = os.fstat(path)
        number = self.inodes.remember(path, exempt=exempt, ours=ours)
        return fuse.ENTRY.pack(number, 0, 0, 0, 0, 0) + self._packed(status)

    def _forget(self, request: Request) -> bytes:
        self.inodes.forget(request.node, fuse.U64.unpack_from(request.body)[0])
        return b""

    def _forget_many(self, request: Request) -> bytes:
        count, _ = fuse.TWO.unpack_from(request.body)
        for i in range(count):
            at = fuse.TWO.size + i * fuse.FORGET_ONE.size
            self.inodes.forget(*fuse.FORGET_ONE.unpack_from(request.body, at))
        return b""

    def _look_up(self, request: Request) -> bytes:
        directory, name = self.path(request.node), fuse.names(request.body)[0]
        path = self._store.entries.look_up(directory, name)
        return fuse.answer(request.unique, self.entry(directory, name, path))

    def _attributes(self, request: Request, number: int) -> bytes:
        status = os.fstat(self.path(number))
        body = fuse.ATTRIBUTES_OUT.pack(0, 0, 0) + self._packed(status)
        return fuse.answer(request.unique, body)

    def _packed(self, status: os.stat_result) -> bytes:
        return fuse.attributes(status, self._store.entries.links(status))

    def _set_attributes(self, request: Request) -> bytes:
        fields = fuse.SETATTR_IN.unpack_from(request.body)
        valid, size, times, mode, uid, gid = (
            fields[0], fields[3], (fields[5], fields[6], fields[8], fields[9]),
            fields[11], fields[13], fields[14],
        )  # fmt: skip
        path = f"/proc/self/fd/{self.path(request.node)}"
        if valid & fuse.SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))  # noqa: PTH101
        if valid & (fuse.SET_UID | fuse.SET_GID):
            os.chown(path, uid if valid & fuse.SET_UID else -1, gid if valid & fuse.SET_GID else -1)
        if valid & fuse.SET_SIZE:
            inode = self.inodes[request.node]
            file = self._store.open(inode.path, exempt=inode.exempt, ours=inode.ours)
            try:
                self._store.truncate(file, size)
            finally:
                self._store.close(file)
        if valid & (fuse.SET_ATIME | fuse.SET_MTIME):
            os.utime(path, ns=self._times(path, valid, times))
        return self._attributes(request, request.node)

    def _times(self, path: str, valid: int, times: tuple[int, ...]) -> tuple[int, int]:
        status, now = Path(path).stat(), time.time_ns()
        atime, mtime = status.st_atime_ns, status.st_mtime_ns
        if valid & fuse.SET_ATIME:
            atime = now if valid & fuse.SET_ATIME_NOW else times[0] * 10**9 + times[2]
        if valid & fuse.SET_MTIME:
            mtime = now if valid & fuse.SET_MTIME_NOW else times[1] * 10**9 + times[3]
        return atime, mtime

    def _read_link(self, request: Request) -> bytes:
        target = os.readlink(b"", dir_fd=self.path(request.node))
        return fuse.answer(request.unique, target)

    def _space(self, request: Request) -> bytes:
        space = os.fstatvfs(self._store.root_fd)
        free = space.f_bavail
        if self._store.drive.left_bytes is not None:
            free = min(free, self._store.drive.left_bytes // space.f_frsize)
        body = fuse.STATFS_OUT.pack(
            space.f_blocks, free, free, space.f_files, space.f_ffree,
            space.f_bsize, space.f_namemax, space.f_frsize, 0,
        )  # fmt: skip
        return fuse.answer(request.unique, body)
