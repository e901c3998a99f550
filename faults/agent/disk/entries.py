"""The entries of the node's directories: listing, making, removing and renaming them, and how each
change is undone while it is not durable.

Names at the root that begin with HIDDEN are ours: the probe's files, which have a journal of their
own so that the probe's fsync commits nothing of the node's, and the trash, where removed files wait
until their removal is durable.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from faults.agent.disk.directories import Directories
from faults.agent.disk.drive import Drive
from faults.agent.disk.durability import Durability
from faults.agent.disk.files import Key, reopen
from faults.agent.disk.trash import TRASH, Trash, Trashed
from faults.agent.disk.unsynced import Change

HIDDEN: Final = b".antipaxos-"
JOURNAL_MAX: Final = 20_000
TRASH_BYTES_MAX: Final = 1 << 30
"""How much space removed files may keep until their removal is durable. A program that never fsyncs
would fill the host's disk with what it has removed."""


class Entry(NamedTuple):
    """Of a directory. `kind`: as in d_type."""

    name: bytes
    inode: int
    kind: int


class Entries:
    """Below the directory that `root_fd` stands for, where the names in `exempt` are not under
    test. `lock` is the store's."""

    def __init__(
        self,
        root_fd: int,
        exempt: frozenset[bytes],
        lock: threading.RLock,
        drive: Drive,
        durability: Durability,
    ) -> None:
        self._root_fd = root_fd
        self._exempt = exempt
        self._lock = lock
        self._drive = drive
        self._durability = durability
        self._trash = Trash(root_fd)
        self._directories = Directories()

    def erased(self) -> None:
        """The root has been emptied, and the trash with it."""
        self._trash.close()
        self._trash = Trash(self._root_fd)

    def close(self) -> None:
        self._trash.close()

    def is_root(self, directory: int) -> bool:
        return os.path.samestat(os.fstat(directory), os.fstat(self._root_fd))

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
        with self._lock:
            exempt = name in self._exempt and self.is_root(directory)
            # The probe needs a file to fsync on a full disk, too.
            if not exempt and not self.is_ours(directory, name):
                self._drive.require_room()
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
        with self._lock:
            self._drive.require_room()
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
        with self._lock:
            self._drive.require_room()
            os.symlink(target, name, dir_fd=directory)
            os.chown(name, *_owner(directory, owner), dir_fd=directory, follow_symlinks=False)
            self._changed(directory, name, "symlink", os.unlink)
            return self.look_up(directory, name)

    def make_special(
        self, directory: int, name: bytes, mode: int, device: int, owner: tuple[int, int]
    ) -> int:
        """A socket, a pipe or a device."""
        with self._lock:
            self._drive.require_room()
            os.mknod(name, mode, device, dir_fd=directory)
            os.chown(name, *_owner(directory, owner), dir_fd=directory, follow_symlinks=False)
            self._changed(directory, name, "mknod", os.unlink)
            return self.look_up(directory, name)

    def link(self, target: int, directory: int, name: bytes) -> int:
        with self._lock:
            self._drive.require_room()
            os.link(f"/proc/self/fd/{target}", name, dst_dir_fd=directory, follow_symlinks=True)
            self._changed(directory, name, "link", os.unlink)
            return self.look_up(directory, name)

    def remove(self, directory: int, name: bytes, *, folder: bool) -> None:
        """Unlink or rmdir: into the trash, until that is durable."""
        with self._lock:
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
        with self._lock:
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
        file = self._durability.files.get(with_data) if with_data else None
        until = file.data.seal() if file is not None else 0

        def finish() -> None:
            if file is not None and self._durability.files.get(file.key) is file:
                self._durability.made_durable(file, until)

        def let_go() -> None:
            self._directories.give_back(source)
            self._directories.give_back(destination)

        undo = partial(os.rename, new_name, old_name, src_dir_fd=destination, dst_dir_fd=source)
        what = f"rename {os.fsdecode(old_name)} to {os.fsdecode(new_name)}"
        journal = self._durability.journals[self.is_ours(new, new_name)]
        journal.add(Change(what, undo, finish, let_go))

    def _changed(self, directory: int, name: bytes, what: str, undo: Callable[..., None]) -> None:
        """Record a change that is undone by one call on the entry's name."""
        fd = self._directories.take(directory)
        change = Change(
            f"{what} {os.fsdecode(name)}",
            partial(undo, name, dir_fd=fd),
            let_go=partial(self._directories.give_back, fd),
        )
        self._durability.journals[self.is_ours(directory, name)].add(change)
        self._bound()

    def _journal(self, directory: int, name: bytes, what: str, trashed: Trashed) -> None:
        """Record that an entry has been moved to the trash."""
        fd = self._directories.take(directory)

        def finish() -> None:
            is_last = self._trash.delete(trashed)
            file = self._durability.files.get(trashed.key)
            if file is not None:
                self._durability.forget_if_unused(file)
            elif is_last:
                self._drive.forget(trashed.key)

        undo = partial(self._trash.take_back, trashed, fd, name)
        what = f"{what} {os.fsdecode(name)}"
        journal = self._durability.journals[self.is_ours(directory, name)]
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

    def _bound(self) -> None:
        changes = len(self._durability.journals[False].changes)
        if changes > JOURNAL_MAX or self._trash.space > TRASH_BYTES_MAX:
            self._durability.write_back()


def _owner(directory: int, owner: tuple[int, int]) -> tuple[int, int]:
    """Of what somebody makes there: the group may be the directory's."""
    status = os.fstat(directory)
    return (owner[0], status.st_gid) if status.st_mode & stat.S_ISGID else owner


def _kind(entry: os.DirEntry[str]) -> int:
    """The type of a directory entry, as in d_type."""
    if entry.is_file(follow_symlinks=False):  # without a call for each file
        return stat.S_IFREG >> 12
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) >> 12
