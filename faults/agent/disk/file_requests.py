"""The kernel's requests about the data of files: opening, reading, writing, and fsync.

An fsync may have to wait (slow disk, stall): it is answered later (`deferred_fsyncs`), so no thread
is blocked and writes continue meanwhile.
"""

from __future__ import annotations

import errno
import itertools
import os
from typing import Final

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.deferred_fsyncs import DeferredFsyncs, FsyncDelay
from faults.agent.disk.files import File
from faults.agent.disk.fuse_protocol import Handler, Request
from faults.agent.disk.inode_requests import InodeRequests
from faults.agent.disk.store import Store

ALLOCATE_MODES: Final = (0x00, 0x01, 0x03, 0x10, 0x11)
"""fallocate: plain, KEEP_SIZE, PUNCH_HOLE with KEEP_SIZE, ZERO_RANGE with and without."""


class FileRequests:
    """Those of one mount. `epoch`: the store's when the mount began; after a cut no fsync of this
    mount completes."""

    def __init__(
        self,
        store: Store,
        epoch: int,
        inodes: InodeRequests,
        delay: FsyncDelay,
        deferred: DeferredFsyncs,
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._inodes = inodes
        self._delay = delay
        self._deferred = deferred
        self._handles: dict[int, File] = {}
        self._numbers = itertools.count(1)
        """Of handles; what opens one is called with the store's lock held."""

    def handlers(self) -> dict[int, Handler]:
        return {
            fuse.OPEN: self._open,
            fuse.CREATE: self._create,
            fuse.READ: self._read,
            fuse.WRITE: self._write,
            fuse.FSYNC: self._fsync,
            fuse.FSYNCDIR: self._fsync_directory,
            fuse.RELEASE: self._release,
            fuse.FALLOCATE: self._allocate,
        }

    def close(self) -> None:
        """The files that the kernel has not released."""
        for file in self._handles.values():
            self._store.close(file)
        self._handles.clear()

    def _open(self, request: Request) -> bytes:
        return fuse.answer(request.unique, self._opened(request.node))

    def _opened(self, number: int) -> bytes:
        inode = self._inodes.inodes[number]
        file = self._store.open(inode.path, exempt=inode.exempt, ours=inode.ours)
        handle = next(self._numbers)
        self._handles[handle] = file
        return fuse.OPEN_OUT.pack(handle, 0, 0)

    def _create(self, request: Request) -> bytes:
        _, mode, _, _ = fuse.CREATE_IN.unpack_from(request.body)
        directory, name = self._inodes.path(request.node), fuse.names(request.body[16:])[0]
        path = self._store.entries.create(directory, name, mode, (request.uid, request.gid))
        entry = self._inodes.entry(directory, name, path)
        number = fuse.U64.unpack_from(entry)[0]
        return fuse.answer(request.unique, entry + self._opened(number))

    def _release(self, request: Request) -> bytes:
        handle = fuse.U64.unpack_from(request.body)[0]
        file = self._handles.pop(handle, None)
        if file is not None:
            self._store.close(file)
        return fuse.answer(request.unique)

    def _read(self, request: Request) -> bytes:
        handle, offset, size = fuse.IO_IN.unpack_from(request.body)[:3]
        return fuse.answer(request.unique, self._store.read(self._handles[handle], offset, size))

    def _write(self, request: Request) -> bytes:
        handle, offset, size, write_flags, _, flags, _ = fuse.IO_IN.unpack_from(request.body)
        file = self._handles[handle]
        data = request.body[fuse.IO_IN.size : fuse.IO_IN.size + size]
        # Of a mapped page: the kernel would take less for all of it.
        whole = bool(write_flags & fuse.WRITE_CACHE)
        written = self._store.write(file, offset, data, whole=whole)
        reply = fuse.answer(request.unique, fuse.IO_OUT.pack(written, 0))
        if flags & os.O_DSYNC:
            return self._sync(request, file, ours=file.ours, reply=reply)
        return reply

    def _allocate(self, request: Request) -> bytes:
        handle, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(request.body)
        file = self._handles[handle]
        if mode not in ALLOCATE_MODES:
            return fuse.answer(request.unique, error=errno.EOPNOTSUPP)
        self._store.allocate(file, mode, offset, length)
        return fuse.answer(request.unique)

    def _fsync(self, request: Request) -> bytes:
        file = self._handles[fuse.U64.unpack_from(request.body)[0]]
        return self._sync(request, file, ours=file.ours, reply=fuse.answer(request.unique))

    def _fsync_directory(self, request: Request) -> bytes:
        return self._sync(request, None, ours=False, reply=fuse.answer(request.unique))

    def _sync(self, request: Request, file: File | None, *, ours: bool, reply: bytes) -> bytes:
        """Now, or later when the disk is slow. What is written while it waits is not covered."""
        sync = self._store.begin_sync(file, self._epoch, ours=ours)

        def run() -> bytes:
            self._store.finish_sync(sync)
            return reply

        delay = self._delay
        if not delay.stalled and not delay.delay_s:
            return run()
        self._deferred.put(request.unique, request.thread, run)
        return b""
