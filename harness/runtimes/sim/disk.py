"""A node's disk under virtual time: what was written, and when it becomes durable.

Group commit, as in the real driver: one fsync at a time; records persisted while one runs are part
of the next, which starts when this one ends. Both end times are known in advance, so an fsync needs
no event: a record's `durable_us` is computed when it is persisted, and what waits for it is
scheduled for that time. A crash keeps or loses records by comparing times.

    power cut   exactly the records whose fsync had ended survive; the record that was being written
                is torn, which recovery finds by its checksum and cuts off
    kill        the operating system and its page cache survive, and with them the records whose
                fsync was running; those still queued in the process are lost
    full        the record that does not fit is not written, and the process exits
    stalled     an fsync that starts now ends after the stall; a running one is not affected
    damaged     one of the node's two copies of the log has lost or changed records. Recovery uses
                the same code as in a container (`node_image.log_recovery`)
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from node_image.log_recovery import Found, LogRecovery

Record: TypeAlias = tuple[Any, ...]


RECORD_BYTES: Final = 100
"""The assumed size of a record, for a disk with limited space."""
RECENT: Final = 3
"""How many records count as the last ones written."""


class DiskFull(Exception):
    """The disk is full: the process exits."""


class Reset(NamedTuple):
    """A checkpoint: it replaces everything before it once it is durable."""

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
    """`persist` and `checkpoint` return the time at which everything so far is durable."""

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
        """The additional duration of every fsync that starts, during a slow-disk fault."""
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
        """An fsync is running: this record is part of the next one."""
        if now_us >= self._running_end_us:
            # The next fsync has become the running one.
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
        """The node has crashed. Returns what the next start will read. The disk is idle
        afterwards."""
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
        """Everything persisted is durable now, as after a final fsync before a regular exit."""
        self._durable_us = [now_us] * len(self._log)
        self.barrier_us = self._running_end_us = now_us
        self._running_start_us = -1

    def erase(self) -> int:
        """Erase everything, as for a machine that returns with an empty disk. Returns the number of
        records."""
        erased = len(self._log)
        self._log.clear()
        self._durable_us.clear()
        self._copies = []
        return erased

    def damage(self, mode: str, seed: str) -> dict[str, Any]:
        """Damage one copy of the log; the node is down. See `DiskDamage` for modes."""
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
        """Recovery at the start of a process; afterwards the copies are equal again. Raises
        LogLost."""
        if self._copies:
            found = recovery.recover(self._copies, 0).records
            self._copies = []
            self._durable_us = self._durable_us[:1] * len(found)
            self._log = list(found)
        return self.records()

    def _forget(self, now_us: int) -> None:
        """Drop records that a durable checkpoint has replaced, so that memory is bounded."""
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
