"""The event queue: all future events, ordered by (time, sequence).

An entry is a plain tuple

    (at_us, sequence, what, node, payload, departs_us)

`what` is the sender's number for a message between nodes (then `payload` is the message), else one
of the constants below. `node` is the `SimNode` at which it happens, None where there is none.
`departs_us` is when the entry leaves its node, if that is later than its step: it waits for the
disk, and a crash before that time withdraws it. `sequence` makes the order total, so nothing else
is compared. Entries are plain data.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappush
from itertools import count
from typing import Any, Final, TypeAlias

Entry: TypeAlias = tuple[int, int, int, Any, Any, int]

REQUEST: Final = 0  # (call, command): a client's request reaches a node
TIMER: Final = -1  # the timer's name
EFFECTS: Final = -2  # the rest of a step that a pause interrupted
PEER_LOST: Final = -3  # the peer's number: its connection to the node is closed
PEER_CONNECTED: Final = -4  # the peer's number: the node has a new connection to it
ANSWER: Final = -5  # (call, response): an answer reaches a client
WAKE: Final = -6  # the conductor asked to be woken
START: Final = -7  # a process of the node is to be started
FAULT_STEP: Final = -8  # (step, fault, arguments...): a later step of a fault is due
TOLD: Final = -10  # (leader, term): a node tells its clients who leads
FAULT_REPORT: Final = -9  # (fault, what, report): the conductor receives a fault's report


class EventQueue:
    """A heap of entries. `entries` and `sequence` remain the same objects, for hot code that
    accesses them directly."""

    __slots__ = ("entries", "sequence")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.sequence: Callable[[], int] = count().__next__

    def put(self, at_us: int, what: int, node: Any, payload: Any, departs_us: int = 0) -> int:
        """Add an entry. Returns its sequence number."""
        sequence = self.sequence()
        heappush(self.entries, (at_us, sequence, what, node, payload, departs_us))
        return sequence

    def withdraw(self, is_withdrawn: Callable[[Entry], bool]) -> list[Entry]:
        """Remove the entries for which the predicate is true. Returns them in a deterministic
        order."""
        withdrawn = [entry for entry in self.entries if is_withdrawn(entry)]
        if withdrawn:
            self.entries[:] = [entry for entry in self.entries if not is_withdrawn(entry)]
            heapify(self.entries)
        return withdrawn
