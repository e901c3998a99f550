"""Reads that do not go through the log: confirmed by a quorum, or covered by a lease.

    "log"      every read is decided like a write
    "quorum"   a read waits until a round of heartbeats sent after its arrival is confirmed, then
               reads the applied state, which is at least as new as the commit index at its arrival
               (Raft's ReadIndex)
    "lease"    while the leader holds a lease (`lease`), it reads at once

In the last two modes a new leader first waits until everything that its predecessors may have
decided is applied.
"""

from __future__ import annotations

from typing import Final, Protocol

from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.heartbeats import Heartbeats
from node_image.protocols.interface import Command, NodeId
from node_image.protocols.lease import Lease

READ_MODES: Final = ("log", "quorum", "lease")


class AppliedLog(Protocol):
    """The part of a log that reads need: the last applied slot."""

    @property
    def applied(self) -> int: ...


class Reads:
    """The reads that wait at this leader for a confirmed round.

    `recovered_slot`: the last slot that its predecessors may have decided.
    """

    __slots__ = ("_clients", "_ctx", "_heartbeats", "_lease", "_log", "_waiting", "recovered_slot")

    def __init__(
        self,
        context: Context,
        log: AppliedLog,
        clients: Clients,
        heartbeats: Heartbeats,
        lease: Lease,
    ) -> None:
        self._ctx = context
        self._log = log
        self._clients = clients
        self._heartbeats = heartbeats
        self._lease = lease
        self._waiting: list[tuple[int, Command]] = []  # each with the round that it waits for
        self.recovered_slot = 0

    def clear(self) -> None:
        self._waiting = []

    def has_recovered(self) -> bool:
        """Whether everything that predecessors may have decided has been applied."""
        return self._log.applied >= self.recovered_slot

    def take(self, command: Command, now_us: int) -> bool:
        """Serve a read without the log: answer it, or let it wait for a round. False if it has to
        go through the log."""
        mode = self._ctx.config.reads
        if mode == "log":
            return False
        if mode == "lease" and self._lease.is_held(now_us) and self.has_recovered():
            self._ctx.answer(command, self._ctx.machine.apply(command))
        elif self._clients.take(command, now_us):
            self._waiting.append((self._heartbeats.stamp + 1, command))
            if not self._heartbeats.is_under_way():
                self.begin_round(now_us)
        return True

    def begin_round(self, now_us: int) -> None:
        """Send a round of heartbeats; serve reads if this node alone confirms it."""
        if self._heartbeats.begin(now_us):
            self.serve(now_us)

    def acknowledged(self, voter: NodeId, stamp: int, now_us: int) -> None:
        """An acceptor has acknowledged a round."""
        if self._heartbeats.acknowledge(voter, stamp):
            self.serve(now_us)

    def serve(self, now_us: int) -> None:
        """Answer the reads whose round is confirmed; start the round that the others wait for."""
        if not self._waiting or not self.has_recovered():
            return
        confirmed = self._heartbeats.confirmed
        ready = [command for stamp, command in self._waiting if stamp <= confirmed]
        self._waiting = [read for read in self._waiting if read[0] > confirmed]
        for command in ready:
            if self._clients.take_back(command) is not None:
                self._ctx.answer(command, self._ctx.machine.apply(command))
        if self._waiting and not self._heartbeats.is_under_way():
            self.begin_round(now_us)
