"""Which changes of files and directories are not durable yet, and how they become so: by an fsync,
by a rename that carries a file's data, or because they are too many.

A file is known here while it is open, has unsynced data, or has earlier generations that damage may
bring back.
"""

from __future__ import annotations

import os
from typing import Final

from faults.agent.disk.drive import Drive
from faults.agent.disk.files import File, Key, restore
from faults.agent.disk.ranges import END
from faults.agent.disk.unsynced import DirectoryJournal, Loss

KEPT_BYTES_MAX: Final = 256 * 1024 * 1024
"""When more than this would have to be restored, all of it becomes durable, as when a kernel that
is short of memory writes back pages."""
FILES_MAX: Final = 256
"""The largest number of files whose earlier generations are kept."""


class Durability:
    """The caller locks."""

    def __init__(self, drive: Drive) -> None:
        self.files: dict[Key, File] = {}
        self.journals = {False: DirectoryJournal(), True: DirectoryJournal()}
        """The node's, and that of our own files."""
        self.kept_bytes = 0
        """How many bytes a cut would have to restore."""
        self.written_back = 0
        """How often all became durable without an fsync."""
        self._drive = drive
        self._clock = 0

    def before_write(self, file: File, offset: int, data: memoryview) -> None:
        """Keep what this write will replace."""
        if not file.exempt:
            self._clock += 1
            file.data.touched = self._clock
            self.kept_bytes += file.data.before_write(offset, data)

    def after_write(self) -> None:
        if self.kept_bytes > KEPT_BYTES_MAX:
            self.write_back()

    def before_truncate(self, file: File, size: int) -> None:
        if self._may_keep(file, size, END - size):
            self.kept_bytes += file.data.before_truncate(size)

    def before_change(self, file: File, offset: int, length: int) -> None:
        """The same for a change that is not a write, such as punching a hole."""
        if self._may_keep(file, offset, length):
            self.kept_bytes += file.data.before_change(offset, length)

    def _may_keep(self, file: File, offset: int, length: int) -> bool:
        """Before a change of so much of a file: whether what it will replace is to be kept. If that
        is too much, the change is durable at once, and all that came before it."""
        if file.exempt:
            return False
        kept = file.data.would_keep(offset, length)
        if self.kept_bytes + kept > KEPT_BYTES_MAX:
            self.write_back()
        return kept <= KEPT_BYTES_MAX

    def made_durable(self, file: File, until: int) -> None:
        """The file's data, up to what it has sealed."""
        kept = file.data.bytes_kept()
        file.data.drop(until)
        self.kept_bytes += file.data.bytes_kept() - kept
        self.forget_if_unused(file)

    def write_back(self) -> None:
        """Everything becomes durable."""
        self.written_back += 1
        for file in list(self.files.values()):
            self.made_durable(file, file.data.seal())
        for journal in self.journals.values():
            journal.commit(journal.seal())

    def forget_if_unused(self, file: File) -> None:
        """Drop a file that is not open and has neither unsynced data nor earlier generations."""
        if file.opens:
            return
        gone = os.fstat(file.fd).st_nlink == 0
        has_past = bool(file.data.history) and len(self.files) <= FILES_MAX
        if gone or (file.data.is_clean and not has_past):
            if gone:
                self._drive.forget(file.key)
            self.kept_bytes -= file.data.bytes_kept()
            os.close(file.fd)
            del self.files[file.key]

    def forget_all_unused(self) -> None:
        for file in list(self.files.values()):
            self.forget_if_unused(file)

    def erased(self) -> None:
        """The backing directory has been emptied: there is nothing left to restore."""
        for journal in self.journals.values():
            journal.forget()
        for file in list(self.files.values()):
            file.data.forget()
            self.forget_if_unused(file)
        self._drive.forget_all()
        self.kept_bytes = 0

    # ------------------------------------------------------------------ the cut

    def unsynced(self) -> dict[str, int]:
        """How many files and directory changes a cut would undo now."""
        dirty = [f for f in self.files.values() if not f.data.is_clean and not f.ours]
        return {"files": len(dirty), "changes": len(self.journals[False].changes)}

    def restore(self, root: str) -> list[tuple[str, Loss]]:
        """After the cut: restore the durable content of files."""
        dirty = [file for file in self.files.values() if not file.data.is_clean]
        losses = restore(dirty, root)
        self.kept_bytes = 0
        for file in dirty:
            self._drive.freed(file.key, os.fstat(file.fd).st_size, END)
        return losses

    def undo_changes(self) -> list[str]:
        """After that: undo the changes of directories; returns those of the node's."""
        undone = self.journals[False].undo()
        self.journals[True].undo()
        return undone

    def close(self) -> None:
        """Everything is durable."""
        self.write_back()
        for file in self.files.values():
            os.close(file.fd)
        self.files.clear()
