"""The drive under the node's files, and its faults: it is full, it cannot read some bytes, or its
fsyncs fail.
"""

from __future__ import annotations

import errno
import os

from faults.agent.disk.files import File, Key
from faults.agent.disk.ranges import Range, merged, missing, without


class Drive:
    """The caller locks."""

    def __init__(self) -> None:
        self.left_bytes: int | None = None
        """How many bytes may still be allocated; None: limited by the disk only."""
        self.fail_fsync = False
        """Every fsync fails, and what it should have made durable is lost at the next cut."""
        self.bad: dict[Key, list[Range]] = {}
        """Bytes of files that cannot be read, until they are written again."""
        self._reserved: dict[Key, list[Range]] = {}
        """What files have allocated by fallocate: writes there need no more space."""

    def require_room(self) -> None:
        if self.left_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def allocate(self, file: File, offset: int, length: int, *, whole: bool) -> int:
        """For how much of this there is space, which is used from now on. Raises OSError where
        there is none, or, with `whole`, not enough."""
        if self.left_bytes is None or file.exempt or not length:
            return length
        left, allowed = self.left_bytes, length
        for gap in missing(file.fd, offset, offset + length, self._reserved.get(file.key, [])):
            left -= gap.end - gap.start
            if left < 0:
                allowed, left = gap.end + left - offset, 0
                break
        if not allowed or (whole and allowed < length):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not file.ours:
            self.left_bytes = left
        return allowed

    def reserve(self, key: Key, start: int, end: int) -> None:
        """These bytes have been allocated by fallocate."""
        self._reserved[key] = merged(self._reserved.get(key, []), start, end)

    def require_readable(self, key: Key, start: int, end: int) -> None:
        ranges = self.bad.get(key)
        if ranges and any(r.start < end and start < r.end for r in ranges):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def written(self, key: Key, start: int, end: int) -> None:
        """These bytes can be read again, as when a drive remaps a sector."""
        if key in self.bad:
            self.bad[key] = without(self.bad[key], start, end)

    def freed(self, key: Key, start: int, end: int) -> None:
        """These bytes are a hole, or behind the end."""
        for ranges in (self.bad, self._reserved):
            if key in ranges:
                ranges[key] = without(ranges[key], start, end)

    def forget(self, key: Key) -> None:
        """The file is gone."""
        self.bad.pop(key, None)
        self._reserved.pop(key, None)

    def forget_all(self) -> None:
        """All files are gone."""
        self.bad.clear()
        self._reserved.clear()
