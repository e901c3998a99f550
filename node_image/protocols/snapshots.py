"""When a replica replaces the log on its disk by a snapshot (in Paxos and Raft).

A snapshot from another node is requested and installed in `catch_up`.
"""

from __future__ import annotations

from typing import Any

from node_image.protocols.context import Context
from node_image.protocols.interface import Checkpoint


class Snapshots:
    """`last` is the last slot in the snapshot on disk."""

    __slots__ = ("_ctx", "last")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self.last = 0

    def is_due(self, applied: int) -> bool:
        return applied - self.last >= self._ctx.config.snapshot_every

    def may_forget(self, applied: int) -> int:
        """The slot up to which the log in memory can be dropped after a snapshot: half of the
        snapshot interval is kept for nodes that were down briefly."""
        return applied - self._ctx.config.snapshot_every // 2

    def write(self, slot: int, records: tuple[tuple[Any, ...], ...]) -> None:
        """Replace the disk's content by these records, a snapshot of `slot` first."""
        self.last = slot
        self._ctx.out.append(Checkpoint(records))
        self._ctx.count("snapshots")
        self._ctx.note("snapshot", slot=slot)
