"""Fsyncs that wait: on a slow disk for their time, on one that stalls for its end.

The kernel's requests for them are answered later, by one thread of each mount.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

LOOK_S: Final = 0.02
"""The interval at which waiters for a stalled disk are checked for having been killed."""


class FsyncDelay:
    """Which fsyncs wait, and how long. Shared by the mounts of a disk."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.stalled = False
        self.changed = threading.Condition()

    def set(self, delay_s: float, *, stalled: bool) -> None:
        with self.changed:
            self.delay_s, self.stalled = delay_s, stalled
            self.changed.notify_all()


class Deferred(NamedTuple):
    """An fsync that waits until `due` (monotonic seconds), or for the end of a stall. `run` does it
    and returns the answer to the kernel."""

    due: float
    request: int
    thread: int
    run: Callable[[], bytes]


class Mount(Protocol):
    """Whose fsyncs they are."""

    delay: FsyncDelay
    ended: threading.Event

    @property
    def dark(self) -> bool:
        """The power was cut: nothing waits any more."""
        ...

    def run_deferred(self, later: Deferred) -> None: ...

    def give_up(self, later: Deferred) -> None: ...


class DeferredFsyncs:
    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._delay = mount.delay
        self._heap: list[Deferred] = []

    def start(self) -> None:
        """Answer them, in a thread of its own, until the mount has ended."""
        threading.Thread(target=self._answer, name="fsync", daemon=True).start()

    def put(self, request: int, thread: int, run: Callable[[], bytes]) -> None:
        """An fsync that `thread` waits for."""
        with self._delay.changed:
            due = time.monotonic() + self._delay.delay_s
            heapq.heappush(self._heap, Deferred(due, request, thread, run))
            self._delay.changed.notify_all()

    def waiting(self) -> int:
        return len(self._heap)

    def _answer(self) -> None:
        delay = self._delay
        while not self._mount.ended.is_set():
            with delay.changed:
                killed = self._take_killed()
                later = None if killed else self._take_due()
                if later is None and not killed:
                    delay.changed.wait(self._patience_s())
            for one in killed:
                self._mount.give_up(one)
            if later is not None:
                self._mount.run_deferred(later)

    def _take_due(self) -> Deferred | None:
        """An fsync that is due. The caller holds the lock of `delay`."""
        if not self._heap or (self._delay.stalled and not self._mount.dark):
            return None
        if self._mount.dark or self._heap[0].due <= time.monotonic():
            return heapq.heappop(self._heap)
        return None

    def _take_killed(self) -> list[Deferred]:
        """Waiting fsyncs whose process has been killed meanwhile. A disk ignores signals, but the
        kernel cannot end a process that waits for us, and reports only the first signal, if any."""
        killed = [later for later in self._heap if _is_killed(later.thread)]
        if killed:
            self._heap = [later for later in self._heap if later not in killed]
            heapq.heapify(self._heap)
        return killed

    def _patience_s(self) -> float | None:
        """The time until an fsync is due, unless something changes."""
        if not self._heap:
            return None
        left_s = max(0.0, self._heap[0].due - time.monotonic())
        return LOOK_S if self._delay.stalled else min(LOOK_S, left_s)


def _is_killed(thread: int) -> bool:
    """Whether SIGKILL is pending for this thread."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{thread}/status").read_text().splitlines():
            if line.startswith(("SigPnd:", "ShdPnd:")) and int(line.split()[1], 16) & 1 << 8:
                return True
    return False
