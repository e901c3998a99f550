"""A node's disk under virtual time: what has been written, and from when on it is safe.

Group commit, as the real driver does it: one fsync at a time; what is persisted while one runs goes
into the next, which starts when this one ends. Both end times are known at once, so an fsync costs
no event: a record's `durable_us` is worked out when it is persisted, and whoever waits for it is
scheduled for that moment. A crash then keeps or loses records by comparing times.

    power cut   exactly the records whose fsync had ended survive; the record that was being written
                is torn, which recovery finds by its checksum and cuts off
    kill        the operating system lives on and with it the page cache: also the records whose
                fsync was running survive; those still queued in the process are lost
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Record: TypeAlias = tuple[Any, ...]


class Reset(NamedTuple):
    """A checkpoint: everything before it is void once it is durable."""

    records: tuple[Record, ...]


class Recovered(NamedTuple):
    """What a crash left: the records, and how many were lost (the last one torn or not)."""

    records: list[Record]
    lost: int
    torn: bool


class Disk:
    """`persist` and `checkpoint` answer the moment from which everything so far is durable."""

    __slots__ = (
        "_durable_us",
        "_fsync_us",
        "_log",
        "_running_end_us",
        "_running_start_us",
        "barrier_us",
        "fsyncs",
        "slow_us",
    )

    def __init__(self, fsync_us: Callable[[], int]) -> None:
        self._fsync_us = fsync_us
        self._log: list[Record] = []
        self._durable_us: list[int] = []
        self._running_start_us = -1
        self._running_end_us = 0
        self.barrier_us = 0
        """Everything persisted up to now is durable from this moment on."""
        self.slow_us = 0
        """What a slow-disk fault adds to every fsync that starts."""
        self.fsyncs = 0

    def persist(self, record: Record, now_us: int) -> int:
        self._log.append(record)
        barrier_us = self.barrier_us
        if now_us >= barrier_us and now_us != self._running_start_us:
            # The disk is idle: an fsync starts now.
            self.fsyncs += 1
            self._running_start_us = now_us
            barrier_us = now_us + self._fsync_us() + self.slow_us
            self._running_end_us = self.barrier_us = barrier_us
        elif now_us != self._running_start_us:
            barrier_us = self._queue(now_us)
        self._durable_us.append(barrier_us)
        return barrier_us

    def _queue(self, now_us: int) -> int:
        """An fsync runs, which this record has missed: it goes into the next."""
        if now_us >= self._running_end_us:
            # The one that was next has become the one that runs.
            self._running_start_us, self._running_end_us = self._running_end_us, self.barrier_us
        if self.barrier_us == self._running_end_us:
            self.fsyncs += 1
            self.barrier_us += self._fsync_us() + self.slow_us
        return self.barrier_us

    def checkpoint(self, records: tuple[Record, ...], now_us: int) -> int:
        self._forget(now_us)
        return self.persist(Reset(records), now_us)

    def crash(self, now_us: int, *, power: bool) -> Recovered:
        """The node is gone; says what the next start will read. The disk is idle afterwards."""
        keep_until_us = now_us
        if not power and now_us < self._running_end_us:
            keep_until_us = self._running_end_us
        elif not power and now_us < self.barrier_us:
            keep_until_us = self.barrier_us
        kept, log, lost = 0, self._log, 0
        for durable_us in self._durable_us:
            if durable_us > keep_until_us:
                break
            kept += 1
        lost = len(log) - kept
        torn = power and lost > 0 and self._running_start_us <= now_us
        records = _replay(log[:kept])
        self._log = list(records)
        self._durable_us = [now_us] * len(records)
        self.barrier_us = self._running_end_us = now_us
        self._running_start_us = -1  # nothing runs: the next record starts an fsync
        return Recovered(records, lost, torn)

    def flush(self, now_us: int) -> None:
        """All that was persisted is durable now, as after a last fsync before an orderly end."""
        self._durable_us = [now_us] * len(self._log)
        self.barrier_us = self._running_end_us = now_us
        self._running_start_us = -1

    def erase(self) -> int:
        """Everything is gone, as when a machine comes back with an empty disk; how many records."""
        erased = len(self._log)
        self._log.clear()
        self._durable_us.clear()
        return erased

    def _forget(self, now_us: int) -> None:
        """Drop what a durable checkpoint has made void, so that memory stays bounded."""
        for i in range(len(self._log) - 1, -1, -1):
            if isinstance(self._log[i], Reset) and self._durable_us[i] <= now_us:
                del self._log[:i]
                del self._durable_us[:i]
                return

    def records(self) -> list[Record]:
        """All that has been persisted, durable or not."""
        return _replay(self._log)


def _replay(log: list[Record]) -> list[Record]:
    records: list[Record] = []
    for record in log:
        if isinstance(record, Reset):
            records = list(record.records)
        else:
            records.append(record)
    return records
