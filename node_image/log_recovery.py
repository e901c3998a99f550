"""Reading a log that may be damaged, from two copies of it.

A node with two copies writes each group of records to both, and syncs both, before any message that
depends on it is sent. So everything acknowledged is in both, at the same positions, and if one copy
is damaged the other is intact. Recovery reads each record, position by position, from a copy that
has a good record there. If neither has one, although a record of a later group follows, both have
lost synced data. Then the node must not start, because it might deny a vote that it gave. (After
Ganesan et al., "Protocol-aware recovery for consensus-based storage", FAST 2018: mistaking damage
for a torn write loses data.)

The copies are bytes in a container (`node_image.server.wal`) and records in the simulator
(`harness.runtimes.sim.disk`). The recovery, and the planted bugs in it, are the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class LogLost(Exception):
    """Synced data is missing from every copy. The message states where."""


class Found(NamedTuple):
    """A good record, and the position after it."""

    record: Any
    end: int


class LogCopy(Protocol):
    def at(self, position: int) -> Found | None:
        """The record there, if it is good."""
        ...

    def next_good(self, position: int) -> int | None:
        """The position of a later good record whose group was written after the record at
        `position` had been synced; None if there is none."""
        ...

    def ends_at(self, position: int) -> bool:
        """Whether there is nothing from `position` on."""
        ...


class Recovery(NamedTuple):
    """The records, and the position after the last."""

    records: list[Any]
    end: int


class LogRecovery:
    """The correct recovery. `copies` is never empty; `start` is the first record's position."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        """Raises LogLost."""
        records, position = [], start
        while (found := first_good(copies, position)) is not None:
            records.append(found.record)
            position = found.end
        for copy in copies:
            if (later := copy.next_good(position)) is not None:
                raise LogLost(
                    f"the record at {position} is damaged, and one that was written after it had "
                    f"been synced stands at {later}: the disk has lost what this node had promised"
                )
        return Recovery(records, position)


def first_good(copies: Sequence[LogCopy], position: int) -> Found | None:
    """The record at a position, from the first copy that has a good one."""
    for copy in copies:
        if (found := copy.at(position)) is not None:
            return found
    return None


def read_on(copy: LogCopy, start: int) -> Recovery:
    """The records of one copy up to its first bad one."""
    records, position = [], start
    while (found := copy.at(position)) is not None:
        records.append(found.record)
        position = found.end
    return Recovery(records, position)
