"""The damage that a faulty drive does to files that had been fsynced.

flip         some bits in one place are wrong
truncate     the end of the file is missing
old          a block has the content from before its last fsync: the drive acknowledged a write
             and lost it
read-error   a block cannot be read, until it is written again

One file, one place. Half of the time the place is among the last writes, which exposes a log that
cannot distinguish a torn write from a lost one; otherwise it is anywhere in the file.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from faults.agent.disk.entries import HIDDEN
from faults.agent.disk.files import Key
from faults.agent.disk.ranges import Range
from faults.agent.disk.store import Store
from faults.agent.disk.unsynced import BLOCK, Generation, write_all
from faults.agent.errors import BadRequest, Failed

MODES: Final = ("flip", "truncate", "old", "read-error")
RECENT: Final = 3
"""How many fsyncs count as the last ones."""


class Target(NamedTuple):
    """A file that may be damaged, and what was written to it by the last fsyncs, newest last.

    `size`: of what has been fsynced, or of all where `is_synced` is false. `unsynced`: the blocks
    that have been written to since.
    """

    path: str
    key: Key
    size: int
    recent: tuple[Generation, ...]
    unsynced: frozenset[int]
    is_synced: bool


def damage(store: Store, mode: str, pattern: str, seed: str) -> dict[str, Any]:
    """Damage one file whose path matches `pattern` ("" for any). The node must be down.

    Raises BadRequest for an unknown mode, Failed when there is nothing to damage.
    """
    if mode not in MODES:
        raise BadRequest(f"mode is {mode!r}", f"give one of {', '.join(MODES)}")
    random = Random(seed)
    with store.lock:
        found = sorted(targets(store, pattern), key=lambda t: t.path)
        if not found:
            raise Failed(
                f"the node has no file with data that matches {pattern or '*'!r}",
                "give another path, or let the node write something first",
            )
        synced = [target for target in found if target.is_synced]
        target = random.choice(synced or found)
        file = os.open(store.root / target.path, os.O_RDWR)
        try:
            before = _digest(store, target.key, file)
            done = _CARRY_OUT[mode](store, target, file, random)
            after = _digest(store, target.key, file)
        finally:
            os.close(file)
    return {
        "mode": mode,
        "file": target.path,
        "size": target.size,
        "synced": target.is_synced,
        **done,
        "digest": [before, after],
    }


def targets(store: Store, pattern: str) -> Iterator[Target]:
    """The node's files that are not empty and not exempt."""
    root = str(store.root)
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not os.fsencode(f).startswith(HIDDEN)]
        for name in names:
            full = f"{folder}/{name}"
            path = full.removeprefix(root).lstrip("/")
            status = os.lstat(full)
            hidden = os.fsencode(name).startswith(HIDDEN)
            is_file = stat.S_ISREG(status.st_mode)  # a link may lead anywhere
            if hidden or os.fsencode(path) in store.exempt or not is_file:
                continue
            if status.st_size and fnmatch.fnmatch(path, pattern or "*"):
                yield _target(store, path, status)


def _target(store: Store, path: str, status: os.stat_result) -> Target:
    key, size = (status.st_dev, status.st_ino), status.st_size
    file = store.durability.files.get(key)
    if file is None:
        return Target(path, key, size, (), frozenset(), True)
    recent = tuple(file.data.history)[-RECENT:]
    generations = file.data.generations
    unsynced = frozenset(block for one in generations for block in one.written)
    durable = min([size, *(one.size for one in generations)])
    if any(block not in unsynced for block in range(-(-durable // BLOCK))):
        return Target(path, key, durable, recent, unsynced, True)
    return Target(path, key, size, recent, frozenset(), False)


def _digest(store: Store, key: Key, file: int) -> str:
    """Of what the node would read, which has blocks that cannot be read."""
    digest = hashlib.sha256()
    for offset in range(0, os.fstat(file).st_size, BLOCK):
        try:
            digest.update(store.read_of(key, file, offset, BLOCK))
        except OSError as error:
            digest.update(f"{offset}: {error.errno}".encode())
    return digest.hexdigest()[:16]


def _place(target: Target, random: Random) -> int:
    """An offset: among the last writes, or anywhere."""
    blocks = sorted({b for g in target.recent for b in g.written if _may_change(target, b)})
    if blocks and random.randrange(2):
        start = random.choice(blocks) * BLOCK
        return min(start + random.randrange(BLOCK), target.size - 1)
    while not _may_change(target, (offset := random.randrange(target.size)) // BLOCK):
        pass  # there is one: else it is not a target
    return offset


def _may_change(target: Target, block: int) -> bool:
    return block * BLOCK < target.size and block not in target.unsynced


def _flip(store: Store, target: Target, file: int, random: Random) -> dict[str, Any]:
    offset = _place(target, random)
    ends = min(target.size, (offset // BLOCK + 1) * BLOCK)
    length = min(random.choice([1, 8, 512]), ends - offset)
    old = os.pread(file, length, offset)
    new = bytearray(old)
    for _ in range(max(1, length // 8)):
        new[random.randrange(length)] ^= 1 << random.randrange(8)
    if new == old:  # two flips of one bit
        new[0] ^= 1
    write_all(file, bytes(new), offset)
    return {"offset": offset, "length": length}


def _truncate(store: Store, target: Target, file: int, random: Random) -> dict[str, Any]:
    offset = _place(target, random)
    lost = os.fstat(file).st_size - offset
    os.ftruncate(file, offset)
    return {"offset": offset, "lost": lost}


def _old(store: Store, target: Target, file: int, random: Random) -> dict[str, Any]:
    """One block is as if its write before one of the last fsyncs had not happened."""
    choices = [
        (generation, block)
        for generation in target.recent
        for block in sorted(generation.written)
        if _may_change(target, block)
    ]
    if choices:
        generation, block = random.choice(choices)
        old = generation.blocks.get(block, b"")
    else:  # written before the first recorded fsync: its old content is unknown, so zeros
        block, old = _place(target, random) // BLOCK, b""
    length = min(BLOCK, target.size - block * BLOCK)
    write_all(file, old[:length].ljust(length, b"\0"), block * BLOCK)
    return {"offset": block * BLOCK, "length": length}


def _read_error(store: Store, target: Target, file: int, random: Random) -> dict[str, Any]:
    block = _place(target, random) // BLOCK
    bad = Range(block * BLOCK, (block + 1) * BLOCK)
    store.drive.bad.setdefault(target.key, []).append(bad)
    return {"offset": bad.start, "length": BLOCK}


_CARRY_OUT: Final = {
    "flip": _flip,
    "truncate": _truncate,
    "old": _old,
    "read-error": _read_error,
}
