"""One FUSE mount: receives the kernel's requests, carries them out on the store, and answers.

Several threads read the same descriptor, and each carries its request out itself: a handover
between threads would cost more than most requests. An fsync may have to wait (slow disk, stall): it
is answered later (`deferred_fsyncs`), so no thread is blocked and writes continue meanwhile.

After `darken` nothing more takes effect: requests of processes that are being killed are held, and
answered with an error once the process has been killed. A mount lives as long as its container: the
next start of the node gets a new one, so nothing of the kernel's caches outlives a cut.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.deferred_fsyncs import Deferred, DeferredFsyncs, FsyncDelay
from faults.agent.disk.files import File
from faults.agent.disk.fuse_protocol import Request
from faults.agent.disk.inodes import Inodes
from faults.agent.disk.store import Entry, PowerLost, Store

THREADS: Final = 4
GONE: Final = (errno.ENODEV, errno.EBADF, errno.ECONNABORTED)
OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What the agent is short of, and not the node's disk."""
ALLOCATE_MODES: Final = (0x00, 0x01, 0x03, 0x10, 0x11)
"""fallocate: plain, KEEP_SIZE, PUNCH_HOLE with KEEP_SIZE, ZERO_RANGE with and without."""


class Session:
    """Serves the mount of one /dev/fuse descriptor until the mount is gone."""

    def __init__(self, fuse: int, store: Store, delay: FsyncDelay) -> None:
        self.store = store
        self.delay = delay
        self.ended = threading.Event()
        self.epoch = store.epoch
        self._let_go = False
        self._fuse = fuse
        self._lock = threading.Lock()
        self._inodes = Inodes()
        self._handles: dict[int, File] = {}
        self._listings: dict[int, list[Entry]] = {}
        """By handle, of directories that are being read."""
        self._next_handle = 1
        self._held: list[Request] = []
        self._deferred = DeferredFsyncs(self)
        self._running = 0
        self._handlers = self._table()
        self._inodes.remember(os.dup(store.root_fd), exempt=False, ours=False)

    def start(self) -> None:
        """Serve, in threads of its own."""
        self._running = THREADS
        for _ in range(THREADS):
            threading.Thread(target=self._serve, name="fuse", daemon=True).start()
        self._deferred.start()

    @property
    def dark(self) -> bool:
        """The power was cut: nothing takes effect any more, and no request is answered."""
        return self.store.epoch != self.epoch

    def answer_held(self) -> None:
        """After a cut, when the processes have been killed: answer what they wait for."""
        with self._lock:
            held, self._held, self._let_go = self._held, [], True
        for request in held:
            self._reply(fuse.answer(request.unique, error=errno.EIO))
        with self.delay.changed:
            self.delay.changed.notify_all()

    # ------------------------------------------------------------------ the loop

    def _serve(self) -> None:
        # Only pages that are written to take memory, and all of them are given back at the end.
        view = memoryview(mmap.mmap(-1, fuse.BUFFER))
        try:
            while True:
                try:
                    size = os.readv(self._fuse, [view])
                except OSError as error:
                    if error.errno in GONE:
                        return
                    continue  # a request that was interrupted before it was read
                reply = self._handle(fuse.parse(view[:size]))
                if reply:
                    self._reply(reply)
        finally:
            self._thread_ended()

    def _thread_ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running:
                return
            os.close(self._fuse)
        self._inodes.close()
        for file in self._handles.values():
            self.store.close(file)
        self._handles.clear()
        self.ended.set()
        with self.delay.changed:
            self.delay.changed.notify_all()

    def _reply(self, reply: bytes) -> None:
        with suppress(OSError):  # the process has been killed, or the mount is gone
            os.write(self._fuse, reply)

    def _handle(self, request: Request) -> bytes:
        handler = self._handlers.get(request.opcode, _unknown)
        try:
            if request.opcode in READING:
                return handler(request)
            with self.store.lock:  # so that no cut comes between the check and the operation
                return self._hold(request) if self.dark else handler(request)
        except PowerLost:
            return self._hold(request)
        except Exception as error:
            return self._failed(request.unique, error)

    def _failed(self, unique: int, error: Exception) -> bytes:
        """The answer to a request that could not be carried out. There must be one in any case: the
        process that waits for it cannot even be killed."""
        if isinstance(error, KeyError):  # a number or handle that the kernel has let go
            return fuse.answer(unique, error=errno.ESTALE)
        code = error.errno if isinstance(error, OSError) else None
        if (code is None or code in OURS) and self.store.broken is None:
            traceback.print_exc()
            self.store.broken = repr(error)
        return fuse.answer(unique, error=code or errno.EIO)

    def _hold(self, request: Request) -> bytes:
        with self._lock:
            if self._let_go:
                return fuse.answer(request.unique, error=errno.EIO)
            self._held.append(request._replace(body=memoryview(b"")))
        return b""

    def _table(self) -> dict[int, Callable[[Request], bytes]]:
        return {
            fuse.INIT: lambda r: fuse.answer(r.unique, fuse.init_answer(r.body)),
            fuse.DESTROY: _done,
            fuse.LOOKUP: self._look_up,
            fuse.FORGET: self._forget,
            fuse.BATCH_FORGET: self._forget_many,
            fuse.GETATTR: lambda r: self._attributes(r, r.node),
            fuse.SETATTR: self._set_attributes,
            fuse.READLINK: self._read_link,
            fuse.SYMLINK: self._symlink,
            fuse.MKNOD: self._make_node,
            fuse.MKDIR: self._make_directory,
            fuse.UNLINK: lambda r: self._remove(r, folder=False),
            fuse.RMDIR: lambda r: self._remove(r, folder=True),
            fuse.RENAME: lambda r: self._rename(r, fuse.U64.size, 0),
            fuse.RENAME2: self._rename2,
            fuse.LINK: self._link,
            fuse.OPEN: self._open,
            fuse.CREATE: self._create,
            fuse.READ: self._read,
            fuse.WRITE: self._write,
            fuse.FSYNC: self._fsync,
            fuse.FSYNCDIR: self._fsync_directory,
            fuse.FLUSH: _done,
            fuse.RELEASE: self._release,
            fuse.OPENDIR: self._open_directory,
            fuse.READDIR: self._read_directory,
            fuse.RELEASEDIR: self._release_directory,
            fuse.STATFS: self._space,
            fuse.FALLOCATE: self._allocate,
            fuse.INTERRUPT: self._interrupt,
        }

    # ------------------------------------------------------------------ inodes

    def _path(self, number: int) -> int:
        return self._inodes[number].path

    def _forget(self, request: Request) -> bytes:
        self._inodes.forget(request.node, fuse.U64.unpack_from(request.body)[0])
        return b""

    def _forget_many(self, request: Request) -> bytes:
        count, _ = fuse.TWO.unpack_from(request.body)
        for i in range(count):
            at = fuse.TWO.size + i * fuse.FORGET_ONE.size
            self._inodes.forget(*fuse.FORGET_ONE.unpack_from(request.body, at))
        return b""

    def _entry(self, request: Request, directory: int, name: bytes, path: int) -> bytes:
        """The answer that describes an inode to the kernel."""
        root = self.store.is_root(directory)
        exempt = root and name in self.store.exempt
        ours = self.store.is_ours(directory, name)
        status = os.fstat(path)
        number = self._inodes.remember(path, exempt=exempt, ours=ours)
        return fuse.ENTRY.pack(number, 0, 0, 0, 0, 0) + self._packed(status)

    def _look_up(self, request: Request) -> bytes:
        directory, name = self._path(request.node), fuse.names(request.body)[0]
        path = self.store.look_up(directory, name)
        return fuse.answer(request.unique, self._entry(request, directory, name, path))

    def _attributes(self, request: Request, number: int) -> bytes:
        status = os.fstat(self._path(number))
        body = fuse.ATTRIBUTES_OUT.pack(0, 0, 0) + self._packed(status)
        return fuse.answer(request.unique, body)

    def _packed(self, status: os.stat_result) -> bytes:
        return fuse.attributes(status, self.store.links(status))

    def _set_attributes(self, request: Request) -> bytes:
        fields = fuse.SETATTR_IN.unpack_from(request.body)
        valid, size, times, mode, uid, gid = (
            fields[0], fields[3], (fields[5], fields[6], fields[8], fields[9]),
            fields[11], fields[13], fields[14],
        )  # fmt: skip
        path = f"/proc/self/fd/{self._path(request.node)}"
        if valid & fuse.SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))  # noqa: PTH101
        if valid & (fuse.SET_UID | fuse.SET_GID):
            os.chown(path, uid if valid & fuse.SET_UID else -1, gid if valid & fuse.SET_GID else -1)
        if valid & fuse.SET_SIZE:
            inode = self._inodes[request.node]
            file = self.store.open(inode.path, exempt=inode.exempt, ours=inode.ours)
            try:
                self.store.truncate(file, size)
            finally:
                self.store.close(file)
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

    # ------------------------------------------------------------------ directories

    def _read_link(self, request: Request) -> bytes:
        target = os.readlink(b"", dir_fd=self._path(request.node))
        return fuse.answer(request.unique, target)

    def _symlink(self, request: Request) -> bytes:
        directory = self._path(request.node)
        name, target = fuse.names(request.body)
        path = self.store.make_symlink(directory, name, target, (request.uid, request.gid))
        return fuse.answer(request.unique, self._entry(request, directory, name, path))

    def _make_node(self, request: Request) -> bytes:
        mode, device, _, _ = fuse.CREATE_IN.unpack_from(request.body)
        directory, name = self._path(request.node), fuse.names(request.body[16:])[0]
        owner = (request.uid, request.gid)
        if stat.S_ISREG(mode):
            path = self.store.create(directory, name, mode, owner)
        else:
            path = self.store.make_special(directory, name, mode, device, owner)
        return fuse.answer(request.unique, self._entry(request, directory, name, path))

    def _make_directory(self, request: Request) -> bytes:
        mode, _ = fuse.TWO.unpack_from(request.body)
        directory, name = self._path(request.node), fuse.names(request.body[8:])[0]
        path = self.store.make_directory(directory, name, mode, (request.uid, request.gid))
        return fuse.answer(request.unique, self._entry(request, directory, name, path))

    def _remove(self, request: Request, *, folder: bool) -> bytes:
        name = fuse.names(request.body)[0]
        self.store.remove(self._path(request.node), name, folder=folder)
        return fuse.answer(request.unique)

    def _rename2(self, request: Request) -> bytes:
        _, flags, _ = fuse.RENAME2_IN.unpack_from(request.body)
        return self._rename(request, fuse.RENAME2_IN.size, flags)

    def _rename(self, request: Request, size: int, flags: int) -> bytes:
        if flags & ~1:
            return fuse.answer(request.unique, error=errno.EINVAL)
        new = self._path(fuse.U64.unpack_from(request.body)[0])
        old_name, new_name = fuse.names(request.body[size:])
        old = self._path(request.node)
        self.store.rename(old, old_name, new, new_name, replace=not flags)
        return fuse.answer(request.unique)

    def _link(self, request: Request) -> bytes:
        target = self._path(fuse.U64.unpack_from(request.body)[0])
        directory, name = self._path(request.node), fuse.names(request.body[8:])[0]
        path = self.store.link(target, directory, name)
        return fuse.answer(request.unique, self._entry(request, directory, name, path))

    def _open_directory(self, request: Request) -> bytes:
        return fuse.answer(request.unique, fuse.OPEN_OUT.pack(self._new_handle(), 0, 0))

    def _release_directory(self, request: Request) -> bytes:
        self._listings.pop(fuse.U64.unpack_from(request.body)[0], None)
        return fuse.answer(request.unique)

    def _read_directory(self, request: Request) -> bytes:
        """The offset of an entry is its position in the listing, plus one. The listing is made when
        it is read from its beginning: programs remove entries while they read the next ones, and
        none must be left out."""
        handle, offset, size = fuse.IO_IN.unpack_from(request.body)[:3]
        if not offset or handle not in self._listings:
            self._listings[handle] = sorted(self.store.listing(self._path(request.node)))
        listing = self._listings[handle]
        body = b""
        for place, (name, inode, kind) in enumerate(listing[offset:], offset + 1):
            entry = fuse.directory_entry(inode, place, name, kind)
            if len(body) + len(entry) > size:
                break
            body += entry
        return fuse.answer(request.unique, body)

    def _space(self, request: Request) -> bytes:
        space = os.fstatvfs(self.store.root_fd)
        free = space.f_bavail
        if self.store.left_bytes is not None:
            free = min(free, self.store.left_bytes // space.f_frsize)
        body = fuse.STATFS_OUT.pack(
            space.f_blocks, free, free, space.f_files, space.f_ffree,
            space.f_bsize, space.f_namemax, space.f_frsize, 0,
        )  # fmt: skip
        return fuse.answer(request.unique, body)

    # ------------------------------------------------------------------ files

    def _open(self, request: Request) -> bytes:
        return fuse.answer(request.unique, self._opened(request.node))

    def _opened(self, number: int) -> bytes:
        inode = self._inodes[number]
        file = self.store.open(inode.path, exempt=inode.exempt, ours=inode.ours)
        handle = self._new_handle()
        self._handles[handle] = file
        return fuse.OPEN_OUT.pack(handle, 0, 0)

    def _new_handle(self) -> int:
        with self._lock:
            handle, self._next_handle = self._next_handle, self._next_handle + 1
        return handle

    def _create(self, request: Request) -> bytes:
        _, mode, _, _ = fuse.CREATE_IN.unpack_from(request.body)
        directory, name = self._path(request.node), fuse.names(request.body[16:])[0]
        path = self.store.create(directory, name, mode, (request.uid, request.gid))
        entry = self._entry(request, directory, name, path)
        number = fuse.U64.unpack_from(entry)[0]
        return fuse.answer(request.unique, entry + self._opened(number))

    def _release(self, request: Request) -> bytes:
        handle = fuse.U64.unpack_from(request.body)[0]
        with self._lock:
            file = self._handles.pop(handle, None)
        if file is not None:
            self.store.close(file)
        return fuse.answer(request.unique)

    def _read(self, request: Request) -> bytes:
        handle, offset, size = fuse.IO_IN.unpack_from(request.body)[:3]
        return fuse.answer(request.unique, self.store.read(self._handles[handle], offset, size))

    def _write(self, request: Request) -> bytes:
        handle, offset, size, write_flags, _, flags, _ = fuse.IO_IN.unpack_from(request.body)
        file = self._handles[handle]
        data = request.body[fuse.IO_IN.size : fuse.IO_IN.size + size]
        # Of a mapped page: the kernel would take less for all of it.
        whole = bool(write_flags & fuse.WRITE_CACHE)
        written = self.store.write(file, offset, data, whole=whole)
        reply = fuse.answer(request.unique, fuse.IO_OUT.pack(written, 0))
        if flags & os.O_DSYNC:
            return self._sync(request, file, ours=file.ours, reply=reply)
        return reply

    def _allocate(self, request: Request) -> bytes:
        handle, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(request.body)
        file = self._handles[handle]
        if mode not in ALLOCATE_MODES:
            return fuse.answer(request.unique, error=errno.EOPNOTSUPP)
        self.store.allocate(file, mode, offset, length)
        return fuse.answer(request.unique)

    # ------------------------------------------------------------------ fsync

    def _fsync(self, request: Request) -> bytes:
        file = self._handles[fuse.U64.unpack_from(request.body)[0]]
        return self._sync(request, file, ours=file.ours, reply=fuse.answer(request.unique))

    def _fsync_directory(self, request: Request) -> bytes:
        return self._sync(request, None, ours=False, reply=fuse.answer(request.unique))

    def _sync(self, request: Request, file: File | None, *, ours: bool, reply: bytes) -> bytes:
        """Now, or later when the disk is slow. What is written while it waits is not covered."""
        sync = self.store.begin_sync(file, self.epoch, ours=ours)

        def run() -> bytes:
            self.store.finish_sync(sync)
            return reply

        delay = self.delay
        if not delay.stalled and not delay.delay_s:
            return run()
        self._deferred.put(request.unique, request.thread, run)
        return b""

    def run_deferred(self, later: Deferred) -> None:
        """An fsync whose time has come."""
        request = Request(fuse.FSYNC, later.request, 0, 0, 0, later.thread, memoryview(b""))
        try:
            reply = self._hold(request) if self.dark else later.run()
        except PowerLost:
            reply = self._hold(request)
        except Exception as error:
            reply = self._failed(later.request, error)
        if reply:
            self._reply(reply)

    def give_up(self, later: Deferred) -> None:
        """An fsync of a process that has been killed."""
        self._reply(fuse.answer(later.request, error=errno.EINTR))

    def _interrupt(self, request: Request) -> bytes:
        """A signal for a process that waits: check whether it has been killed."""
        with self.delay.changed:
            self.delay.changed.notify_all()
        return b""

    def waiting(self) -> int:
        """How many fsyncs wait for the disk now."""
        return self._deferred.waiting()


def _done(request: Request) -> bytes:
    return fuse.answer(request.unique)


def _unknown(request: Request) -> bytes:
    return fuse.answer(request.unique, error=errno.ENOSYS)


READING: Final = (
    fuse.INIT, fuse.DESTROY, fuse.FORGET, fuse.BATCH_FORGET, fuse.RELEASE, fuse.RELEASEDIR,
    fuse.FLUSH, fuse.INTERRUPT, fuse.FSYNC, fuse.FSYNCDIR,
)  # fmt: skip
"""Requests that change no file, or (fsync) check the epoch themselves and must not hold the
lock."""
