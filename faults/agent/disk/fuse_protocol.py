"""The kernel's FUSE protocol, as far as a data directory needs it: structures and numbers.

From the kernel's own header, include/uapi/linux/fuse.h, at protocol 7.31. All numbers are in the
machine's byte order, and the structures are laid out without padding of the compiler's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

MAJOR: Final = 7
MINOR: Final = 31

LOOKUP: Final = 1
FORGET: Final = 2
GETATTR: Final = 3
SETATTR: Final = 4
READLINK: Final = 5
SYMLINK: Final = 6
MKNOD: Final = 8
MKDIR: Final = 9
UNLINK: Final = 10
RMDIR: Final = 11
RENAME: Final = 12
LINK: Final = 13
OPEN: Final = 14
READ: Final = 15
WRITE: Final = 16
STATFS: Final = 17
RELEASE: Final = 18
FSYNC: Final = 20
FLUSH: Final = 25
INIT: Final = 26
OPENDIR: Final = 27
READDIR: Final = 28
RELEASEDIR: Final = 29
FSYNCDIR: Final = 30
ACCESS: Final = 34
CREATE: Final = 35
INTERRUPT: Final = 36
DESTROY: Final = 38
BATCH_FORGET: Final = 42
FALLOCATE: Final = 43
RENAME2: Final = 45

WRITE_MAX: Final = 1 << 20
"""The largest write that the kernel passes in one request, in bytes."""
BUFFER: Final = WRITE_MAX + (1 << 16)
ROOT: Final = 1

WRITE_CACHE: Final = 1 << 0
"""Among the flags of a write: the kernel's, of pages that were changed in memory."""
ASYNC_READ: Final = 1 << 0
BIG_WRITES: Final = 1 << 5
PARALLEL_DIRECTORIES: Final = 1 << 18
MAX_PAGES: Final = 1 << 22

SET_MODE, SET_UID, SET_GID, SET_SIZE = 1, 2, 4, 8
SET_ATIME, SET_MTIME, SET_ATIME_NOW, SET_MTIME_NOW = 16, 32, 128, 256

IN: Final = struct.Struct("=IIQQIIII")
OUT: Final = struct.Struct("=IiQ")
ATTRIBUTES: Final = struct.Struct("=QQQqqqIIIIIIIIII")
ENTRY: Final = struct.Struct("=QQQQII")
ATTRIBUTES_OUT: Final = struct.Struct("=QII")
OPEN_OUT: Final = struct.Struct("=QII")
INIT_IN: Final = struct.Struct("=IIII")
INIT_OUT: Final = struct.Struct("=IIIIHHIIHHI7I")
SETATTR_IN: Final = struct.Struct("=IIQQQqqqIIIIIIII")
IO_IN: Final = struct.Struct("=QQIIQII")
IO_OUT: Final = struct.Struct("=II")
CREATE_IN: Final = struct.Struct("=IIII")
TWO: Final = struct.Struct("=II")
U64: Final = struct.Struct("=Q")
RENAME2_IN: Final = struct.Struct("=QII")
RELEASE_IN: Final = struct.Struct("=QIIQ")
FALLOCATE_IN: Final = struct.Struct("=QQQII")
FORGET_ONE: Final = struct.Struct("=QQ")
STATFS_OUT: Final = struct.Struct("=QQQQQIIII24x")
DIRENT: Final = struct.Struct("=QQII")


class Request(NamedTuple):
    """One request of the kernel. `thread` is the number of the thread that waits for the answer."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    thread: int
    body: memoryview


Handler = Callable[[Request], bytes]
"""Carries a request out and returns the answer; none (b"") if it comes later, or never."""


def parse(data: memoryview) -> Request:
    """The request that one read of /dev/fuse returned."""
    _, opcode, unique, node, uid, gid, thread, _ = IN.unpack_from(data)
    return Request(opcode, unique, node, uid, gid, thread, data[IN.size :])


def answer(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    """`error` is a positive errno."""
    return OUT.pack(OUT.size + len(body), -error, unique) + body


def names(body: memoryview) -> list[bytes]:
    """The strings in a request, each ended by a zero byte."""
    return bytes(body).split(b"\0")[:-1]


def init_answer(body: memoryview) -> bytes:
    """The protocol version to use: the kernel's minor version, if that is older than ours."""
    _, minor, readahead, offered = INIT_IN.unpack_from(body)
    flags = offered & (ASYNC_READ | BIG_WRITES | PARALLEL_DIRECTORIES | MAX_PAGES)
    pages = WRITE_MAX // os.sysconf("SC_PAGE_SIZE")
    return INIT_OUT.pack(
        MAJOR, min(minor, MINOR), readahead, flags, 16, 12, WRITE_MAX, 1, pages, 0, 0, *[0] * 7
    )


def attributes(status: os.stat_result, links: int) -> bytes:
    """A file's attributes, as the kernel wants them; with so many names."""
    second = 10**9
    atime, mtime, ctime = status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns
    return ATTRIBUTES.pack(
        status.st_ino,
        status.st_size,
        status.st_blocks,
        atime // second,
        mtime // second,
        ctime // second,
        atime % second,
        mtime % second,
        ctime % second,
        status.st_mode,
        links,
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        4096,
        0,
    )


def directory_entry(inode: int, offset: int, name: bytes, kind: int) -> bytes:
    """One entry of a listing, padded to eight bytes; `offset` is where the next one is found."""
    entry = DIRENT.pack(inode, offset, len(name), kind) + name
    return entry + b"\0" * (-len(entry) % 8)
