"""The store compared with a model of a disk: what a program sees, and what is durable."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from faults.agent import libc
from faults.agent.disk.files import File, torn_lengths
from faults.agent.disk.store import PowerLost, Store
from tests.faults.agent.stores import OWNER, bytes_of, put

NAMES = (b"a", b"b", b"c")


class Content:
    """A file of the model: what a program sees, and what is durable."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = b""
        self.unsynced: list[tuple[int, bytes]] = []
        """The writes since then."""


class Disk(RuleBasedStateMachine):
    """Any program in one directory. Every cut must leave exactly what is durable in the model,
    except for a prefix of one write."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self._folder.name))
        self.seen: dict[bytes, Content] = {}
        self.durable: dict[bytes, Content] = {}
        self._with_data: list[tuple[Content, bytes, int]] = []
        """Renames over an existing file that are not durable: the new file, its content at that
        time, and how many of its writes were unsynced."""

    def teardown(self) -> None:
        self.store.shut()
        self._folder.cleanup()

    @property
    def root(self) -> int:
        return self.store.root_fd

    def _opened(self, name: bytes) -> File:
        path = self.store.entries.look_up(self.root, name)
        try:
            return self.store.open(path, exempt=False, ours=False)
        finally:
            os.close(path)

    def _commit(self) -> None:
        """Commit the journal: files that replaced others by a rename have their data on the
        disk."""
        self.durable = dict(self.seen)
        latest = {id(content): (content, data, writes) for content, data, writes in self._with_data}
        for content, data, writes in latest.values():
            content.durable = data
            del content.unsynced[:writes]
        self._with_data.clear()

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: bytes) -> None:
        if name in self.seen:
            with pytest.raises(FileExistsError):
                self.store.entries.create(self.root, name, 0o600, OWNER)
            return
        os.close(self.store.entries.create(self.root, name, 0o600, OWNER))
        self.seen[name] = Content()

    @rule(
        name=st.sampled_from(NAMES),
        offset=st.integers(0, 9000),
        length=st.integers(1, 6000),
        byte=st.integers(1, 255),
    )
    def write(self, name: bytes, offset: int, length: int, byte: int) -> None:
        if name not in self.seen:
            return
        content, data = self.seen[name], bytes([byte]) * length
        file = self._opened(name)
        self.store.write(file, offset, memoryview(data))
        self.store.close(file)
        content.unsynced.append((offset, data))
        content.seen.extend(b"\0" * (offset - len(content.seen)))
        content.seen[offset : offset + length] = data

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 12000))
    def truncate(self, name: bytes, size: int) -> None:
        if name not in self.seen:
            return
        file = self._opened(name)
        self.store.truncate(file, size)
        self.store.close(file)
        seen = self.seen[name].seen
        seen.extend(b"\0" * (size - len(seen)))
        del seen[size:]

    @rule(
        name=st.sampled_from(NAMES),
        mode=st.sampled_from((0x00, 0x01, 0x03, 0x10, 0x11)),
        offset=st.integers(0, 9000),
        length=st.integers(1, 9000),
    )
    def allocate(self, name: bytes, mode: int, offset: int, length: int) -> None:
        """And punch a hole, or zero a range."""
        if name not in self.seen:
            return
        file = self._opened(name)
        self.store.allocate(file, mode, offset, length)
        self.store.close(file)
        seen, end = self.seen[name].seen, offset + length
        if not mode & 0x01:
            seen.extend(b"\0" * (end - len(seen)))
        if mode & (libc.PUNCH_HOLE | libc.ZERO_RANGE):
            count = max(0, min(end, len(seen)) - offset)
            seen[offset : offset + count] = bytes(count)

    @rule(name=st.sampled_from(NAMES))
    def fsync(self, name: bytes) -> None:
        if name not in self.seen:
            return
        file = self._opened(name)
        self.store.sync(file, self.store.epoch)
        self.store.close(file)
        content = self.seen[name]
        self._commit()
        content.durable, content.unsynced = bytes(content.seen), []

    @rule()
    def fsync_directory(self) -> None:
        self.store.sync(None, self.store.epoch)
        self._commit()

    @rule(name=st.sampled_from(NAMES))
    def unlink(self, name: bytes) -> None:
        if name not in self.seen:
            with pytest.raises(FileNotFoundError):
                self.store.entries.remove(self.root, name, folder=False)
            return
        self.store.entries.remove(self.root, name, folder=False)
        del self.seen[name]

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, old: bytes, new: bytes) -> None:
        if old not in self.seen or old == new:
            return
        replaces = new in self.seen
        self.store.entries.rename(self.root, old, self.root, new, replace=True)
        content = self.seen[new] = self.seen.pop(old)
        if replaces:
            self._with_data.append((content, bytes(content.seen), len(content.unsynced)))

    @rule(seed=st.integers(0, 1000))
    def cut(self, seed: int) -> None:
        self.store.power_off()
        torn = self.store.lose(str(seed))["torn"]
        self.seen = dict(self.durable)
        self._with_data.clear()
        for content in self.seen.values():
            content.seen = bytearray(content.durable)
        if torn is not None:
            content = self.seen[torn["file"].encode()]
            offset, data = content.unsynced[0]
            assert torn["offset"] == offset and 0 < torn["kept"] < torn["of"] == len(data)
            end = offset + torn["kept"]
            assert end % 512 == 0 or end > len(content.durable)
            content.seen[offset : offset + torn["kept"]] = data[: torn["kept"]]
        for content in self.seen.values():
            content.durable, content.unsynced = bytes(content.seen), []

    @invariant()
    def a_program_sees_what_it_wrote(self) -> None:
        listing = [name for name, _, _ in self.store.entries.listing(self.root)]
        assert sorted(listing) == sorted(self.seen)
        for name, content in self.seen.items():
            path = Path(self._folder.name) / os.fsdecode(name)
            assert path.read_bytes() == bytes(content.seen)

    @invariant()
    def what_would_be_lost_is_bounded(self) -> None:
        files = self.store.durability.files.values()
        kept = sum(bytes_of(one) for file in files for one in file.data.generations)
        assert self.store.durability.kept_bytes == kept


TestDisk = Disk.TestCase
TestDisk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_an_fsync_that_the_cut_interrupts_has_not_happened(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(store, b"log", b"one")
    store.write(file, 3, memoryview(b"two"))
    monkeypatch.setattr(os, "fdatasync", lambda _: store.power_off())
    with pytest.raises(PowerLost):
        store.sync(file, store.epoch)
    torn = store.lose("")["torn"]
    assert (tmp_path / "log").read_bytes() == b"onetwo"[: 3 + torn["kept"]]


def test_a_write_that_replaces_durable_bytes_remains_in_whole_sectors(
    store: Store, tmp_path: Path
) -> None:
    """As in etcd's log, which is preallocated: a record that ends amid a sector is not torn for
    it, but damaged."""
    kept = set()
    for seed in range(20):
        name = b"log%d" % seed
        file = put(store, name, bytes(8192))
        store.write(file, 500, memoryview(b"x" * 3000))
        store.power_off()
        torn = store.lose(str(seed))["torn"]
        kept.add(torn["kept"])
        content = (tmp_path / os.fsdecode(name)).read_bytes()
        assert content == bytes(500) + b"x" * torn["kept"] + bytes(7692 - torn["kept"])
    assert len(kept) > 3 and all((500 + length) % 512 == 0 for length in kept)


@pytest.mark.parametrize(
    ("offset", "length", "size", "lengths"),
    [
        (0, 512, 8192, []),
        (0, 513, 8192, [512]),
        (100, 300, 8192, []),
        (1000, 1100, 8192, [24, 536, 1048]),
        (510, 4, 8192, [2]),
        (508, 4, 8192, []),
        (3, 4, 3, [1, 2, 3]),
        (510, 6, 514, [2, 5]),
        (510, 6, 512, [2, 3, 4, 5]),
        (0, 2, 0, [1]),
        (0, 1, 0, []),
    ],
)
def test_what_may_remain_of_a_torn_write(
    offset: int, length: int, size: int, lengths: list[int]
) -> None:
    assert torn_lengths(offset, length, size) == lengths


def test_an_fsync_does_not_cover_writes_that_begin_during_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(store, b"log", b"a" * 5000)
    store.write(file, 0, memoryview(b"b" * 5000))
    during = lambda _: store.write(file, 0, memoryview(b"c"))  # noqa: E731
    monkeypatch.setattr(os, "fdatasync", during)
    store.sync(file, store.epoch)
    store.power_off()
    assert store.lose("")["torn"] is None, "a write of one byte cannot be torn"
    assert (tmp_path / "log").read_bytes() == b"b" * 5000


def test_an_fsync_covers_what_was_written_when_it_began(store: Store, tmp_path: Path) -> None:
    file = put(store, b"log", b"one")
    store.write(file, 3, memoryview(b"2"))
    sync = store.begin_sync(file, store.epoch)
    store.write(file, 4, memoryview(b"3"))
    os.close(store.entries.create(store.root_fd, b"later", 0o600, OWNER))
    store.finish_sync(sync)
    store.power_off()
    store.lose("")
    assert (tmp_path / "log").read_bytes() == b"one2"
    assert not (tmp_path / "later").exists()


def test_after_the_cut_no_fsync_from_before_succeeds(store: Store) -> None:
    file, epoch = put(store, b"log", b"one", sync=False), store.epoch
    store.power_off()
    with pytest.raises(PowerLost):
        store.sync(file, epoch)


def test_evidence_and_the_probes_files_are_separate(store: Store, tmp_path: Path) -> None:
    put(store, b"log", b"not this", sync=False)
    put(store, b"evidence", b"all of it")
    put(store, b".antipaxos-probe", b"x")
    store.power_off()
    store.lose("")
    assert (tmp_path / "evidence").read_bytes() == b"all of it"
    assert not (tmp_path / "log").exists(), "neither fsync committed the node's creation"


def test_directories_are_restored_completely(store: Store, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_bytes(b"kept")
    old = store.entries.look_up(store.root_fd, b"old")
    store.entries.remove(old, b"file", folder=False)
    os.close(old)
    store.entries.remove(store.root_fd, b"old", folder=True)
    made = store.entries.make_directory(store.root_fd, b"old", 0o700, OWNER)
    os.close(store.entries.create(made, b"other", 0o600, OWNER))
    os.close(made)
    assert os.listdir(tmp_path / "old") == ["other"]  # noqa: PTH208
    store.power_off()
    assert store.lose("")["entries_count"] == 4
    assert (tmp_path / "old" / "file").read_bytes() == b"kept"
    assert not (tmp_path / "old" / "other").exists()


def test_sockets_and_pipes_are_undone_as_other_entries_are(store: Store, tmp_path: Path) -> None:
    """One that remained would keep its directory from being undone, and with it all before."""
    (tmp_path / "old").mkdir()
    store.entries.remove(store.root_fd, b"old", folder=True)
    os.close(store.entries.make_special(store.root_fd, b"old", stat.S_IFIFO | 0o600, 0, OWNER))
    made = store.entries.make_directory(store.root_fd, b"run", 0o700, OWNER)
    os.close(store.entries.make_special(made, b"socket", stat.S_IFSOCK | 0o600, 0, OWNER))
    store.power_off()
    assert store.lose("")["entries_count"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == [".antipaxos-trash", "old"]
    assert (tmp_path / "old").is_dir()
    os.close(store.entries.make_special(store.root_fd, b"socket", stat.S_IFSOCK | 0o600, 0, OWNER))
    store.sync(None, store.epoch)
    store.power_off()
    store.lose("")
    assert (tmp_path / "socket").is_socket()
    os.close(made)


def test_a_file_is_reported_by_a_name_that_it_has(store: Store) -> None:
    file = put(store, b"log", b"one")
    path = store.entries.look_up(store.root_fd, b"log")
    os.close(store.entries.link(path, store.root_fd, b"other"))
    os.close(path)
    store.entries.remove(store.root_fd, b"log", folder=False)
    store.sync(None, store.epoch)
    store.write(file, 3, memoryview(b"two"))
    store.power_off()
    lost = store.lose("")
    assert list(lost["files"]) == ["other"] and lost["torn"]["file"] == "other"
