"""Files of a store, without a kernel between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from faults.agent.disk.files import File
from faults.agent.disk.store import Store
from faults.agent.disk.unsynced import NUMBER_BYTES, Generation

OWNER = (os.getuid(), os.getgid())


def bytes_of(generation: Generation) -> int:
    """What it takes in memory."""
    return sum(map(len, generation.blocks.values())) + NUMBER_BYTES * len(generation.written)


def put(store: Store, name: bytes, data: bytes, *, sync: bool = True) -> File:
    """A file of the store, open."""
    try:
        path = store.entries.look_up(store.root_fd, name)
    except FileNotFoundError:
        path = store.entries.create(store.root_fd, name, 0o600, OWNER)
    file = store.open(
        path, exempt=name in store.exempt, ours=store.entries.is_ours(store.root_fd, name)
    )
    os.close(path)
    store.write(file, os.fstat(file.fd).st_size, memoryview(data))
    if sync:
        store.sync(file, store.epoch)
    return file


def is_refused(act: Callable[[], object]) -> bool:
    """Whether there is no space for it."""
    try:
        act()
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False
