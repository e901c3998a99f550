"""Handing leadership over on request: the planned end of a leader's term.

An administrator asks the leader for it (`TRANSFER`, with the successor's number as its value), to
take a machine out of service, or to lead near the clients. The leader proposes nothing new, waits
until open slots are decided, and notifies the successor (`TimeoutNow`, as in Ongaro's thesis,
3.10), which asks for votes without asking first whether they would be granted. Everything else is
an ordinary election, and as safe: a transfer that fails leaves the old leader, or a time-out, to go
on.

Commands that come meanwhile wait, and are refused when the successor is promised, with its number,
so no client is left in doubt. Where leases are used the successor cannot be elected before the last
one has ended; the leader takes no new ones after it has notified the successor.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.interface import Answer, Command, NodeId


class Transfer:
    """`successor`: the node that leadership is being handed over to, if any. `is_offered`: it has
    been notified."""

    __slots__ = ("_command", "_ctx", "is_offered", "successor")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._command: Command | None = None
        self.successor: NodeId | None = None
        self.is_offered = False

    def begin(self, command: Command) -> bool:
        """The leader is asked to hand over. False where that is done, or cannot be: the answer says
        which."""
        ctx, successor = self._ctx, command.value
        if successor == ctx.node:
            ctx.answer(command, Answer(None, successor, ctx.node))
            return False
        if successor not in ctx.config.voters:
            ctx.answer(command, Answer("unsupported", None, ctx.node))
            return False
        self.give_up()
        self._command, self.successor = command, successor
        ctx.note("transfer", to=successor)
        lease_us = ctx.config.lease_us if ctx.config.reads == "lease" else 0
        ctx.set_timer("transfer", ctx.config.election_min_us + lease_us)
        return True

    def offered(self) -> None:
        """The successor has been notified. The answer means no more than that: it may not
        succeed."""
        self.is_offered = True
        self._answer(None)

    def give_up(self) -> None:
        """The successor has taken over, or has not in time, or this node leads no longer."""
        self._answer("unavailable")
        self.successor = None
        self.is_offered = False

    def _answer(self, error: str | None) -> None:
        command, self._command = self._command, None
        if command is not None:
            self._ctx.answer(command, Answer(error, command.value, self._ctx.leader))
