"""Ranges of a file's bytes, and which of them the file has on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

END: Final = 1 << 63
"""Behind every file."""


class Range(NamedTuple):
    """Of bytes; without `end`."""

    start: int
    end: int


def without(ranges: list[Range], start: int, end: int) -> list[Range]:
    """What is left of them."""
    left = []
    for one in ranges:
        if one.start < start:
            left.append(Range(one.start, min(one.end, start)))
        if one.end > end:
            left.append(Range(max(one.start, end), one.end))
    return [one for one in left if one.start < one.end]


def merged(ranges: list[Range], start: int, end: int) -> list[Range]:
    """With this one; sorted, and none of them touch."""
    apart = []
    for one in ranges:
        if one.end < start or end < one.start:
            apart.append(one)
        else:
            start, end = min(start, one.start), max(end, one.end)
    return sorted([*apart, Range(start, end)])


def missing(file: int, start: int, end: int, reserved: list[Range]) -> Iterator[Range]:
    """The bytes for which a file has no space: its holes, and what is behind its end, but for what
    has been reserved by fallocate."""
    while start < end:
        hole = _seek(file, start, os.SEEK_HOLE)
        if hole > start:
            start = hole
            continue
        data = min(end, _seek(file, start, os.SEEK_DATA))
        gaps = [Range(start, data)]
        for one in reserved:
            gaps = without(gaps, one.start, one.end)
        yield from gaps
        start = data


def with_data(file: int, start: int, end: int) -> Iterator[Range]:
    """The parts of this range that are not holes."""
    while (start := _seek(file, start, os.SEEK_DATA)) < end:
        hole = _seek(file, start, os.SEEK_HOLE)
        yield Range(start, min(end, hole))
        start = hole


def _seek(file: int, offset: int, how: int) -> int:
    """The next hole, or the next data, at or after an offset. Behind the end is a hole."""
    try:
        return os.lseek(file, offset, how)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return offset if how == os.SEEK_HOLE else END
