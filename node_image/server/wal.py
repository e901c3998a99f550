"""The write-ahead log: the content of a node's disk, and how it is written.

One file, `wal`: eight bytes of magic, then records:

    length u32 | crc32 u32 | group u64 | payload        (big-endian; the crc covers group, payload)

Records are written in groups: everything that was appended while the previous group was being
written becomes one write and one fdatasync (group commit). A separate thread writes, so the event
loop never waits. `group` is the file offset at which the record's group begins. All earlier groups
were on disk before this one was written. This distinguishes two kinds of damage:

    torn      the last group was cut off by a crash. The records before the first bad one are kept,
              and the rest is truncated. Nothing that was acknowledged is lost
    corrupt   a bad record is followed by a good one of a *later* group: the bad one had been
              synced, and the disk has lost it. The node refuses to start, since without a vote that
              it gave the cluster could lose acknowledged data

A checkpoint is a new file, `wal.new`, which is written, synced, and renamed over the old one,
followed by a sync of the directory. After a crash either the old or the new file is there,
complete. A checkpoint ends with an end mark in a separate group: it can be corrupt, but not torn.

A node that never votes has promised nothing. Where its log is corrupt it starts with an empty one,
like a new node, and the others send it what it has missed.

With one file, a synced record that is damaged at the end cannot be distinguished from a torn one.
With two copies (`log_files`) it can: what one file has lost is in the other, and at the start both
are made equal again.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from node_image.log_recovery import LogLost, LogRecovery
from node_image.server.log_files import NAMES, beginning, read_two
from node_image.server.log_format import END_MARK, HEADER, later_group, pack, record_at

MAGIC: Final = b"APLOG-1\n"


class CorruptLog(Exception):
    """Synced records of the log are damaged. The message states where, and what to do."""


class Recovered(NamedTuple):
    """The content of a log file: its records, where they end, and how many bytes were torn."""

    payloads: list[bytes]
    end: int
    torn: int


def scan(data: bytes) -> Recovered:
    """Read the records of a log file.

    Raises CorruptLog for a bad record that had been synced before a later one was written.
    """
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return Recovered([], 0, len(data))
        raise CorruptLog(f"this is not a log: it begins with {data[: len(MAGIC)]!r}")
    payloads, offset = [], len(MAGIC)
    while (record := record_at(data, offset)) is not None:
        if record[1] != END_MARK:
            payloads.append(record[1])
        offset += HEADER.size + len(record[1])
    later = later_group(data, offset)
    if later is not None:
        raise CorruptLog(
            f"the record at byte {offset} is damaged, and a group written after it was synced "
            f"stands at byte {later}: the disk has lost what this node had promised. Remove the "
            "node's data only if the cluster can do without this node's votes"
        )
    return Recovered(payloads, offset, len(data) - offset)


class Group(NamedTuple):
    """One write job: optionally a new file, then records appended to it."""

    checkpoint: Sequence[bytes] | None
    appended: Sequence[bytes]
    persists: int


class WriteAheadLog:
    """The log of one node, in its own directory. Open it, `append` and `commit`, `close`.

    `votes`: whether the node does; see the top of this file. Raises CorruptLog.

    `on_synced(count)` is called in the log's thread, with the number of persists that are now
    durable; `on_error` likewise, once, after which nothing more is written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        copies: int = 1,
        recovery: LogRecovery | None = None,
        votes: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory)
        self._paths = [directory / name for name in NAMES[:copies]]
        self.path = self._paths[0]
        for path in self._paths:
            _new(path).unlink(missing_ok=True)
        self.syncs = 0
        self.bytes_written = 0
        self.repaired = False
        """Whether the copies differed and had to be repaired."""
        self.discarded = ""
        """Why the log was begun anew, by a node that does not vote."""
        self._number = 0
        self._files: list[int] = []
        try:
            self._open(recovery or LogRecovery())
        except CorruptLog as corrupt:
            if votes:
                os.close(self._lock)
                raise
            self.discarded = str(corrupt)
            for path in self._paths:
                path.unlink(missing_ok=True)
            self._open(LogRecovery())
        self._checkpoint: list[bytes] | None = None
        self._appended: list[bytes] = []
        self._count = 0
        self._jobs: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False

    def _open(self, recovery: LogRecovery) -> None:
        """Raises CorruptLog."""
        if len(self._paths) == 1:
            self.recovered = scan(self.path.read_bytes() if self.path.exists() else b"")
            self._open_file()
        else:
            self.recovered = self._open_two(recovery)

    def _open_file(self) -> None:
        """Truncate a torn end, and seek to the end."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640)
        self._files = [file]
        self._end = self.recovered.end
        os.ftruncate(file, self._end)
        if self._end == 0:
            _write_all(file, MAGIC, 0)
            self._end = len(MAGIC)
        os.fsync(file)
        self._sync_directory()

    def _open_two(self, recovery: LogRecovery) -> Recovered:
        """Open both copies if they are equal; otherwise rewrite both with the recovered records."""
        directory = self.path.parent
        try:
            found = read_two(directory, recovery)
        except LogLost as lost:
            raise CorruptLog(str(lost)) from None
        self._number, self._end = found.number, found.end
        if found.clean:
            self._files = [os.open(path, os.O_RDWR) for path in self._paths]
        else:
            self.repaired = found.number > 0
            self._write_checkpoint(found.payloads)
        return Recovered(found.payloads, found.end, found.torn)

    def _sync_directory(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    # ------------------------------------------------------------------ called by the event loop

    def start(self, on_synced: Callable[[int], None], on_error: Callable[[OSError], None]) -> None:
        """Start the writing thread."""
        self._on_synced, self._on_error = on_synced, on_error
        self._thread = threading.Thread(target=self._work, name="wal", daemon=True)
        self._thread.start()

    def append(self, payload: bytes) -> None:
        """Add a record to the current group."""
        self._appended.append(payload)
        self._count += 1

    def replace(self, payloads: list[bytes]) -> None:
        """Replace the whole log by these records, atomically."""
        self._checkpoint, self._appended = payloads, []
        self._count += 1

    def commit(self) -> None:
        """Start to write the current group, unless another one is being written."""
        if self._count and not self._busy:
            self._busy = True
            self._jobs.put(Group(self._checkpoint, self._appended, self._count))
            self._checkpoint, self._appended, self._count = None, [], 0

    def synced(self) -> None:
        """The event loop has processed the last group: the next one may be written."""
        self._busy = False
        self.commit()

    def close(self) -> None:
        """Write what has been collected, and end the thread."""
        if self._thread is not None:
            self._jobs.put(Group(self._checkpoint, self._appended, self._count))
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        for file in self._files:
            os.close(file)
        os.close(self._lock)

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while (group := self._jobs.get()) is not None:
            try:
                self._write(group)
            except OSError as error:
                self._on_error(error)
                return
            self._on_synced(group.persists)

    def _write(self, group: Group) -> None:
        if group.checkpoint is not None:
            self._write_checkpoint(group.checkpoint)
        if group.appended:
            blob = pack(group.appended, self._end)
            for file in self._files:
                _write_all(file, blob, self._end)
            for file in self._files:
                os.fdatasync(file)
            self._end += len(blob)
            self.bytes_written += len(blob)
            self.syncs += 1

    def _write_checkpoint(self, payloads: Sequence[bytes]) -> None:
        blob = MAGIC if len(self._paths) == 1 else beginning(self._number + 1)
        blob += pack(payloads, len(blob))
        blob += pack([END_MARK], len(blob))
        files = [self._replace_file(path, blob) for path in self._paths]
        for file in self._files:
            os.close(file)
        self._files, self._end = files, len(blob)
        self._number += 1
        self.bytes_written += len(blob)
        self.syncs += 1

    def _replace_file(self, path: Path, blob: bytes) -> int:
        """Replace a file by one with this content, atomically."""
        file = os.open(_new(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            _write_all(file, blob, 0)
            os.fsync(file)
            _new(path).rename(path)
            self._sync_directory()
        except OSError:
            os.close(file)
            raise
        return file


def _new(path: Path) -> Path:
    """The path at which the replacement of a file is written."""
    return path.with_name(f"{path.name}.new")


def _lock(directory: Path) -> int:
    """Lock the directory until this process ends. Raises OSError if another one holds the lock."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise BlockingIOError(f"another node uses the data in {directory}; stop it first") from None
    return lock


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
