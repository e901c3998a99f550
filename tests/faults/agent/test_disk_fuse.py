"""The file system as programs see it, through the kernel.

This process serves it and uses it. That works as long as each use lets other threads run: a page
fault in a mapped file does not, so mapped files are used by another process.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.disk import raise_open_files_limit
from faults.agent.disk.probe import Probe
from tests.faults.agent.mounted import Mounted
from tests.faults.agent.pods import until

pytestmark = pytest.mark.netns

WRITER = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
for number in range(int(sys.argv[2])):
    os.write(file, b"%08d" % number)
    if sys.argv[3] == "sync":
        os.fsync(file)
print("done", flush=True)
sys.stdin.read()
"""


def _writer(path: Path, count: int, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _done(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None and process.stdout.readline() == "done\n"
    process.kill()
    process.communicate()


def test_a_program_that_syncs_keeps_all_and_one_that_does_not_loses_all(disk: Mounted) -> None:
    _done(_writer(disk.at / "careful", 50, "sync"))
    _done(_writer(disk.at / "careless", 50, "hope"))
    assert (disk.at / "careless").stat().st_size == 400, "a kill alone loses nothing"
    disk.cut()
    assert (disk.at / "careful").read_bytes() == b"".join(b"%08d" % n for n in range(50))
    assert not (disk.at / "careless").exists()


def test_what_programs_do_with_files(disk: Mounted) -> None:
    at = disk.at
    (at / "sub").mkdir(mode=0o750)
    (at / "sub" / "a").write_bytes(b"x" * 3_000_000)
    assert (at / "sub" / "a").read_bytes() == b"x" * 3_000_000
    (at / "sub" / "a").rename(at / "b")
    (at / "link").symlink_to("b")
    os.link(at / "b", at / "hard")
    assert (at / "link").stat().st_size == (at / "hard").stat().st_size == 3_000_000
    with (at / "b").open("r+b") as file:
        file.truncate(10)
    (at / "b").chmod(0o640)
    os.utime(at / "b", ns=(5, 7))
    status = (at / "b").stat()
    assert (status.st_size, status.st_mode & 0o777, status.st_mtime_ns) == (10, 0o640, 7)
    assert sorted(p.name for p in at.iterdir()) == ["b", "hard", "link", "sub"]
    for name in ("b", "hard", "link"):
        (at / name).unlink()
    with pytest.raises(OSError) as caught:
        (at / "sub").rename(at / "gone" / "sub")
    assert caught.value.errno == errno.ENOENT
    (at / "sub").rmdir()
    for number in range(500):
        (at / f"file{number}").touch()
    assert len(list(at.iterdir())) == 500
    assert os.statvfs(at).f_bavail > 0


def test_what_is_made_in_a_directory_may_have_its_group(disk: Mounted) -> None:
    (disk.at / "sub").mkdir()
    os.chown(disk.at / "sub", 0, 1234)
    (disk.at / "sub").chmod(0o2770)
    (disk.at / "sub" / "file").touch()
    (disk.at / "sub" / "link").symlink_to("file")
    (disk.at / "sub" / "sub").mkdir()
    os.mkfifo(disk.at / "sub" / "sub" / "pipe")
    for path in ("file", "link", "sub", "sub/pipe"):
        assert (disk.at / "sub" / path).lstat().st_gid == 1234
    assert (disk.at / "sub" / "sub").stat().st_mode & stat.S_ISGID


def test_a_directory_that_is_emptied_while_it_is_read(disk: Mounted) -> None:
    """As Rust's remove_dir_all does: read some entries, remove them, read the next ones."""
    (disk.at / "sub").mkdir()
    for number in range(400):  # with their names, more than a program reads at once
        (disk.at / "sub" / f"{number:0200}").touch()
    with os.scandir(disk.at / "sub") as entries:
        for entry in entries:
            os.unlink(entry.path)  # noqa: PTH108
    (disk.at / "sub").rmdir()
    directory = os.open(disk.at, os.O_RDONLY)
    for names in ([], ["new"]):  # each listing of the same open directory is made anew
        assert os.listdir(directory) == names  # noqa: PTH208
        (disk.at / "new").touch()
    os.close(directory)


def test_an_unlinked_file_that_is_open_remains_usable(disk: Mounted) -> None:
    with (disk.at / "a").open("w+b", buffering=0) as file:
        os.link(disk.at / "a", disk.at / "b")
        (disk.at / "a").unlink()
        assert os.fstat(file.fileno()).st_nlink == (disk.at / "b").stat().st_nlink == 1
        (disk.at / "b").unlink()
        assert os.fstat(file.fileno()).st_nlink == 0, "before the removal is durable, too"
        file.write(b"still here")
        assert os.pread(file.fileno(), 100, 0) == b"still here"


MAPPER = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.posix_fallocate(file, 0, 65536)
os.fsync(file)
with mmap.mmap(file, 65536) as view:
    os.pwrite(file, b"written beside", 4096)
    assert view[4096:4110] == b"written beside"
    view[8192:8198] = b"mapped"
    view.flush()
    view[20479] = 1
"""


def test_a_mapped_file_is_synced_by_msync(disk: Mounted) -> None:
    """As bbolt does it: a shared map for reading, and pwrite; then a map for writing."""
    subprocess.run([sys.executable, "-c", MAPPER, str(disk.at / "db")], check=True)
    disk.cut()
    data = (disk.at / "db").read_bytes()
    assert data[4096:4110] == b"written beside" and data[8192:8198] == b"mapped"
    assert len(data) == 65536 and data[20479] == 0, "a torn write lacks at least its end"


def test_a_file_opened_for_synchronous_writes_needs_no_fsync(disk: Mounted) -> None:
    for flag in (os.O_DSYNC, os.O_SYNC):
        file = os.open(disk.at / f"log{flag}", os.O_WRONLY | os.O_CREAT | flag, 0o600)
        os.write(file, b"durable")
        os.close(file)
    disk.cut()
    for flag in (os.O_DSYNC, os.O_SYNC):
        assert (disk.at / f"log{flag}").read_bytes() == b"durable"


def test_a_file_renamed_into_place_without_a_directory_sync_is_the_old_one(disk: Mounted) -> None:
    def replace(data: bytes) -> None:
        file = os.open(disk.at / "new", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        (disk.at / "new").rename(disk.at / "current")

    def sync_directory() -> None:
        directory = os.open(disk.at, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    replace(b"one")
    sync_directory()
    replace(b"two")
    disk.cut()
    assert (disk.at / "current").read_bytes() == b"one"
    replace(b"two")
    sync_directory()
    disk.cut()
    assert (disk.at / "current").read_bytes() == b"two"


def test_a_slow_disk_delays_every_fsync_and_no_write(disk: Mounted) -> None:
    disk.delay.set(0.05, stalled=False)
    file = os.open(disk.at / "log", os.O_RDWR | os.O_CREAT, 0o600)
    start = time.monotonic()
    for _ in range(3):
        os.write(file, b"x")
        os.fsync(file)
    assert time.monotonic() - start >= 0.15
    os.close(file)


def test_a_stall_blocks_fsyncs_but_not_writes(disk: Mounted) -> None:
    disk.delay.set(0.0, stalled=True)
    writer = _writer(disk.at / "log", 3, "sync")
    until(disk.session.waiting, "an fsync that hangs")
    (disk.at / "other").write_bytes(b"writes go on")
    assert disk.session.waiting() == 1
    disk.delay.set(0.0, stalled=False)
    _done(writer)
    disk.cut()
    assert (disk.at / "log").stat().st_size == 24


def test_an_fsync_on_a_slow_disk_does_not_cover_what_comes_while_it_waits(disk: Mounted) -> None:
    disk.delay.set(0.0, stalled=True)
    writer = _writer(disk.at / "log", 1, "sync")
    until(disk.session.waiting, "an fsync that hangs")
    (disk.at / "later").touch()
    disk.delay.set(0.0, stalled=False)
    _done(writer)
    disk.cut()
    assert (disk.at / "log").exists() and not (disk.at / "later").exists()


def test_a_process_that_hangs_in_an_fsync_can_be_killed(disk: Mounted) -> None:
    disk.delay.set(0.0, stalled=True)
    writer = _writer(disk.at / "log", 1, "sync")
    until(disk.session.waiting, "an fsync that hangs")
    os.kill(writer.pid, signal.SIGSTOP)
    os.kill(writer.pid, signal.SIGCONT)
    assert disk.session.waiting() == 1, "other signals do not interrupt a disk"
    writer.kill()
    writer.communicate(timeout=10)
    assert disk.session.waiting() == 0


def test_nothing_takes_effect_between_the_cut_and_the_kill(disk: Mounted) -> None:
    disk.delay.set(0.0, stalled=True)
    writer = _writer(disk.at / "log", 3, "sync")
    until(disk.session.waiting, "an fsync that hangs")
    disk.store.power_off()
    disk.delay.set(0.0, stalled=False)
    time.sleep(0.05)  # time for an answer, if there were one
    assert writer.poll() is None
    writer.kill()
    disk.store.lose("seed")
    disk.session.answer_held()
    assert writer.communicate(timeout=10)[0] == "", "it never learned that its fsync had returned"
    disk.unmount()
    disk.mount()
    assert not (disk.at / "log").exists()


def test_a_full_disk(disk: Mounted) -> None:
    disk.store.drive.left_bytes = 5000
    file = os.open(disk.at / "log", os.O_RDWR | os.O_CREAT, 0o600)
    assert os.write(file, b"x" * 8000) == 5000
    with pytest.raises(OSError) as caught:
        os.write(file, b"x")
    assert caught.value.errno == errno.ENOSPC
    assert os.statvfs(disk.at).f_bavail == 0
    disk.store.drive.left_bytes = None
    assert os.write(file, b"x") == 1
    os.close(file)


MAPPER_OF_HOLE = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
with mmap.mmap(file, 65536) as view:
    view[8000:9000] = b"m" * 1000
    try:
        view.flush()
    except OSError as error:
        print(error.errno)
"""


def test_mapped_pages_for_which_there_is_no_space_are_not_taken_for_written(disk: Mounted) -> None:
    (disk.at / "db").touch()
    os.truncate(disk.at / "db", 65536)
    disk.store.drive.left_bytes = 5000
    command = [sys.executable, "-c", MAPPER_OF_HOLE, str(disk.at / "db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) in (errno.ENOSPC, errno.EIO)


def test_a_failing_fsync_leaves_the_data_unsynced(disk: Mounted) -> None:
    disk.store.drive.fail_fsync = True
    file = os.open(disk.at / "log", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(file, b"x")
    with pytest.raises(OSError) as caught:
        os.fsync(file)
    assert caught.value.errno == errno.EIO
    os.close(file)
    disk.store.drive.fail_fsync = False
    disk.cut()
    assert not (disk.at / "log").exists()


def test_the_probe_sees_a_full_disk_that_is_slow_or_stalls(disk: Mounted) -> None:
    disk.store.drive.left_bytes = 0
    disk.delay.set(0.02, stalled=False)
    assert _look(disk)["error"] == "ENOSPC"
    assert len(_look(disk)["fsync_us"]) == 1 and _look(disk)["fsync_us"][0] > 20_000
    disk.delay.set(0.0, stalled=True)
    assert _look(disk) == {"error": "ENOSPC", "fsync_us": [], "after_ms": 1_000}
    disk.store.drive.left_bytes = None
    assert _look(disk) == {"error": "hangs", "fsync_us": [], "after_ms": 1_000}
    disk.delay.set(0.0, stalled=False)
    seen = _look(disk)
    assert seen["error"] is None and len(seen["fsync_us"]) == 3 and "after_ms" not in seen


def _look(disk: Mounted) -> dict[str, Any]:
    probe = Probe(os.getpid(), str(disk.at), "look", 3)
    try:
        assert probe.get_there()
        return probe.result(1.0)
    finally:
        probe.close()


def test_a_request_about_what_was_forgotten_is_answered(disk: Mounted) -> None:
    """And the thread that serves it goes on."""
    read = fuse.IO_IN.pack(12345, 0, 100, 0, 0, 0, 0)
    for opcode, body in ((fuse.GETATTR, b""), (fuse.READ, read)):
        request = fuse.Request(opcode, 7, 999, 0, 0, 0, memoryview(body))
        answer = disk.session._handle(request)
        assert answer == fuse.answer(7, error=errno.ESTALE)


def test_times_before_1970(disk: Mounted) -> None:
    (disk.at / "a").touch()
    os.utime(disk.at / "a", ns=(-1, -1_500_000_000))
    status = (disk.at / "a").stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (-1, -1_500_000_000)


def test_an_agent_that_may_open_no_more_files_says_so(
    disk: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no fault of the node's disk."""

    def fail(*_: Any) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(disk.store.entries, "create", fail)
    with pytest.raises(OSError) as caught:
        (disk.at / "a").touch()
    assert caught.value.errno == errno.EMFILE
    assert disk.store.broken is not None


def test_the_agent_may_open_as_many_files_as_it_is_allowed() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1] - 1, limits[1]))
    try:
        raise_open_files_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_unexpected_error_is_answered(
    disk: Mounted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the process that waits could not even be killed."""

    def fail(*_: Any, **__: Any) -> None:
        raise OverflowError("unexpected")

    monkeypatch.setattr(disk.store, "truncate", fail)
    (disk.at / "a").touch()
    assert disk.store.broken is None
    for _ in range(5):  # more often than there are threads
        with pytest.raises(OSError) as caught:
            os.truncate(disk.at / "a", 10)
        assert caught.value.errno == errno.EIO
    assert "unexpected" in capsys.readouterr().err
    monkeypatch.setattr(disk.store, "finish_sync", fail)
    disk.delay.set(0.001, stalled=False)
    for _ in range(2):
        with (disk.at / "a").open() as file, pytest.raises(OSError):
            os.fsync(file)
    assert disk.store.broken == "OverflowError('unexpected')"
