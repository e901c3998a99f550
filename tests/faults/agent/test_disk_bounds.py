"""What the store keeps is bounded: memory, descriptors, space, and the report of a cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.agent import libc
from faults.agent.disk.store import Store
from faults.agent.disk.unsynced import HISTORY_BYTES_MAX
from tests.faults.agent.stores import OWNER, bytes_of, put


def test_more_unsynced_data_than_can_be_kept_becomes_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.durability.KEPT_BYTES_MAX", 10_000)
    file = put(store, b"log", b"a" * 40_960)
    for block in range(10):
        store.write(file, block * 4096, memoryview(b"b" * 4096))
    assert store.durability.written_back == 3
    store.power_off()
    assert store.lose("")["written_back"] == 3
    assert (tmp_path / "log").read_bytes().count(b"b") >= 9 * 4096


def test_a_truncation_of_more_than_can_be_kept_is_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.durability.KEPT_BYTES_MAX", 10_000)
    file = put(store, b"log", b"a" * 50_000)
    store.truncate(file, 45_000)
    before = store.durability.written_back
    assert store.durability.kept_bytes > 0
    store.truncate(file, 20_000)
    store.allocate(file, libc.PUNCH_HOLE | 1, 0, 12_000)
    assert store.durability.kept_bytes == 0 and store.durability.written_back - before == 2
    store.write(file, 0, memoryview(b"b"))
    store.power_off()
    store.lose("")
    assert (tmp_path / "log").read_bytes() == bytes(12_000) + b"a" * 8_000


def test_holes_are_not_kept(store: Store, tmp_path: Path) -> None:
    """LMDB has a file of many gigabytes, almost all of which is a hole."""
    file = put(store, b"db", b"x" * 4096)
    store.truncate(file, 1 << 40)
    store.write(file, 1 << 39, memoryview(b"x" * 4096))
    store.sync(file, store.epoch)
    store.truncate(file, 100)
    store.allocate(file, 0, 0, 1 << 20)
    assert store.durability.kept_bytes < 10_000
    store.write(file, 1 << 19, memoryview(b"y"))
    store.power_off()
    store.lose("")
    with (tmp_path / "db").open("rb") as db:
        assert db.read(8192) == b"x" * 4096 + bytes(4096)
        assert os.pread(db.fileno(), 4096, 1 << 19) == bytes(4096)
        assert os.pread(db.fileno(), 8192, 1 << 39) == b"x" * 4096 + bytes(4096)
        assert os.fstat(db.fileno()).st_size == 1 << 40
        assert os.fstat(db.fileno()).st_blocks * 512 < 2 << 20


def test_what_is_kept_of_the_past_is_bounded(store: Store) -> None:
    file = put(store, b"log", b"")
    for _ in range(20):
        store.write(file, 0, memoryview(b"x" * 200_000))
        store.sync(file, store.epoch)
    kept = [bytes_of(generation) for generation in file.data.history]
    assert len(kept) == 2 and sum(kept) <= HISTORY_BYTES_MAX


def test_what_is_kept_of_the_past_does_not_hold_the_data_written(store: Store) -> None:
    file = put(store, b"log", b"")
    for _ in range(20):
        store.write(file, 0, memoryview(b"x" * 50_000))
        store.sync(file, store.epoch)
    assert all(generation.first is None for generation in file.data.history)


def test_removed_files_keep_only_so_much_space(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.entries.TRASH_BYTES_MAX", 100_000)
    for number in range(100):
        name = b"%d" % number
        store.close(put(store, name, b"x" * 10_000, sync=False))
        store.entries.link(
            path := store.entries.look_up(store.root_fd, name), store.root_fd, b"other"
        )
        os.close(path)
        store.entries.remove(store.root_fd, name, folder=False)
        store.entries.remove(store.root_fd, b"other", folder=False)
        assert len(list((tmp_path / ".antipaxos-trash").iterdir())) <= 2 * 9
    assert store.durability.written_back >= 10
    store.close(put(store, b"a", b"x" * 10_000))
    store.entries.remove(store.root_fd, b"a", folder=False)
    store.power_off()
    store.lose("")
    assert (tmp_path / "a").exists()


def test_a_rename_is_atomic_also_where_too_many_changes_become_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes_max in range(12):
        store.close(put(store, b"current", b"x"))
        monkeypatch.setattr("faults.agent.disk.entries.JOURNAL_MAX", changes_max)
        for _ in range(3):
            store.close(put(store, b"new", b"x", sync=False))
            store.entries.rename(store.root_fd, b"new", store.root_fd, b"current", replace=True)
        monkeypatch.undo()
        store.power_off()
        store.lose("")
        assert (tmp_path / "current").exists(), "the old one or the new one"


def test_unsynced_changes_of_one_directory_share_a_descriptor(store: Store) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = descriptors()
    for number in range(100):
        os.close(store.entries.create(store.root_fd, b"%d" % number, 0o600, OWNER))
        store.entries.rename(store.root_fd, b"%d" % number, store.root_fd, b"a", replace=True)
    store.entries.remove(store.root_fd, b"a", folder=False)
    assert descriptors() == before + 1
    store.power_off()
    store.lose("")
    assert descriptors() == before


def test_replaced_files_are_forgotten(store: Store) -> None:
    """As snapshots are: written, fsynced, and renamed over the previous one."""
    for _ in range(20):
        file = put(store, b"snapshot.new", b"x" * 10_000)
        store.entries.rename(
            store.root_fd, b"snapshot.new", store.root_fd, b"snapshot", replace=True
        )
        store.sync(None, store.epoch)
        while file.opens:
            store.close(file)
    assert len(store.durability.files) == 1, "the one that is there: its history is kept for damage"


def test_files_that_became_durable_without_being_opened_are_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.durability.FILES_MAX", 0)
    for number in range(20):
        store.close(put(store, b"%d" % number, b"x", sync=False))
    assert len(store.durability.files) == 20
    monkeypatch.setattr("faults.agent.disk.entries.JOURNAL_MAX", 20)
    store.close(put(store, b"20", b"x", sync=False))
    assert len(store.durability.files) == 1, "what was written to the last one"
    store.sync(next(iter(store.durability.files.values())), store.epoch)
    store.close(put(store, b"new", b"x", sync=False))
    store.entries.rename(store.root_fd, b"new", store.root_fd, b"0", replace=True)
    store.sync(None, store.epoch)
    assert not store.durability.files


def test_the_report_of_a_cut_is_bounded(store: Store) -> None:
    for number in range(60):
        store.close(put(store, b"%d" % number, b"x", sync=False))
    store.power_off()
    lost = store.lose("")
    assert (len(lost["files"]), lost["files_count"]) == (50, 60)
    assert (len(lost["entries"]), lost["entries_count"]) == (50, 60)
