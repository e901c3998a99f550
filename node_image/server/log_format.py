"""The bytes of records in a log file.

length u32 | crc32 u32 | group u64 | payload        (big-endian; the crc covers group, payload)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

HEADER: Final = struct.Struct(">IIQ")
END_MARK: Final = b"-"
"""The payload of the last record of a checkpoint."""
RECORD_MAX: Final = 256 * 1024 * 1024


def record_at(data: bytes, offset: int) -> tuple[int, bytes] | None:
    """The group and the payload of the record at `offset`, if it is good."""
    start = offset + HEADER.size
    if start > len(data):
        return None
    length, crc, group = HEADER.unpack_from(data, offset)
    if not 0 < length <= min(RECORD_MAX, len(data) - start) or group > offset:
        return None
    if zlib.crc32(data[offset + 8 : start + length]) != crc:
        return None
    return group, data[start : start + length]


def later_group(data: bytes, bad: int) -> int | None:
    """The offset of a good record after `bad` whose group began after `bad`, if there is one."""
    for offset in range(bad + 1, len(data) - HEADER.size):
        record = record_at(data, offset)
        if record is not None and record[0] > bad:
            return offset
    return None


def pack(payloads: Iterable[bytes], group: int) -> bytes:
    """The bytes of one group that begins at file offset `group`."""
    tail = struct.pack(">Q", group)
    return b"".join(
        HEADER.pack(len(p), zlib.crc32(p, zlib.crc32(tail)), group) + p for p in payloads
    )
