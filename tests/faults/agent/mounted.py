"""A file system of the agent's without an agent: served by the test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faults.agent import libc
from faults.agent.disk.deferred_fsyncs import FsyncDelay
from faults.agent.disk.mount import mount_fuse, open_fuse
from faults.agent.disk.session import Session
from faults.agent.disk.store import Store


class Mounted:
    """A store, and the directory at which programs see it."""

    def __init__(self, folder: Path) -> None:
        self.backing, self.at = folder / "backing", folder / "at"
        self.backing.mkdir()
        self.at.mkdir()
        self.store = Store(self.backing, exempt=("evidence",))
        self.delay = FsyncDelay()
        self.mount()

    def mount(self) -> None:
        fuse = open_fuse()
        mount_fuse(fuse, str(self.at))
        self.session = Session(fuse, self.store, self.delay)
        self.session.start()

    def unmount(self) -> None:
        libc.unmount(str(self.at))
        assert self.session.ended.wait(10)

    def cut(self, seed: str = "seed") -> dict[str, Any]:
        """As the agent does it, for processes that are dead."""
        self.store.power_off()
        try:
            lost = self.store.lose(seed)
        finally:  # else whoever uses it next waits for ever
            self.session.answer_held()
        self.unmount()
        self.mount()
        return lost
