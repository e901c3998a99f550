"""The store on a full disk: what needs space, and what does not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from faults.agent import libc
from faults.agent.disk.ranges import Range, merged, without
from faults.agent.disk.store import Store
from tests.faults.agent.stores import OWNER, is_refused, put


def test_a_full_disk_accepts_what_fits_and_then_nothing(store: Store) -> None:
    file = put(store, b"log", b"x" * 100)
    store.drive.left_bytes = 30
    assert store.write(file, 90, memoryview(b"y" * 60)) == 40, "10 that are there, 30 that fit"
    for act in (
        lambda: store.write(file, 130, memoryview(b"z")),
        lambda: store.entries.create(store.root_fd, b"new", 0o600, OWNER),
        lambda: store.entries.make_directory(store.root_fd, b"dir", 0o700, OWNER),
    ):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.ENOSPC
    assert store.write(file, 0, memoryview(b"over")) == 4, "what is there can be overwritten"


def test_on_a_full_disk_there_is_space_where_it_was_reserved_and_none_in_holes(
    store: Store,
) -> None:
    """As etcd's log has it, which is preallocated, and a database that is extended by ftruncate."""
    log, database = put(store, b"log", b""), put(store, b"database", b"x" * 4096)
    store.allocate(log, 0, 0, 20_000)
    store.truncate(database, 100 * 4096)
    store.drive.left_bytes = 10_000
    assert store.write(log, 0, memoryview(b"l" * 20_000)) == 20_000
    assert store.write(database, 0, memoryview(b"d" * 4096)) == 4096
    assert store.drive.left_bytes == 10_000
    assert is_refused(lambda: store.allocate(log, 0, 20_000, 10_001))
    assert is_refused(lambda: store.write(database, 8192, memoryview(bytes(10_001)), whole=True))
    assert store.drive.left_bytes == 10_000
    store.allocate(log, 0, 15_000, 9_000)
    assert store.drive.left_bytes == 6_000, "4,000 were not reserved"
    assert store.write(database, 8192, memoryview(b"d" * 8192)) == 6_000
    assert store.drive.left_bytes == 0 and is_refused(lambda: store.allocate(log, 1, 24_000, 1))
    assert is_refused(lambda: store.write(database, 50 * 4096, memoryview(b"d")))
    assert store.write(log, 20_000, memoryview(b"l" * 5_000)) == 4_000
    store.truncate(log, 22_000)
    assert is_refused(lambda: store.write(log, 23_000, memoryview(b"l"))), "given back"
    store.allocate(log, libc.PUNCH_HOLE | 1, 0, 8192)
    assert is_refused(lambda: store.write(log, 0, memoryview(b"l")))


def test_a_full_disk_does_not_affect_evidence(store: Store, tmp_path: Path) -> None:
    store.drive.left_bytes = 0
    put(store, b"evidence", b"all of it")
    assert (tmp_path / "evidence").read_bytes() == b"all of it"


def test_a_cut_gives_back_what_was_reserved_since_the_last_fsync(store: Store) -> None:
    file = put(store, b"log", b"x")
    store.allocate(file, 0, 0, 10_000)
    store.power_off()
    store.lose("")
    store.drive.left_bytes = 0
    assert is_refused(lambda: store.write(file, 5_000, memoryview(b"l")))


@pytest.mark.parametrize(
    ("ranges", "left", "all_of_it"),
    [
        ([], [], [(10, 20)]),
        ([(0, 10), (20, 30)], [(0, 10), (20, 30)], [(0, 30)]),
        ([(0, 12), (18, 30)], [(0, 10), (20, 30)], [(0, 30)]),
        ([(0, 30)], [(0, 10), (20, 30)], [(0, 30)]),
        ([(12, 18)], [], [(10, 20)]),
        ([(0, 5), (25, 30)], [(0, 5), (25, 30)], [(0, 5), (10, 20), (25, 30)]),
    ],
)
def test_ranges(
    ranges: list[tuple[int, int]], left: list[tuple[int, int]], all_of_it: list[tuple[int, int]]
) -> None:
    given = [Range(*one) for one in ranges]
    assert without(given, 10, 20) == left and merged(given, 10, 20) == all_of_it
