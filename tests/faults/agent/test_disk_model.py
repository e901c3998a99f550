"""The file system, through the kernel, compared with a model of what POSIX and ext4 make durable.

A program works on directories, files with several names and several open descriptors, symbolic
links, pipes and sockets; whatever it did, it must see it, and a power cut must leave exactly what
is durable in the model, and a part of one write.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.faults.agent.mounted import Mounted

pytestmark = pytest.mark.netns

NAMES = ("a", "b", "c", "not UTF-8: \udcff", "n" * 255)
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}
numbers = st.integers(0, 1000)
names = st.sampled_from(NAMES)
offsets = st.one_of(st.sampled_from((0, 511, 4096, 8192)), st.integers(0, 20_000))


class Node:
    """Of the model. `entries`: of a directory. The rest is a file's."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Node] = {}
        self.seen = bytearray()
        self.durable = b""
        self.unsynced: list[tuple[int, bytes]] = []

    def resize(self, size: int) -> None:
        self.seen.extend(bytes(max(0, size - len(self.seen))))
        del self.seen[size:]

    def write(self, offset: int, data: bytes) -> None:
        self.unsynced.append((offset, data))
        if offset > len(self.seen):
            self.resize(offset)
        self.seen[offset : offset + len(data)] = data

    def synced(self) -> None:
        self.durable, self.unsynced = bytes(self.seen), []

    def tree(self, prefix: str = "") -> dict[str, Node]:
        found = {}
        for name, node in self.entries.items():
            found[prefix + name] = node
            found.update(node.tree(f"{prefix}{name}/"))
        return found


class Programs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self.disk = Mounted(Path(folder))
        self.root = Node("directory")
        self.opened: list[tuple[int, Node]] = []
        self.replacing: list[tuple[Node, bytes, int]] = []
        """Files that have been renamed over others since the last commit: then they had this
        content and so many unsynced writes."""
        self._commit()

    def teardown(self) -> None:
        try:
            self._compare()
        finally:
            self._close()
            self.disk.unmount()
            self.disk.store.shut()
            self._stack.close()

    def _close(self) -> None:
        for file, _ in self.opened:
            os.close(file)
        self.opened.clear()

    def _at(self, path: str) -> str:
        return f"{self.disk.at}/{path}"

    def _commit(self) -> None:
        tree = self.root.tree().values()
        directories = [self.root, *(node for node in tree if node.kind == "directory")]
        self.committed = {id(node): (node, dict(node.entries)) for node in directories}
        latest = {id(node): (node, data, writes) for node, data, writes in self.replacing}
        for node, data, writes in latest.values():
            node.durable = data
            del node.unsynced[:writes]
        self.replacing.clear()

    def _pick(self, number: int, *kinds: str) -> tuple[str, Node] | None:
        found = [(path, node) for path, node in self.root.tree().items() if node.kind in kinds]
        if "directory" in kinds:
            found.append(("", self.root))
        return found[number % len(found)] if found else None

    def _place(self, number: int, name: str) -> tuple[Node, str]:
        """A directory, and a path in it."""
        picked = self._pick(number, "directory")
        assert picked is not None
        path, directory = picked
        return directory, f"{path}/{name}".lstrip("/")

    def _parent(self, path: str) -> Node:
        folder = path.rpartition("/")[0]
        return self.root.tree()[folder] if folder else self.root

    # ------------------------------------------------------------------ what programs do

    @rule(where=numbers, name=names, kind=st.sampled_from(sorted(KINDS.values())))
    def make(self, where: int, name: str, kind: str) -> None:
        directory, path = self._place(where, name)
        at = self._at(path)
        if name in directory.entries or path.count("/") > 2:
            return
        if kind == "file":
            os.close(os.open(at, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        elif kind == "directory":
            os.mkdir(at)  # noqa: PTH102
        elif kind == "link":
            Path(at).symlink_to("anywhere")
        else:
            os.mknod(at, 0o600 | (stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK))
        directory.entries[name] = Node(kind)

    @rule(which=numbers, offset=offsets, length=st.integers(1, 9000), byte=st.integers(1, 255))
    def write(self, which: int, offset: int, length: int, byte: int) -> None:
        """By name, at an offset, at the end or synchronously, in turn; or where it is open."""
        data = bytes([byte]) * length
        if self.opened and which % 2:
            file, node = self.opened[which % len(self.opened)]
            os.pwrite(file, data, offset)
            node.write(offset, data)
            return
        if not (picked := self._pick(which // 4, "file")):
            return
        path, node = picked
        flag = (0, os.O_APPEND, os.O_DSYNC, os.O_SYNC)[which // 2 % 4]
        file = os.open(self._at(path), os.O_RDWR | flag)
        offset = len(node.seen) if flag == os.O_APPEND else offset
        os.lseek(file, offset, os.SEEK_SET)
        assert os.write(file, data) == length
        os.close(file)
        node.write(offset, data)
        if flag & os.O_DSYNC:
            self._commit()
            node.synced()

    @rule(which=numbers, size=offsets)
    def truncate(self, which: int, size: int) -> None:
        if picked := self._pick(which, "file"):
            os.truncate(self._at(picked[0]), size)
            picked[1].resize(size)

    @rule(which=numbers)
    def open(self, which: int) -> None:
        if (picked := self._pick(which, "file")) and len(self.opened) < 4:
            self.opened.append((os.open(self._at(picked[0]), os.O_RDWR), picked[1]))

    @rule(which=numbers)
    def close(self, which: int) -> None:
        if self.opened:
            os.close(self.opened.pop(which % len(self.opened))[0])

    @rule(which=numbers)
    def sync(self, which: int) -> None:
        """A directory or a file, perhaps one that has been removed and is open."""
        if self.opened and which % 2:
            file, node = self.opened[which % len(self.opened)]
            os.fsync(file)
        else:
            picked = self._pick(which, "file", "directory")
            assert picked is not None
            path, node = picked
            file = os.open(self._at(path), os.O_RDONLY)
            (os.fsync if which % 4 else os.fdatasync)(file)
            os.close(file)
        self._commit()
        node.synced()

    @rule(which=numbers, where=numbers, name=names)
    def link(self, which: int, where: int, name: str) -> None:
        directory, path = self._place(where, name)
        if (picked := self._pick(which, "file")) and name not in directory.entries:
            os.link(self._at(picked[0]), self._at(path))
            directory.entries[name] = picked[1]

    @rule(which=numbers)
    def remove(self, which: int) -> None:
        picked = self._pick(which, *KINDS.values())
        if not picked or not picked[0]:
            return
        path, node = picked
        try:
            (os.rmdir if node.kind == "directory" else os.unlink)(self._at(path))
        except OSError as error:
            assert error.errno == errno.ENOTEMPTY and node.entries
            return
        assert not node.entries
        del self._parent(path).entries[path.rpartition("/")[2]]

    @rule(which=numbers, where=numbers, name=names)
    def rename(self, which: int, where: int, name: str) -> None:
        picked = self._pick(which, *KINDS.values())
        if not picked or not picked[0]:
            return
        (old, node), (directory, new) = picked, self._place(where, name)
        target = directory.entries.get(name)
        try:
            os.rename(self._at(old), self._at(new))  # noqa: PTH104
        except OSError:
            into_itself = f"{new}/".startswith(f"{old}/")
            assert into_itself or (target is not None and _is_refused(node, target))
            return
        if target is node:
            return
        assert target is None or not _is_refused(node, target)
        del self._parent(old).entries[old.rpartition("/")[2]]
        directory.entries[name] = node
        if target is not None:
            self.replacing.append((node, bytes(node.seen), len(node.unsynced)))

    # ------------------------------------------------------------------ what must be there

    @precondition(lambda self: self.root.entries)
    @rule(seed=numbers)
    def cut(self, seed: int) -> None:
        self._close()
        torn = self.disk.cut(str(seed))["torn"]
        self.replacing.clear()
        for node, entries in self.committed.values():
            node.entries = dict(entries)
        tree = self.root.tree()
        for node in tree.values():
            node.seen = bytearray(node.durable)
        if torn is not None:
            self._tear(tree[torn["file"]], torn)
        for node in tree.values():
            node.synced()
        self._commit()
        self._compare()
        assert not list((self.disk.backing / ".antipaxos-trash").iterdir())

    def _tear(self, node: Node, torn: dict[str, Any]) -> None:
        offset, data = node.unsynced[0]
        kept, end = torn["kept"], torn["offset"] + torn["kept"]
        assert torn["offset"] == offset and 0 < kept < torn["of"] == len(data)
        assert end % 512 == 0 or end > len(node.durable)
        node.write(offset, data[:kept])

    @rule()
    def look(self) -> None:
        self._compare()

    def _compare(self) -> None:
        tree, seen = self.root.tree(), set()
        for folder, folders, others in os.walk(self.disk.at):
            seen.update(f"{folder}/{name}".removeprefix(self._at("")) for name in folders + others)
        assert seen == set(tree)
        for path, node in tree.items():
            status = os.lstat(self._at(path))
            assert KINDS[stat.S_IFMT(status.st_mode)] == node.kind
            if node.kind == "file":
                assert Path(self._at(path)).read_bytes() == node.seen
                assert status.st_nlink == sum(one is node for one in tree.values())
        for file, node in self.opened:
            assert os.pread(file, len(node.seen) + 1, 0) == node.seen
            assert os.fstat(file).st_nlink == sum(one is node for one in tree.values())


def _is_refused(node: Node, target: Node) -> bool:
    """Whether one may not be renamed over the other."""
    if "directory" in (node.kind, target.kind):
        return node.kind != target.kind or bool(target.entries)
    return False


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
