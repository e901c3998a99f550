"""Damage of files of the store: where, and what a program reads then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.agent.disk.damage import MODES, damage
from faults.agent.disk.store import Store
from faults.agent.errors import BadRequest, Failed
from tests.faults.agent.stores import OWNER, put


@pytest.mark.parametrize("mode", MODES)
def test_damage_affects_one_file_that_was_fsynced(store: Store, tmp_path: Path, mode: str) -> None:
    file = put(store, b"log", b"")
    for number in range(6):
        put(store, b"log", bytes([65 + number]) * 1500)
    put(store, b"evidence", b"x" * 100)
    before = (tmp_path / "log").read_bytes()
    places = set()
    for seed in range(20):
        done = damage(store, mode, "", str(seed))
        after = (tmp_path / "log").read_bytes()
        places.add(done.get("offset"))
        assert done["file"] == "log" and done["mode"] == mode
        if mode == "read-error":
            with pytest.raises(OSError):
                store.read(file, done["offset"], 10)
            store.write(file, done["offset"], memoryview(b"n" * 4096))
            store.read(file, done["offset"], 10)
            damage(store, mode, "", str(seed))
            store.truncate(file, 0)
            store.truncate(file, len(before))
            assert store.read(file, 0, len(before)) == bytes(len(before)), "others are used"
        elif mode == "truncate":
            assert before.startswith(after) and len(after) < len(before)
        else:
            assert len(after) == len(before)
        assert after == before or mode != "read-error", "the file itself has not changed"
        assert (done["digest"][0] != done["digest"][1]) == (after != before or mode == "read-error")
        (tmp_path / "log").write_bytes(before)
    assert len(places) >= 2
    assert (tmp_path / "evidence").read_bytes() == b"x" * 100


def test_an_old_block_has_its_previous_content(store: Store, tmp_path: Path) -> None:
    file = put(store, b"log", b"a" * 8192)
    store.write(file, 4096, memoryview(b"b" * 4096))
    store.sync(file, store.epoch)
    seen = set()
    for seed in range(20):
        damage(store, "old", "log", str(seed))
        seen.add((tmp_path / "log").read_bytes())
        (tmp_path / "log").write_bytes(b"a" * 4096 + b"b" * 4096)
    assert b"a" * 8192 in seen, "the second write of the second block never happened"
    assert b"\0" * 4096 + b"b" * 4096 in seen, "the first block was never written"


@pytest.mark.parametrize("mode", MODES)
def test_damage_is_where_the_file_had_been_fsynced(store: Store, tmp_path: Path, mode: str) -> None:
    """Nobody relies on anything else, and damage to it would prove nothing."""
    log = put(store, b"log", b"d" * 10_000)
    put(store, b"never", b"u" * 10_000, sync=False)
    store.write(log, 4096, memoryview(b"u" * 4096))
    store.write(log, 9_000, memoryview(b"u" * 50_000))
    before = (tmp_path / "log").read_bytes()
    for seed in range(40):
        done = damage(store, mode, "", str(seed))
        after = (tmp_path / "log").read_bytes()
        assert done["file"] == "log" and done["synced"]
        if mode == "truncate":
            assert len(after) < 4096
        elif mode == "read-error":
            assert done["offset"] == 0
        else:
            assert after[:4096] != before[:4096] and after[4096:] == before[4096:]
        (tmp_path / "log").write_bytes(before)
    assert not damage(store, mode, "never", "1")["synced"], "where nothing ever was"


def test_damage_does_not_follow_links(store: Store, tmp_path: Path) -> None:
    """They would lead to files of the agent's container."""
    os.close(store.entries.make_symlink(store.root_fd, b"link", b"/etc/hostname", OWNER))
    with pytest.raises(Failed, match="no file"):
        damage(store, "read-error", "", "1")


def test_damage_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(Failed, match="no file"):
        damage(store, "flip", "", "1")
    with pytest.raises(BadRequest, match="mode"):
        damage(store, "melt", "", "1")


def test_damage_goes_with_the_file(store: Store, tmp_path: Path) -> None:
    file = put(store, b"log", b"x" * 10_000)
    damage(store, "read-error", "log", "1")
    while file.opens:
        store.close(file)
    store.durability.files.clear()  # as when more files than are kept have been used since
    assert store.drive.bad
    store.entries.link(
        path := store.entries.look_up(store.root_fd, b"log"), store.root_fd, b"other"
    )
    os.close(path)
    store.entries.remove(store.root_fd, b"log", folder=False)
    store.sync(None, store.epoch)
    assert store.drive.bad, "it is still there by another name"
    store.entries.remove(store.root_fd, b"other", folder=False)
    store.sync(None, store.epoch)
    assert not store.drive.bad
