"""Reading a log that is kept in two files.

    wal, wal.copy      APLOG-2\\n, then records as in `wal`; the first holds the file's number

Both files have the same number and the same records at the same offsets. A checkpoint is a new file
with the next number, which replaces first the one and then the other. After a crash in between they
differ, and the newer one is used if it is complete. A block that cannot be read counts as damaged.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from node_image.log_recovery import Found, LogLost, LogRecovery
from node_image.server.log_format import END_MARK, HEADER, later_group, pack, record_at

MAGIC: Final = b"APLOG-2\n"
NAMES: Final = ("wal", "wal.copy")
BLOCK: Final = 4096
NUMBER_BYTES: Final = 8
START: Final = len(MAGIC) + HEADER.size + NUMBER_BYTES
"""The offset of the first record after the file's number."""


class FileCopy:
    """One file, as `node_image.log_recovery.LogCopy`. Positions are offsets in bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.number = self._number()

    def _number(self) -> int | None:
        """The file's number; None for a file that is missing, or whose beginning is damaged."""
        if not self.data.startswith(MAGIC):
            return None
        record = record_at(self.data, len(MAGIC))
        if record is None or len(record[1]) != NUMBER_BYTES:
            return None
        return int.from_bytes(record[1], "big")

    def at(self, position: int) -> Found | None:
        record = record_at(self.data, position)
        return None if record is None else Found(record[1], position + HEADER.size + len(record[1]))

    def next_good(self, position: int) -> int | None:
        return later_group(self.data, position)

    def ends_at(self, position: int) -> bool:
        return position == len(self.data)

    def is_whole(self) -> bool:
        """Whether the checkpoint at the beginning of the file is complete, up to its end mark."""
        position = START
        while (found := self.at(position)) is not None:
            if found.record == END_MARK:
                return True
            position = found.end
        return False


class TwoCopies(NamedTuple):
    """The content of both files. `number` is that of the files; `clean`: nothing is torn, missing
    or damaged in either."""

    payloads: list[bytes]
    end: int
    torn: int
    number: int
    clean: bool


def read_two(directory: Path, recovery: LogRecovery) -> TwoCopies:
    """Raises LogLost if synced data is in neither file."""
    copies = [FileCopy(read_what_can_be(directory / name)) for name in NAMES]
    numbers = [copy.number for copy in copies if copy.number is not None]
    if not numbers:
        if any(len(copy.data) > START for copy in copies):
            raise LogLost("the beginnings of both copies of the log are damaged")
        return TwoCopies([], START, 0, 0, clean=False)
    newest = max(numbers)
    usable = [copy for copy in copies if copy.number == newest]
    if min(numbers) < newest and not usable[0].is_whole():
        usable = [copy for copy in copies if copy.number == min(numbers)]
    found = recovery.recover(usable, START)
    payloads = [record for record in found.records if record != END_MARK]
    clean = len(usable) == 2 and all(copy.data == copies[0].data for copy in copies)
    clean = clean and copies[0].ends_at(found.end)
    torn = max(len(copy.data) for copy in usable) - found.end
    return TwoCopies(payloads, found.end, max(0, torn), newest, clean)


def beginning(number: int) -> bytes:
    """The first START bytes of a file."""
    return MAGIC + pack([number.to_bytes(NUMBER_BYTES, "big")], len(MAGIC))


def read_what_can_be(path: Path) -> bytes:
    """The file's bytes, with zeros for blocks that cannot be read."""
    if not path.exists():
        return b""
    try:
        return path.read_bytes()
    except OSError:
        file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        return b"".join(_block(file, offset, size) for offset in range(0, size, BLOCK))
    finally:
        os.close(file)


def _block(file: int, offset: int, size: int) -> bytes:
    length = min(BLOCK, size - offset)
    try:
        return os.pread(file, length, offset)
    except OSError:
        return bytes(length)
