"""The store compared with a model of a disk: what a program sees, and what is durable."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from faults.agent import libc
from faults.agent.disk.damage import MODES, damage
from faults.agent.disk.files import File, torn_lengths
from faults.agent.disk.ranges import Range, merged, without
from faults.agent.disk.store import PowerLost, Store
from faults.agent.disk.unsynced import HISTORY_BYTES_MAX, NUMBER_BYTES, Generation
from faults.agent.errors import BadRequest, Failed

NAMES = (b"a", b"b", b"c")
OWNER = (os.getuid(), os.getgid())


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


def bytes_of(generation: Generation) -> int:
    """What it takes in memory."""
    return sum(map(len, generation.blocks.values())) + NUMBER_BYTES * len(generation.written)


TestDisk = Disk.TestCase
TestDisk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, exempt=("evidence",))
    yield made
    made.shut()


def _put(store: Store, name: bytes, data: bytes, *, sync: bool = True) -> File:
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


def test_an_fsync_that_the_cut_interrupts_has_not_happened(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _put(store, b"log", b"one")
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
        file = _put(store, name, bytes(8192))
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
    file = _put(store, b"log", b"a" * 5000)
    store.write(file, 0, memoryview(b"b" * 5000))
    during = lambda _: store.write(file, 0, memoryview(b"c"))  # noqa: E731
    monkeypatch.setattr(os, "fdatasync", during)
    store.sync(file, store.epoch)
    store.power_off()
    assert store.lose("")["torn"] is None, "a write of one byte cannot be torn"
    assert (tmp_path / "log").read_bytes() == b"b" * 5000


def test_an_fsync_covers_what_was_written_when_it_began(store: Store, tmp_path: Path) -> None:
    file = _put(store, b"log", b"one")
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
    file, epoch = _put(store, b"log", b"one", sync=False), store.epoch
    store.power_off()
    with pytest.raises(PowerLost):
        store.sync(file, epoch)


def test_evidence_and_the_probes_files_are_separate(store: Store, tmp_path: Path) -> None:
    _put(store, b"log", b"not this", sync=False)
    _put(store, b"evidence", b"all of it")
    _put(store, b".antipaxos-probe", b"x")
    store.power_off()
    store.lose("")
    assert (tmp_path / "evidence").read_bytes() == b"all of it"
    assert not (tmp_path / "log").exists(), "neither fsync committed the node's creation"


def test_a_full_disk_accepts_what_fits_and_then_nothing(store: Store) -> None:
    file = _put(store, b"log", b"x" * 100)
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


def _refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def test_on_a_full_disk_there_is_space_where_it_was_reserved_and_none_in_holes(
    store: Store,
) -> None:
    """As etcd's log has it, which is preallocated, and a database that is extended by ftruncate."""
    log, database = _put(store, b"log", b""), _put(store, b"database", b"x" * 4096)
    store.allocate(log, 0, 0, 20_000)
    store.truncate(database, 100 * 4096)
    store.drive.left_bytes = 10_000
    assert store.write(log, 0, memoryview(b"l" * 20_000)) == 20_000
    assert store.write(database, 0, memoryview(b"d" * 4096)) == 4096
    assert store.drive.left_bytes == 10_000
    assert _refused(lambda: store.allocate(log, 0, 20_000, 10_001))
    assert _refused(lambda: store.write(database, 8192, memoryview(bytes(10_001)), whole=True))
    assert store.drive.left_bytes == 10_000
    store.allocate(log, 0, 15_000, 9_000)
    assert store.drive.left_bytes == 6_000, "4,000 were not reserved"
    assert store.write(database, 8192, memoryview(b"d" * 8192)) == 6_000
    assert store.drive.left_bytes == 0 and _refused(lambda: store.allocate(log, 1, 24_000, 1))
    assert _refused(lambda: store.write(database, 50 * 4096, memoryview(b"d")))
    assert store.write(log, 20_000, memoryview(b"l" * 5_000)) == 4_000
    store.truncate(log, 22_000)
    assert _refused(lambda: store.write(log, 23_000, memoryview(b"l"))), "given back"
    store.allocate(log, libc.PUNCH_HOLE | 1, 0, 8192)
    assert _refused(lambda: store.write(log, 0, memoryview(b"l")))


def test_a_full_disk_does_not_affect_evidence(store: Store, tmp_path: Path) -> None:
    store.drive.left_bytes = 0
    _put(store, b"evidence", b"all of it")
    assert (tmp_path / "evidence").read_bytes() == b"all of it"


def test_a_cut_gives_back_what_was_reserved_since_the_last_fsync(store: Store) -> None:
    file = _put(store, b"log", b"x")
    store.allocate(file, 0, 0, 10_000)
    store.power_off()
    store.lose("")
    store.drive.left_bytes = 0
    assert _refused(lambda: store.write(file, 5_000, memoryview(b"l")))


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


@pytest.mark.parametrize("mode", MODES)
def test_damage_affects_one_file_that_was_fsynced(store: Store, tmp_path: Path, mode: str) -> None:
    file = _put(store, b"log", b"")
    for number in range(6):
        _put(store, b"log", bytes([65 + number]) * 1500)
    _put(store, b"evidence", b"x" * 100)
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
    file = _put(store, b"log", b"a" * 8192)
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
    log = _put(store, b"log", b"d" * 10_000)
    _put(store, b"never", b"u" * 10_000, sync=False)
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


def test_more_unsynced_data_than_can_be_kept_becomes_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.durability.KEPT_BYTES_MAX", 10_000)
    file = _put(store, b"log", b"a" * 40_960)
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
    file = _put(store, b"log", b"a" * 50_000)
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
    file = _put(store, b"db", b"x" * 4096)
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
    file = _put(store, b"log", b"")
    for _ in range(20):
        store.write(file, 0, memoryview(b"x" * 200_000))
        store.sync(file, store.epoch)
    kept = [bytes_of(generation) for generation in file.data.history]
    assert len(kept) == 2 and sum(kept) <= HISTORY_BYTES_MAX


def test_removed_files_keep_only_so_much_space(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.agent.disk.entries.TRASH_BYTES_MAX", 100_000)
    for number in range(100):
        name = b"%d" % number
        store.close(_put(store, name, b"x" * 10_000, sync=False))
        store.entries.link(
            path := store.entries.look_up(store.root_fd, name), store.root_fd, b"other"
        )
        os.close(path)
        store.entries.remove(store.root_fd, name, folder=False)
        store.entries.remove(store.root_fd, b"other", folder=False)
        assert len(list((tmp_path / ".antipaxos-trash").iterdir())) <= 2 * 9
    assert store.durability.written_back >= 10
    store.close(_put(store, b"a", b"x" * 10_000))
    store.entries.remove(store.root_fd, b"a", folder=False)
    store.power_off()
    store.lose("")
    assert (tmp_path / "a").exists()


def test_a_rename_is_atomic_also_where_too_many_changes_become_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes_max in range(12):
        store.close(_put(store, b"current", b"x"))
        monkeypatch.setattr("faults.agent.disk.entries.JOURNAL_MAX", changes_max)
        for _ in range(3):
            store.close(_put(store, b"new", b"x", sync=False))
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


def test_replaced_files_are_forgotten(store: Store) -> None:
    """As snapshots are: written, fsynced, and renamed over the previous one."""
    for _ in range(20):
        file = _put(store, b"snapshot.new", b"x" * 10_000)
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
        store.close(_put(store, b"%d" % number, b"x", sync=False))
    assert len(store.durability.files) == 20
    monkeypatch.setattr("faults.agent.disk.entries.JOURNAL_MAX", 20)
    store.close(_put(store, b"20", b"x", sync=False))
    assert len(store.durability.files) == 1, "what was written to the last one"
    store.sync(next(iter(store.durability.files.values())), store.epoch)
    store.close(_put(store, b"new", b"x", sync=False))
    store.entries.rename(store.root_fd, b"new", store.root_fd, b"0", replace=True)
    store.sync(None, store.epoch)
    assert not store.durability.files


def test_a_file_is_reported_by_a_name_that_it_has(store: Store) -> None:
    file = _put(store, b"log", b"one")
    path = store.entries.look_up(store.root_fd, b"log")
    os.close(store.entries.link(path, store.root_fd, b"other"))
    os.close(path)
    store.entries.remove(store.root_fd, b"log", folder=False)
    store.sync(None, store.epoch)
    store.write(file, 3, memoryview(b"two"))
    store.power_off()
    lost = store.lose("")
    assert list(lost["files"]) == ["other"] and lost["torn"]["file"] == "other"


def test_the_report_of_a_cut_is_bounded(store: Store) -> None:
    for number in range(60):
        store.close(_put(store, b"%d" % number, b"x", sync=False))
    store.power_off()
    lost = store.lose("")
    assert (len(lost["files"]), lost["files_count"]) == (50, 60)
    assert (len(lost["entries"]), lost["entries_count"]) == (50, 60)


def test_damage_goes_with_the_file(store: Store, tmp_path: Path) -> None:
    file = _put(store, b"log", b"x" * 10_000)
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


def test_what_is_kept_of_the_past_does_not_hold_the_data_written(store: Store) -> None:
    file = _put(store, b"log", b"")
    for _ in range(20):
        store.write(file, 0, memoryview(b"x" * 50_000))
        store.sync(file, store.epoch)
    assert all(generation.first is None for generation in file.data.history)
