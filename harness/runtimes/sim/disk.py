"""A node's disk under virtual time: what has been written, and from when on it is safe.

Group commit, as the real driver does it: one fsync at a time; what is persisted while one runs goes
into the next, which starts when this one ends. Both end times are known at once, so an fsync costs
no event: a record's `durable_us` is worked out when it is persisted, and what waits for it is
scheduled for that time. A crash then keeps or loses records by comparing times.

    power cut   exactly the records whose fsync had ended survive; the record that was being written
                is torn, which recovery finds by its checksum and cuts off
    kill        the operating system lives on and with it the page cache: also the records whose
                fsync was running survive; those still queued in the process are lost
    full        the record that does not fit is not written, and the process exits
    stalled     an fsync that begins now ends after the stall; one that runs ends as it would
    damaged     of the two copies of the log that a node keeps, one has lost or changed records.
                What becomes of that is decided by the code that decides it in a container
                (`node_image.log_recovery`)
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from node_image.log_recovery import Found, LogRecovery

Record: TypeAlias = tuple[Any, ...]


RECORD_BYTES: Final = 100
"""What a record is taken to need, where a disk has only some bytes left."""
RECENT: Final = 3
"""So many records count as those that were written last."""


class DiskFull(Exception):
    """The disk is full: the process exits."""


class Reset(NamedTuple):
    """A checkpoint: everything before it is void once it is durable."""

    records: tuple[Record, ...]


class Recovered(NamedTuple):
    """What a crash left: the records, and how many were lost (the last one torn or not)."""

    records: list[Record]
    lost: int
    torn: bool


class Copy:
    """One copy of a log, as `node_image.log_recovery.LogCopy`. A position is a record's number."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self.bad: set[int] = set()
        self.size = len(records)
        self.rest = False
        """Whether a part of a record is left behind the last one."""

    def at(self, position: int) -> Found | None:
        if position >= self.size or position in self.bad:
            return None
        return Found(self._records[position], position + 1)

    def next_good(self, position: int) -> int | None:
        return next((p for p in range(position + 1, self.size) if p not in self.bad), None)

    def ends_at(self, position: int) -> bool:
        return position == self.size and not self.rest


class Disk:
    """`persist` and `checkpoint` return the time from which everything so far is durable."""

    __slots__ = (
        "_copies",
        "_durable_us",
        "_fsync_us",
        "_log",
        "_running_end_us",
        "_running_start_us",
        "barrier_us",
        "fsyncs",
        "left_records",
        "slow_us",
        "stalled_until_us",
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
        self.stalled_until_us = 0
        """No fsync that starts before this moment ends before it."""
        self.left_records: int | None = None
        """How many records fit; None: any number."""
        self.fsyncs = 0
        self._copies: list[Copy] = []

    def persist(self, record: Record, now_us: int) -> int:
        """Raises DiskFull."""
        if self.left_records is not None:
            if self.left_records == 0:
                raise DiskFull
            self.left_records -= 1
        self._log.append(record)
        barrier_us = self.barrier_us
        if now_us >= barrier_us and now_us != self._running_start_us:
            # The disk is idle: an fsync starts now.
            self.fsyncs += 1
            self._running_start_us = now_us
            barrier_us = max(now_us, self.stalled_until_us) + self._fsync_us() + self.slow_us
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
            begins_us = max(self.barrier_us, self.stalled_until_us)
            self.barrier_us = begins_us + self._fsync_us() + self.slow_us
        return self.barrier_us

    def checkpoint(self, records: tuple[Record, ...], now_us: int) -> int:
        self._forget(now_us)
        return self.persist(Reset(records), now_us)

    def crash(self, now_us: int, *, power: bool) -> Recovered:
        """The node is gone; returns what the next start will read. The disk is idle afterwards."""
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
        self._copies = []
        return erased

    def damage(self, mode: str, seed: str) -> dict[str, Any]:
        """One copy of the log is not what it was; the node is down. See `DiskDamage` for modes."""
        records, random = self.records(), Random(seed)
        if not records:
            return {"records": 0}
        self._copies = self._copies or [Copy(records), Copy(records)]
        number = random.randrange(2)
        copy = self._copies[number]
        recent = max(0, copy.size - RECENT) if random.randrange(2) else 0
        position = random.randrange(recent, copy.size) if copy.size else 0
        if mode == "truncate":
            copy.size, copy.rest = position, bool(random.randrange(2))
        else:
            count = random.randrange(1, 5) if mode == "old" else 1
            copy.bad |= set(range(position, min(position + count, copy.size)))
        return {"records": len(records), "copy": number, "position": position}

    @property
    def is_damaged(self) -> bool:
        return bool(self._copies)

    def recover(self, recovery: LogRecovery) -> list[Record]:
        """What a process that starts makes of the disk; the copies are whole again afterwards.
        Raises LogLost."""
        if self._copies:
            found = recovery.recover(self._copies, 0).records
            self._copies = []
            self._durable_us = self._durable_us[:1] * len(found)
            self._log = list(found)
        return self.records()

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
