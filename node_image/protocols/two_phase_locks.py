"""The locks of a two-phase commit node, and the reads that wait for them.

Transactions lock the key and the client's session: the state machine keeps the last command of each
client, so all nodes must apply a client's commands in the same order, whatever their keys. Writers
never wait for a lock, so there is no deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import Command
from node_image.protocols.two_phase_messages import Txn

Resource: TypeAlias = str | int
"""What can be locked: a key, or a client's session, by its number."""


class Locks:
    """`held`: which transaction holds each resource."""

    def __init__(self, context: Context, clients: Clients) -> None:
        self._ctx = context
        self._clients = clients
        self.held: dict[Resource, Txn] = {}
        self._blocked: dict[
            Resource, list[tuple[int, Command]]
        ] = {}  # reads, with their arrival times

    def block(self, read: Command, now_us: int) -> None:
        """Let a read wait until its key is released."""
        if self._clients.take(read, now_us):
            self._ctx.count("blocked")
            self._blocked.setdefault(read.key, []).append((now_us, read))

    def resources(self, commands: Iterable[Command]) -> Iterator[Resource]:
        """The resources that these commands need."""
        for command in commands:
            yield command.key
            if command.client:
                yield command.client

    def lock(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        for resource in self.resources(commands):
            self.held[resource] = txn

    def unlock(self, txn: Txn, commands: tuple[Command, ...], now_us: int) -> None:
        """Release the transaction's locks, and answer the reads that waited for them."""
        for resource in self.resources(commands):
            if self.held.get(resource) == txn:
                del self.held[resource]
                for since_us, read in self._blocked.pop(resource, ()):
                    self._ctx.counters["blocked_us"] += now_us - since_us
                    if self._clients.take_back(read) is not None:
                        self._ctx.answer(read, self._ctx.machine.apply(read))

    def first_held(self, command: Command) -> Resource | None:
        """The first resource that this command needs and a transaction holds."""
        return next((r for r in self.resources((command,)) if r in self.held), None)

    def holders(self, commands: tuple[Command, ...]) -> tuple[Txn, ...]:
        """The transactions that hold locks that these commands need."""
        locks = self.held
        return tuple({locks[r]: None for r in self.resources(commands) if r in locks})
