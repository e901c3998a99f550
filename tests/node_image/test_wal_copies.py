"""Two copies of the log in two files: damage of one of them loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.agent.disk.damage import MODES, damage
from faults.agent.disk.store import Store
from node_image.mutants import protocol_class
from node_image.server import log_files
from node_image.server.log_files import BLOCK, START
from node_image.server.log_format import HEADER
from node_image.server.wal import CorruptLog, WriteAheadLog

PAYLOADS = [b"record %d " % number * 40 for number in range(30)]


def opened(directory: Path, mutant: str | None = None) -> WriteAheadLog:
    recovery = protocol_class("multi-paxos", mutant).log_recovery
    return WriteAheadLog(directory, copies=2, recovery=recovery)


def written(directory: Path, payloads: list[bytes] = PAYLOADS, checkpoint: int = 0) -> None:
    """A log of these records, the first of them in a checkpoint, the others in groups of three."""
    log = opened(directory)
    if checkpoint:
        log._write_checkpoint(payloads[:checkpoint])
    for first in range(checkpoint, len(payloads), 3):
        log.append(payloads[first])
        for payload in payloads[first + 1 : first + 3]:
            log.append(payload)
        log._write(_take(log))
    log.close()


def _take(log: WriteAheadLog) -> object:
    """The group of waiting records."""
    log.commit()
    log._busy = False
    return log._jobs.get()


@pytest.mark.parametrize("checkpoint", [0, 10, 30])
def test_it_reads_back_what_was_written(tmp_path: Path, checkpoint: int) -> None:
    written(tmp_path, checkpoint=checkpoint)
    assert (tmp_path / "wal").read_bytes() == (tmp_path / "wal.copy").read_bytes()
    log = opened(tmp_path)
    assert log.recovered.payloads == PAYLOADS and not log.repaired
    log.close()


@settings(max_examples=60)
@given(mode=st.sampled_from(MODES), seed=st.integers(0, 10**6), checkpoint=st.integers(0, 30))
def test_no_damage_of_one_file_loses_anything(
    tmp_path_factory: pytest.TempPathFactory, mode: str, seed: int, checkpoint: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    written(directory, checkpoint=checkpoint)
    store = Store(directory)
    done = damage(store, mode, "wal*", str(seed))
    if mode == "read-error":  # as it reads: zeros in place of what cannot be read
        with (directory / done["file"]).open("r+b") as file:
            file.seek(done["offset"])
            file.write(bytes(min(BLOCK, done["size"] - done["offset"])))
    store.shut()
    before = (directory / "wal").read_bytes() == (directory / "wal.copy").read_bytes()
    log = opened(directory)
    assert log.recovered.payloads == PAYLOADS
    assert log.repaired != before
    log.close()
    again = opened(directory)
    assert again.recovered.payloads == PAYLOADS and not again.repaired
    again.close()


def test_records_lost_in_both_copies_prevent_the_start(tmp_path: Path) -> None:
    written(tmp_path)
    for name in ("wal", "wal.copy"):
        with (tmp_path / name).open("r+b") as file:
            file.seek(1000)
            file.write(b"\xff" * 10)
    with pytest.raises(CorruptLog, match="lost what this node had promised"):
        opened(tmp_path)


def test_the_beginnings_of_both_copies_are_lost(tmp_path: Path) -> None:
    written(tmp_path)
    for name in ("wal", "wal.copy"):
        with (tmp_path / name).open("r+b") as file:
            file.write(b"\0" * START)
    with pytest.raises(CorruptLog, match="the beginnings of both"):
        opened(tmp_path)


def test_damage_in_different_places_of_both_is_repaired(tmp_path: Path) -> None:
    written(tmp_path)
    for name, place in (("wal", 1000), ("wal.copy", 5000)):
        with (tmp_path / name).open("r+b") as file:
            file.seek(place)
            file.write(b"\xff" * 10)
    log = opened(tmp_path)
    assert log.recovered.payloads == PAYLOADS and log.repaired
    log.close()


@pytest.mark.parametrize("whole", [True, False])
def test_a_crash_between_the_two_files_of_a_checkpoint(tmp_path: Path, whole: bool) -> None:
    written(tmp_path)
    old = (tmp_path / "wal.copy").read_bytes()
    log = opened(tmp_path)
    log._write_checkpoint([b"all of it"])
    log.close()
    (tmp_path / "wal.copy").write_bytes(old)
    if not whole:
        os.truncate(tmp_path / "wal", START + 5)
    log = opened(tmp_path)
    assert log.recovered.payloads == ([b"all of it"] if whole else PAYLOADS)
    log.close()


def test_a_torn_group_is_cut_off_both(tmp_path: Path) -> None:
    written(tmp_path)
    end = (tmp_path / "wal").stat().st_size
    with (tmp_path / "wal.copy").open("ab") as file:
        file.write(b"\0\0\0\x09half of a")
    log = opened(tmp_path)
    assert log.recovered.payloads == PAYLOADS and log.recovered.torn == 13
    log.close()
    assert (tmp_path / "wal.copy").stat().st_size != end + 13


def test_an_unreadable_block_counts_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    real = os.pread

    def pread(file: int, length: int, offset: int) -> bytes:
        if offset == BLOCK:
            raise OSError(5, "Input/output error")
        return real(file, length, offset)

    def read_bytes(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    data = log_files.read_what_can_be(tmp_path / "wal")
    assert data[BLOCK : 2 * BLOCK] == bytes(BLOCK) and data[:BLOCK] != bytes(BLOCK)


@pytest.mark.parametrize("mutant", ["D1", "D2", "D4", "D5"])
def test_the_planted_bugs_lose_what_the_correct_node_keeps(tmp_path: Path, mutant: str) -> None:
    written(tmp_path)
    with (tmp_path / "wal").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff" * 10)
    log = opened(tmp_path, mutant)
    assert log.recovered.payloads != PAYLOADS
    log.close()


def test_the_planted_bug_that_trusts_a_clean_end(tmp_path: Path) -> None:
    written(tmp_path)
    size = HEADER.size + len(PAYLOADS[-1])
    os.truncate(tmp_path / "wal", (tmp_path / "wal").stat().st_size - size)
    log = opened(tmp_path, "D3")
    assert log.recovered.payloads == PAYLOADS[:-1]
    log.close()


@pytest.mark.parametrize("copies", [1, 2])
def test_a_node_that_never_votes_begins_a_lost_log_anew(tmp_path: Path, copies: int) -> None:
    log = WriteAheadLog(tmp_path, copies=copies)
    log.start(lambda _: None, lambda _: None)
    for payload in PAYLOADS:
        log.append(payload)
        log.commit()
        log.synced()
    log.close()
    for path in tmp_path.glob("wal*"):
        with path.open("r+b") as file:
            file.seek(1000)
            file.write(b"\xff" * 10)
    with pytest.raises(CorruptLog):
        WriteAheadLog(tmp_path, copies=copies)
    log = WriteAheadLog(tmp_path, copies=copies, votes=False)
    assert log.recovered.payloads == [] and "the disk has lost" in log.discarded
    log.start(lambda _: None, lambda _: None)
    log.append(b"new")
    log.commit()
    log.close()
    again = WriteAheadLog(tmp_path, copies=copies)
    assert again.recovered.payloads == [b"new"] and not again.discarded
    again.close()
