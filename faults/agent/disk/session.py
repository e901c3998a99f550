"""One FUSE mount: receives the kernel's requests, has them carried out on the store, and answers.

Several threads read the same descriptor, and each carries its request out itself: a handover
between threads would cost more than most requests. What each request does is in `inode_requests`,
`directory_requests` and `file_requests`.

After a cut (`Store.power_off`) nothing more takes effect: requests of processes that are being
killed are held, and answered with an error once the process has been killed. A mount lives as long
as its container: the next start of the node gets a new one, so nothing of the kernel's caches
outlives a cut.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import traceback
from contextlib import suppress
from typing import Final

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.deferred_fsyncs import Deferred, DeferredFsyncs, FsyncDelay
from faults.agent.disk.directory_requests import DirectoryRequests
from faults.agent.disk.file_requests import FileRequests
from faults.agent.disk.fuse_protocol import Handler, Request
from faults.agent.disk.inode_requests import InodeRequests
from faults.agent.disk.store import PowerLost, Store

THREADS: Final = 4
GONE: Final = (errno.ENODEV, errno.EBADF, errno.ECONNABORTED)
OURS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What the agent is short of, and not the node's disk."""


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
        self._held: list[Request] = []
        self._deferred = DeferredFsyncs(self)
        self._running = 0
        inodes = InodeRequests(store)
        self._inodes = inodes.inodes
        self._files = FileRequests(store, self.epoch, inodes, delay, self._deferred)
        directories = DirectoryRequests(store.entries, inodes)
        self._handlers = {
            **self._table(),
            **inodes.handlers(),
            **directories.handlers(),
            **self._files.handlers(),
        }
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
        self._files.close()
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

    def _table(self) -> dict[int, Handler]:
        return {
            fuse.INIT: lambda r: fuse.answer(r.unique, fuse.init_answer(r.body)),
            fuse.DESTROY: _done,
            fuse.FLUSH: _done,
            fuse.INTERRUPT: self._interrupt,
        }

    # ------------------------------------------------------------------ fsyncs that wait

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
