"""The kernel's requests about directories: making, removing, renaming and listing entries."""

from __future__ import annotations

import errno
import itertools
import stat

from faults.agent.disk import fuse_protocol as fuse
from faults.agent.disk.entries import Entries, Entry
from faults.agent.disk.fuse_protocol import Handler, Request
from faults.agent.disk.inode_requests import InodeRequests


class DirectoryRequests:
    def __init__(self, entries: Entries, inodes: InodeRequests) -> None:
        self._entries = entries
        self._inodes = inodes
        self._listings: dict[int, list[Entry]] = {}
        """By handle, of directories that are being read."""
        self._numbers = itertools.count(1)
        """Of handles; what opens one is called with the store's lock held."""

    def handlers(self) -> dict[int, Handler]:
        return {
            fuse.SYMLINK: self._symlink,
            fuse.MKNOD: self._make_node,
            fuse.MKDIR: self._make_directory,
            fuse.UNLINK: lambda r: self._remove(r, folder=False),
            fuse.RMDIR: lambda r: self._remove(r, folder=True),
            fuse.RENAME: lambda r: self._rename(r, fuse.U64.size, 0),
            fuse.RENAME2: self._rename2,
            fuse.LINK: self._link,
            fuse.OPENDIR: self._open_directory,
            fuse.READDIR: self._read_directory,
            fuse.RELEASEDIR: self._release_directory,
        }

    def _symlink(self, request: Request) -> bytes:
        directory = self._inodes.path(request.node)
        name, target = fuse.names(request.body)
        path = self._entries.make_symlink(directory, name, target, (request.uid, request.gid))
        return fuse.answer(request.unique, self._inodes.entry(directory, name, path))

    def _make_node(self, request: Request) -> bytes:
        mode, device, _, _ = fuse.CREATE_IN.unpack_from(request.body)
        directory, name = self._inodes.path(request.node), fuse.names(request.body[16:])[0]
        owner = (request.uid, request.gid)
        if stat.S_ISREG(mode):
            path = self._entries.create(directory, name, mode, owner)
        else:
            path = self._entries.make_special(directory, name, mode, device, owner)
        return fuse.answer(request.unique, self._inodes.entry(directory, name, path))

    def _make_directory(self, request: Request) -> bytes:
        mode, _ = fuse.TWO.unpack_from(request.body)
        directory, name = self._inodes.path(request.node), fuse.names(request.body[8:])[0]
        path = self._entries.make_directory(directory, name, mode, (request.uid, request.gid))
        return fuse.answer(request.unique, self._inodes.entry(directory, name, path))

    def _remove(self, request: Request, *, folder: bool) -> bytes:
        name = fuse.names(request.body)[0]
        self._entries.remove(self._inodes.path(request.node), name, folder=folder)
        return fuse.answer(request.unique)

    def _rename2(self, request: Request) -> bytes:
        _, flags, _ = fuse.RENAME2_IN.unpack_from(request.body)
        return self._rename(request, fuse.RENAME2_IN.size, flags)

    def _rename(self, request: Request, size: int, flags: int) -> bytes:
        if flags & ~1:
            return fuse.answer(request.unique, error=errno.EINVAL)
        new = self._inodes.path(fuse.U64.unpack_from(request.body)[0])
        old_name, new_name = fuse.names(request.body[size:])
        old = self._inodes.path(request.node)
        self._entries.rename(old, old_name, new, new_name, replace=not flags)
        return fuse.answer(request.unique)

    def _link(self, request: Request) -> bytes:
        target = self._inodes.path(fuse.U64.unpack_from(request.body)[0])
        directory, name = self._inodes.path(request.node), fuse.names(request.body[8:])[0]
        path = self._entries.link(target, directory, name)
        return fuse.answer(request.unique, self._inodes.entry(directory, name, path))

    def _open_directory(self, request: Request) -> bytes:
        return fuse.answer(request.unique, fuse.OPEN_OUT.pack(next(self._numbers), 0, 0))

    def _release_directory(self, request: Request) -> bytes:
        self._listings.pop(fuse.U64.unpack_from(request.body)[0], None)
        return fuse.answer(request.unique)

    def _read_directory(self, request: Request) -> bytes:
        """The offset of an entry is its position in the listing, plus one. The listing is made when
        it is read from its beginning: programs remove entries while they read the next ones, and
        none must be left out."""
        handle, offset, size = fuse.IO_IN.unpack_from(request.body)[:3]
        if not offset or handle not in self._listings:
            self._listings[handle] = sorted(self._entries.listing(self._inodes.path(request.node)))
        listing = self._listings[handle]
        body = b""
        for place, (name, inode, kind) in enumerate(listing[offset:], offset + 1):
            entry = fuse.directory_entry(inode, place, name, kind)
            if len(body) + len(entry) > size:
                break
            body += entry
        return fuse.answer(request.unique, body)
