"""The node's files, kept in a backing directory, and the effect of a power cut on them.

Every operation is carried out on the backing directory at once. What it replaces is remembered
(`unsynced`) until it is durable. All operations take the store's lock; only the real fsync of the
backing file runs outside it, so that a slow disk does not hold up writes.

Files at the root whose names are in `exempt` are not under test (a node's own record of what it
decided, which is evidence): they keep all that was written to them. Names that begin with HIDDEN
are ours: the probe's files, which have a journal of their own so that the probe's fsync commits
nothing of the node's, and the trash, where removed files wait until their removal is durable.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from faults.agent import libc
from faults.agent.disk.directories import Directories
from faults.agent.disk.files import File, Key, restore, tear, torn_candidates
from faults.agent.disk.ranges import END, Range, merged, missing, without
from faults.agent.disk.trash import TRASH, Trash, Trashed
from faults.agent.disk.unsynced import Change, DirectoryJournal, write_all

HIDDEN: Final = b".antipaxos-"
KEPT_BYTES_MAX: Final = 256 * 1024 * 1024
"""When more than this would have to be restored, all of it becomes durable, as when a kernel that
is short of memory writes back pages."""
JOURNAL_MAX: Final = 20_000
TRASH_BYTES_MAX: Final = 1 << 30
"""How much space removed files may keep until their removal is durable. A program that never fsyncs
would fill the host's disk with what it has removed."""
LISTED_MAX: Final = 50
"""How many of each the report of a cut names."""
FILES_MAX: Final = 256
"""The largest number of files whose earlier generations are kept."""


class PowerLost(Exception):
    """The power was cut while this fsync ran: it never returns."""


class Sync(NamedTuple):
    """An fsync that has begun: up to where it makes a file and the directories durable."""

    file: File | None
    epoch: int
    until: int
    journal: DirectoryJournal
    changes: int


class Entry(NamedTuple):
    """Of a directory. `kind`: as in d_type."""

    name: bytes
    inode: int
    kind: int


def reopen(fd: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


class Store:
    """`root` is the backing directory; `exempt` are names in it."""

    def __init__(self, root: Path, exempt: tuple[str, ...] = ()) -> None:
        self.root = root
        self.root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.exempt = frozenset(name.encode() for name in exempt)
        self.lock = threading.RLock()
        self.files: dict[Key, File] = {}
        self.bad: dict[Key, list[Range]] = {}
        """Bytes of files that cannot be read, until they are written again."""
        self.reserved: dict[Key, list[Range]] = {}
        """What files have allocated by fallocate: writes there need no more space."""
        self.left_bytes: int | None = None
        """How many bytes may still be allocated; None: limited by the disk only."""
        self.fail_fsync = False
        """Every fsync fails, and what it should have made durable is lost at the next cut."""
        self.broken: str | None = None
        """An unexpected error: the node has seen a disk that no fault explains."""
        self.epoch = 0
        """The number of cuts so far."""
        self.written_back = 0
        self.fsyncs = 0
        self._journals = {False: DirectoryJournal(), True: DirectoryJournal()}
        self._clock = 0
        self.kept_bytes = 0
        """How many bytes a cut would have to restore."""
        self._trash = Trash(self.root_fd)
        self._directories = Directories()

    def erased(self) -> None:
        """The backing directory has been emptied: there is nothing left to restore."""
        with self.lock:
            for journal in self._journals.values():
                journal.forget()
            for file in list(self.files.values()):
                file.data.forget()
                self._forget_if_unused(file)
            self.bad.clear()
            self.reserved.clear()
            self.kept_bytes = 0
            self._trash.close()
            self._trash = Trash(self.root_fd)

    # ------------------------------------------------------------------ directories

    def is_root(self, directory: int) -> bool:
        return os.path.samestat(os.fstat(directory), os.fstat(self.root_fd))

    def is_ours(self, directory: int, name: bytes) -> bool:
        return name.startswith(HIDDEN) and self.is_root(directory)

    def look_up(self, directory: int, name: bytes) -> int:
        """An O_PATH descriptor of the entry. Raises OSError."""
        if name == TRASH and self.is_root(directory):
            raise OSError(errno.ENOENT, "hidden")
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)

    def listing(self, directory: int) -> list[Entry]:
        """Every entry that the node may see."""
        fd = reopen(directory, os.O_RDONLY | os.O_DIRECTORY)
        root = self.is_root(directory)
        try:
            with os.scandir(fd) as entries:
                return [
                    Entry(os.fsencode(e.name), e.inode(), _kind(e))
                    for e in entries
                    if not (root and os.fsencode(e.name).startswith(HIDDEN))
                ]
        finally:
            os.close(fd)

    def links(self, status: os.stat_result) -> int:
        """How many names a file has, but for those that have been removed."""
        removed = self._trash.names_of((status.st_dev, status.st_ino))
        return 0 if removed and stat.S_ISDIR(status.st_mode) else status.st_nlink - removed

    def create(self, directory: int, name: bytes, mode: int, owner: tuple[int, int]) -> int:
        """A new regular file; an O_PATH descriptor of it."""
        with self.lock:
            exempt = name in self.exempt and self.is_root(directory)
            # The probe needs a file to fsync on a full disk, too.
            if not exempt and not self.is_ours(directory, name):
                self._require_room()
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=directory)
            try:
                os.fchown(fd, *_owner(directory, owner))
                os.fchmod(fd, stat.S_IMODE(mode))
            finally:
                os.close(fd)
            if not exempt:
                self._changed(directory, name, "create", os.unlink)
            return self.look_up(directory, name)

    def make_directory(self, directory: int, name: bytes, mode: int, owner: tuple[int, int]) -> int:
        with self.lock:
            self._require_room()
            os.mkdir(name, 0o700, dir_fd=directory)
            self._changed(directory, name, "mkdir", os.rmdir)
            made = self.look_up(directory, name)
            os.chown(f"/proc/self/fd/{made}", *_owner(directory, owner))
            mode |= os.fstat(directory).st_mode & stat.S_ISGID
            os.chmod(f"/proc/self/fd/{made}", stat.S_IMODE(mode))  # noqa: PTH101
            return made

    def make_symlink(
        self, directory: int, name: bytes, target: bytes, owner: tuple[int, int]
    ) -> int:
        with self.lock:
            self._require_room()
            os.symlink(target, name, dir_fd=directory)
            os.chown(name, *_owner(directory, owner), dir_fd=directory, follow_symlinks=False)
            self._changed(directory, name, "symlink", os.unlink)
            return self.look_up(directory, name)

    def make_special(
        self, directory: int, name: bytes, mode: int, device: int, owner: tuple[int, int]
    ) -> int:
        """A socket, a pipe or a device."""
        with self.lock:
            self._require_room()
            os.mknod(name, mode, device, dir_fd=directory)
            os.chown(name, *_owner(directory, owner), dir_fd=directory, follow_symlinks=False)
            self._changed(directory, name, "mknod", os.unlink)
            return self.look_up(directory, name)

    def link(self, target: int, directory: int, name: bytes) -> int:
        with self.lock:
            self._require_room()
            os.link(f"/proc/self/fd/{target}", name, dst_dir_fd=directory, follow_symlinks=True)
            self._changed(directory, name, "link", os.unlink)
            return self.look_up(directory, name)

    def remove(self, directory: int, name: bytes, *, folder: bool) -> None:
        """Unlink or rmdir: into the trash, until that is durable."""
        with self.lock:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if folder != stat.S_ISDIR(status.st_mode):
                code = errno.ENOTDIR if folder else errno.EISDIR
                raise OSError(code, os.strerror(code))
            if folder:
                self._require_empty(directory, name)
            trashed = self._trash.put(directory, name)
            self._journal(directory, name, "rmdir" if folder else "unlink", trashed)
            self._bound()

    def rename(
        self, old: int, old_name: bytes, new: int, new_name: bytes, *, replace: bool
    ) -> None:
        """`replace`: an existing entry is replaced; the new file's data becomes durable with it."""
        with self.lock:
            status = os.stat(old_name, dir_fd=old, follow_symlinks=False)
            try:
                target = os.stat(new_name, dir_fd=new, follow_symlinks=False)
            except FileNotFoundError:
                target = None
            if target is not None and os.path.samestat(status, target):
                return
            if target is not None:
                self._require_replaceable(status, target, new, new_name, replace)
                self._journal(new, new_name, "replaced", self._trash.put(new, new_name))
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
            key = (status.st_dev, status.st_ino)
            self._renamed(old, old_name, new, new_name, None if target is None else key)
            self._bound()  # not in between: both changes are durable, or neither

    def _renamed(
        self, old: int, old_name: bytes, new: int, new_name: bytes, with_data: Key | None
    ) -> None:
        source, destination = self._directories.take(old), self._directories.take(new)
        file = self.files.get(with_data) if with_data else None
        until = file.data.seal() if file is not None else 0

        def finish() -> None:
            if file is not None and self.files.get(file.key) is file:
                self._made_durable(file, until)

        def let_go() -> None:
            self._directories.give_back(source)
            self._directories.give_back(destination)

        undo = partial(os.rename, new_name, old_name, src_dir_fd=destination, dst_dir_fd=source)
        what = f"rename {os.fsdecode(old_name)} to {os.fsdecode(new_name)}"
        journal = self._journals[self.is_ours(new, new_name)]
        journal.add(Change(what, undo, finish, let_go))

    def _changed(self, directory: int, name: bytes, what: str, undo: Callable[..., None]) -> None:
        """Record a change that is undone by one call on the entry's name."""
        fd = self._directories.take(directory)
        change = Change(
            f"{what} {os.fsdecode(name)}",
            partial(undo, name, dir_fd=fd),
            let_go=partial(self._directories.give_back, fd),
        )
        self._journals[self.is_ours(directory, name)].add(change)
        self._bound()

    def _journal(self, directory: int, name: bytes, what: str, trashed: Trashed) -> None:
        """Record that an entry has been moved to the trash."""
        fd = self._directories.take(directory)

        def finish() -> None:
            is_last = self._trash.delete(trashed)
            file = self.files.get(trashed.key)
            if file is not None:
                self._forget_if_unused(file)
            elif is_last:
                self._gone(trashed.key)

        undo = partial(self._trash.take_back, trashed, fd, name)
        what = f"{what} {os.fsdecode(name)}"
        journal = self._journals[self.is_ours(directory, name)]
        let_go = partial(self._directories.give_back, fd)
        journal.add(Change(what, undo, finish, let_go))

    def _require_empty(self, directory: int, name: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            if os.listdir(fd):  # noqa: PTH208
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        finally:
            os.close(fd)

    def _require_replaceable(
        self, status: os.stat_result, target: os.stat_result, new: int, name: bytes, replace: bool
    ) -> None:
        code = 0
        if not replace:
            code = errno.EEXIST
        elif stat.S_ISDIR(target.st_mode) != stat.S_ISDIR(status.st_mode):
            code = errno.EISDIR if stat.S_ISDIR(target.st_mode) else errno.ENOTDIR
        elif stat.S_ISDIR(target.st_mode):
            self._require_empty(new, name)
        if code:
            raise OSError(code, os.strerror(code))

    def _require_room(self) -> None:
        if self.left_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # ------------------------------------------------------------------ files

    def open(self, path_fd: int, *, exempt: bool, ours: bool) -> File:
        """The file that an O_PATH descriptor stands for; `close` it."""
        with self.lock:
            status = os.fstat(path_fd)
            key = (status.st_dev, status.st_ino)
            file = self.files.get(key)
            if file is None:
                fd = reopen(path_fd, os.O_RDWR)
                file = self.files[key] = File(key, fd, exempt=exempt, ours=ours)
            file.opens += 1
            return file

    def close(self, file: File) -> None:
        with self.lock:
            file.opens -= 1
            self._forget_if_unused(file)

    def _forget_if_unused(self, file: File) -> None:
        """Drop a file that is not open and has neither unsynced data nor earlier generations."""
        if file.opens:
            return
        gone = os.fstat(file.fd).st_nlink == 0
        has_past = bool(file.data.history) and len(self.files) <= FILES_MAX
        if gone or (file.data.is_clean and not has_past):
            if gone:
                self._gone(file.key)
            self.kept_bytes -= file.data.bytes_kept()
            os.close(file.fd)
            del self.files[file.key]

    def _gone(self, key: Key) -> None:
        self.bad.pop(key, None)
        self.reserved.pop(key, None)

    def read(self, file: File, offset: int, size: int) -> bytes:
        return self.read_of(file.key, file.fd, offset, size)

    def read_of(self, key: Key, fd: int, offset: int, size: int) -> bytes:
        """What a read of the file that `fd` has open gives. Raises OSError where it has been
        damaged."""
        ranges = self.bad.get(key)
        if ranges and any(r.start < offset + size and offset < r.end for r in ranges):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(fd, size, offset)

    def write(self, file: File, offset: int, data: memoryview, *, whole: bool = False) -> int:
        """How much was written: less than asked for when the disk is full, or, with `whole`,
        nothing."""
        with self.lock:
            allowed = self._allocated(file, offset, len(data), whole=whole)
            data = data[:allowed]
            if not file.exempt:
                self._clock += 1
                file.data.touched = self._clock
                self.kept_bytes += file.data.before_write(offset, data)
            write_all(file.fd, data, offset)
            if file.key in self.bad:  # as when a drive remaps a sector
                self.bad[file.key] = without(self.bad[file.key], offset, offset + len(data))
            if self.kept_bytes > KEPT_BYTES_MAX:
                self._write_back()
            return len(data)

    def _allocated(self, file: File, offset: int, length: int, *, whole: bool) -> int:
        """For how much of this there is space, which is used from now on. Raises OSError where
        there is none, or, with `whole`, not enough."""
        if self.left_bytes is None or file.exempt or not length:
            return length
        left, allowed = self.left_bytes, length
        for gap in missing(file.fd, offset, offset + length, self.reserved.get(file.key, [])):
            left -= gap.end - gap.start
            if left < 0:
                allowed, left = gap.end + left - offset, 0
                break
        if not allowed or (whole and allowed < length):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not file.ours:
            self.left_bytes = left
        return allowed

    def truncate(self, file: File, size: int) -> None:
        with self.lock:
            if self._may_keep(file, size, END - size):
                self.kept_bytes += file.data.before_truncate(size)
            os.ftruncate(file.fd, size)
            self._freed(file.key, size, END)

    def _may_keep(self, file: File, offset: int, length: int) -> bool:
        """Before a change of so much of a file: whether what it will replace is to be kept. If that
        is too much, the change is durable at once, and all that came before it."""
        if file.exempt:
            return False
        kept = file.data.would_keep(offset, length)
        if self.kept_bytes + kept > KEPT_BYTES_MAX:
            self._write_back()
        return kept <= KEPT_BYTES_MAX

    def _freed(self, key: Key, start: int, end: int) -> None:
        """These bytes are a hole, or behind the end."""
        for ranges in (self.bad, self.reserved):
            if key in ranges:
                ranges[key] = without(ranges[key], start, end)

    def allocate(self, file: File, mode: int, offset: int, length: int) -> None:
        """fallocate(2): reserve, punch a hole, or zero a range."""
        with self.lock:
            punches, zeroes = bool(mode & libc.PUNCH_HOLE), bool(mode & libc.ZERO_RANGE)
            if not punches:
                self._allocated(file, offset, length, whole=True)
            changed = length if punches or zeroes else 0  # but perhaps the size
            if self._may_keep(file, offset, changed):
                self.kept_bytes += file.data.before_change(offset, changed)
            libc.fallocate(file.fd, mode, offset, length)
            if punches or zeroes:
                self._freed(file.key, offset, offset + length)
            if not punches:
                ranges = self.reserved.get(file.key, [])
                self.reserved[file.key] = merged(ranges, offset, offset + length)

    def sync(self, file: File | None, epoch: int, *, ours: bool = False) -> None:
        """Make a file (None: only directories) durable. Raises PowerLost when the power was cut
        since `epoch`, before or while it ran."""
        self.finish_sync(self.begin_sync(file, epoch, ours=ours))

    def begin_sync(self, file: File | None, epoch: int, *, ours: bool = False) -> Sync:
        """What comes from now on is not covered. An fsync of evidence commits no directories: the
        node would not do it if there were no harness."""
        with self.lock:
            if self.epoch != epoch:
                raise PowerLost
            journal = self._journals[ours if file is None else file.ours]
            is_evidence = file is not None and file.exempt
            changes = 0 if is_evidence else journal.seal()
            until = file.data.seal() if file is not None else 0
        return Sync(file, epoch, until, journal, changes)

    def finish_sync(self, sync: Sync) -> None:
        """Once the disk has answered."""
        file = sync.file
        if self.fail_fsync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if file is not None and self.epoch == sync.epoch:
            os.fdatasync(file.fd)
        with self.lock:
            if self.epoch != sync.epoch:
                raise PowerLost
            self.fsyncs += 1
            if file is not None:
                self._made_durable(file, sync.until)
            sync.journal.commit(sync.changes)

    def _made_durable(self, file: File, until: int) -> None:
        kept = file.data.bytes_kept()
        file.data.drop(until)
        self.kept_bytes += file.data.bytes_kept() - kept
        self._forget_if_unused(file)

    def _bound(self) -> None:
        changes = len(self._journals[False].changes)
        if changes > JOURNAL_MAX or self._trash.space > TRASH_BYTES_MAX:
            self._write_back()

    def _write_back(self) -> None:
        """Everything becomes durable. The caller holds the lock."""
        self.written_back += 1
        for file in list(self.files.values()):
            self._made_durable(file, file.data.seal())
        for journal in self._journals.values():
            journal.commit(journal.seal())

    # ------------------------------------------------------------------ the cut

    def unsynced(self) -> dict[str, Any]:
        """How many files and directory changes a cut would undo now."""
        with self.lock:
            dirty = [f for f in self.files.values() if not f.data.is_clean and not f.ours]
            return {"files": len(dirty), "changes": len(self._journals[False].changes)}

    def power_off(self) -> None:
        """The cut: from now on nothing takes effect, and no fsync in progress completes."""
        with self.lock:
            self.epoch += 1

    def lose(self, seed: str) -> dict[str, Any]:
        """After the cut: restore what is durable, and tear one write. Returns what was lost."""
        with self.lock:
            root = str(self.root)
            torn = torn_candidates(self.files.values())
            dirty = [file for file in self.files.values() if not file.data.is_clean]
            losses = restore(dirty, root)
            self.kept_bytes = 0
            for file in dirty:
                self._freed(file.key, os.fstat(file.fd).st_size, END)
            undone = self._journals[False].undo()
            self._journals[True].undo()
            report = {
                "files": {
                    path: {
                        "bytes": loss.size_before,
                        "left": loss.size_after,
                        "blocks_changed": loss.blocks,
                    }
                    for path, loss in losses[:LISTED_MAX]
                },
                "files_count": len(losses),
                "entries": undone[:LISTED_MAX],
                "entries_count": len(undone),
                "torn": tear(torn, Random(seed), root),
                "written_back": self.written_back,
            }
            for file in list(self.files.values()):
                self._forget_if_unused(file)
            return report

    def shut(self) -> None:
        """Everything is durable, the trash is gone."""
        with self.lock:
            self._write_back()
            for file in self.files.values():
                os.close(file.fd)
            self.files.clear()
            self._trash.close()
            with suppress(OSError):
                os.close(self.root_fd)
            with suppress(OSError):
                (self.root / os.fsdecode(TRASH)).rmdir()


def _owner(directory: int, owner: tuple[int, int]) -> tuple[int, int]:
    """Of what somebody makes there: the group may be the directory's."""
    status = os.fstat(directory)
    return (owner[0], status.st_gid) if status.st_mode & stat.S_ISGID else owner


def _kind(entry: os.DirEntry[str]) -> int:
    """The type of a directory entry, as in d_type."""
    if entry.is_file(follow_symlinks=False):  # without a call for each file
        return stat.S_IFREG >> 12
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) >> 12
