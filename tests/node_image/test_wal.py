"""The log on disk: nothing synced is lost, a torn tail is cut off, corruption is detected."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.server.log_format import HEADER
from node_image.server.wal import MAGIC, CorruptLog, WriteAheadLog, scan


class Disk:
    """A log whose syncs a test can wait for."""

    def __init__(self, directory: Path) -> None:
        self.log = WriteAheadLog(directory)
        self.done = threading.Condition()
        self.synced = 0
        self.errors: list[OSError] = []
        self.log.start(self._on_synced, self._on_error)

    def _on_synced(self, count: int) -> None:
        with self.done:
            self.synced += count
            self.done.notify_all()

    def _on_error(self, error: OSError) -> None:
        with self.done:
            self.errors.append(error)
            self.done.notify_all()

    def group(self, *payloads: bytes) -> None:
        """Write one group and wait until it is on the disk."""
        target = self.synced + len(payloads)
        for payload in payloads:
            self.log.append(payload)
        self._await(target)

    def checkpoint(self, *payloads: bytes) -> None:
        target = self.synced + 1
        self.log.replace(list(payloads))
        self._await(target)

    def _await(self, target: int) -> None:
        self.log.commit()
        with self.done:
            assert self.done.wait_for(lambda: self.synced >= target or self.errors, timeout=30)
        self.log.synced()


def written(directory: Path, *groups: tuple[bytes, ...]) -> bytes:
    """The file that these groups make."""
    disk = Disk(directory)
    for group in groups:
        disk.group(*group)
    disk.log.close()
    return (directory / "wal").read_bytes()


def recovered(directory: Path) -> list[bytes]:
    """The records recovered from this directory."""
    log = WriteAheadLog(directory)
    log.close()
    return log.recovered.payloads


GROUPS = ((b"one", b"two"), (b"three",), (b"four", b"five", b"six"))
ALL = [payload for group in GROUPS for payload in group]


def test_what_was_written_is_recovered(tmp_path: Path) -> None:
    data = written(tmp_path, *GROUPS)
    assert scan(data).payloads == ALL
    assert scan(data).torn == 0
    assert recovered(tmp_path) == ALL


def test_a_new_directory_holds_nothing(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "deep" / "er")
    assert log.recovered.payloads == []
    assert log.path.read_bytes() == MAGIC
    log.close()


def test_a_truncated_log_is_a_prefix_and_can_be_continued(tmp_path: Path) -> None:
    data = written(tmp_path / "whole", *GROUPS)
    ends = [scan(data[:length]).end for length in range(len(data) + 1)]
    for length in range(len(data) + 1):
        found = scan(data[:length])
        assert found.payloads == ALL[: len(found.payloads)]
        assert found.end + found.torn == length
    assert ends == sorted(ends), "a longer file never holds less"
    for length in (3, len(data) - 1, len(data) - 30):
        directory = tmp_path / str(length)
        directory.mkdir()
        (directory / "wal").write_bytes(data[:length])
        disk = Disk(directory)
        before = disk.log.recovered.payloads
        disk.group(b"new")
        disk.log.close()
        assert recovered(directory) == [*before, b"new"]


@settings(deadline=None)
@given(data=st.data())
def test_a_changed_byte_in_a_synced_group_is_detected(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = _whole(tmp_path_factory)
    last_group = whole.index(b"four") - HEADER.size
    where = data.draw(st.integers(0, last_group - 1))
    change = data.draw(st.integers(1, 255))
    damaged = bytearray(whole)
    damaged[where] ^= change
    with pytest.raises(CorruptLog):
        scan(bytes(damaged))


@settings(deadline=None)
@given(data=st.data())
def test_a_changed_byte_in_the_last_group_loses_that_group_at_most(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = _whole(tmp_path_factory)
    last_group = whole.index(b"four") - HEADER.size
    where = data.draw(st.integers(last_group, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[where] ^= data.draw(st.integers(1, 255))
    found = scan(bytes(damaged))
    assert found.payloads == ALL[: len(found.payloads)]
    assert len(found.payloads) >= 3
    assert found.torn > 0


_cache: list[bytes] = []


def _whole(factory: pytest.TempPathFactory) -> bytes:
    if not _cache:
        _cache.append(written(factory.mktemp("wal"), *GROUPS))
    return _cache[0]


def test_damage_names_the_byte_and_the_remedy(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path, *GROUPS))
    data[data.index(b"one")] ^= 1
    (tmp_path / "wal").write_bytes(data)
    with pytest.raises(CorruptLog, match=r"at byte 8 is damaged.*Remove the node's data only"):
        WriteAheadLog(tmp_path)


def test_a_file_that_is_not_a_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wal").write_bytes(b"something else entirely")
    with pytest.raises(CorruptLog, match="not a log"):
        WriteAheadLog(tmp_path)


def test_a_checkpoint_replaces_everything_before_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.group(b"old", b"older")
    disk.log.append(b"never needed")
    disk.log.replace([b"snapshot", b"open"])
    disk.log.append(b"after")
    disk._await(5)
    disk.log.close()
    assert recovered(tmp_path) == [b"snapshot", b"open", b"after"]
    assert not (tmp_path / "wal.new").exists()


def test_an_unfinished_checkpoint_is_ignored(tmp_path: Path) -> None:
    written(tmp_path, *GROUPS)
    (tmp_path / "wal.new").write_bytes(MAGIC + b"half a check")
    assert recovered(tmp_path) == ALL
    assert not (tmp_path / "wal.new").exists()


def test_a_damaged_checkpoint_is_corrupt_not_torn(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.checkpoint(b"snapshot", b"promise")
    disk.log.close()
    data = bytearray((tmp_path / "wal").read_bytes())
    for record in (b"snapshot", b"promise"):
        damaged = bytearray(data)
        damaged[damaged.index(record)] ^= 1
        with pytest.raises(CorruptLog):
            scan(bytes(damaged))


def test_waiting_records_share_one_sync(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    before = disk.log.syncs
    disk.group(*[b"%d" % i for i in range(50)])
    assert disk.log.syncs == before + 1
    disk.log.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_failing_disk_is_reported_once_and_nothing_counts_as_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    disk = Disk(tmp_path)
    disk.group(b"good")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    disk.group(b"bad")
    assert [error.errno for error in disk.errors] == [28]
    assert disk.synced == 1


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:5], at))
    assert scan(written(tmp_path, *GROUPS)).payloads == ALL


def test_two_nodes_do_not_share_one_directory(tmp_path: Path) -> None:
    first = WriteAheadLog(tmp_path)
    with pytest.raises(OSError, match="another node"):
        WriteAheadLog(tmp_path)
    first.close()
    WriteAheadLog(tmp_path).close()
