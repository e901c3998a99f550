"""The record of a single simulated run, from which reports and stories are made.

    messages   every message between two nodes: when the step sent it, when it left the node (later
               than that if it waited for the disk), when it arrived, or why it did not
    persisted  what each node wrote to its disk, and when that was durable
    roles      whenever a node's role, leader or ballot changed

Sweeps do not record, since it doubles the time of a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from harness.runtimes.sim.event_queue import Entry
from harness.runtimes.sim.node import SimNode

MESSAGES_MAX: Final = 1_000_000
"""The maximum number of recorded messages; later ones are only counted."""

LOST: Final = "lost"  # by a fault of the link
CUT: Final = "cut"  # by a partition
DOWN: Final = "down"  # the receiver's process was not running
UNSYNCED: Final = "unsynced"  # the sender crashed while the message still waited for the disk
IN_FLIGHT: Final = "in flight"  # when the run ended


class Message:
    """One message between two nodes. `arrives_us` is None if it never arrived, for `reason`;
    `departs_us` is None if it never left."""

    __slots__ = ("arrives_us", "departs_us", "message", "reason", "sent_us", "source", "target")

    def __init__(
        self,
        sent_us: int,
        departs_us: int | None,
        arrives_us: int | None,
        source: int,
        target: int,
        message: tuple[Any, ...],
        reason: str | None = None,
    ) -> None:
        self.sent_us = sent_us
        self.departs_us = departs_us
        self.arrives_us = arrives_us
        self.source = source
        self.target = target
        self.message = message
        self.reason = reason


class Persisted(NamedTuple):
    """A node wrote `record` at `at_us`; it is durable at `durable_us`, unless the node crashes
    before."""

    at_us: int
    node: int
    durable_us: int
    record: tuple[Any, ...]


class RoleChange(NamedTuple):
    """A node's view of its role and the leader, from `at_us` on."""

    at_us: int
    node: int
    role: str
    leader: int | None
    ballot: tuple[int, ...]


class RunRecord:
    """Filled by `WatchedEffects` and `Processes` while the run goes."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.persisted: list[Persisted] = []
        self.roles: list[RoleChange] = []
        self.not_recorded = 0
        self._by_sequence: dict[int, Message] = {}
        self._roles_seen: dict[int, tuple[str, int | None, tuple[int, ...]]] = {}

    def sent(self, message: Message, sequence: int | None) -> None:
        """A message was put on the queue with this sequence number, or with none if it is lost."""
        if len(self.messages) >= MESSAGES_MAX:
            self.not_recorded += 1
            return
        self.messages.append(message)
        if sequence is not None:
            self._by_sequence[sequence] = message

    def moved(self, before: int, after: int, arrives_us: int, departs_us: int | None) -> None:
        """A message was put back on the queue after a pause: of its receiver, or (then
        `departs_us` is given) of its sender."""
        message = self._by_sequence.pop(before, None)
        if message is not None:
            message.arrives_us = arrives_us
            if departs_us is not None:
                message.departs_us = departs_us
            self._by_sequence[after] = message

    def crashed(self, node: int, entries: Iterable[Entry]) -> None:
        """A node's process ended, and with it these entries of the queue: what had not left it, and
        what had arrived while it was paused."""
        for entry in entries:
            if entry[2] > 0:
                self._never_arrives(entry[1], UNSYNCED if entry[2] == node else DOWN)

    def undelivered(self, sequence: int) -> None:
        """A message reached a node that has no process."""
        self._never_arrives(sequence, DOWN)

    def _never_arrives(self, sequence: int, reason: str) -> None:
        message = self._by_sequence.pop(sequence, None)
        if message is not None:
            message.arrives_us, message.reason = None, reason
            if reason == UNSYNCED:
                message.departs_us = None

    def note_role(self, node: SimNode, now_us: int) -> None:
        """Record the node's status if it has changed."""
        if node.protocol is None:
            return
        status = node.protocol.status()
        view = (status.role, status.leader, tuple(status.ballot))
        if self._roles_seen.get(node.id) != view:
            self._roles_seen[node.id] = view
            self.roles.append(RoleChange(now_us, node.id, *view))

    def finish(self, now_us: int) -> None:
        """The run is over: messages that have not arrived are in flight."""
        for message in self.messages:
            if message.arrives_us is not None and message.arrives_us > now_us:
                message.arrives_us, message.reason = None, IN_FLIGHT
        self._by_sequence.clear()
