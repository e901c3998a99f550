"""Leadership transfer on request.

An administrator requests it from the leader (`TRANSFER`, with the successor's number as its value),
to take a machine out of service, or to place the leader near the clients. The leader stops
proposing, waits until open slots are decided, and notifies the successor (`TimeoutNow`, as in
Ongaro's thesis, 3.10), which begins an election without a pre-vote or probe. The rest is an
ordinary election, and as safe. If the transfer fails, the old leader continues, or another election
follows after a timeout.

Commands that arrive meanwhile wait. When the old leader promises to, or votes for, the successor,
they are refused with its number, so their outcome is definite. With leases the successor cannot be
elected before the last one has expired; the leader acquires no lease after it has notified the
successor.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.interface import Answer, Command, NodeId


class Transfer:
    """`successor`: the node that leadership is being transferred to, if any. `is_offered`: it was
    notified."""

    __slots__ = ("_command", "_ctx", "is_offered", "successor")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._command: Command | None = None
        self.successor: NodeId | None = None
        self.is_offered = False

    def begin(self, command: Command) -> bool:
        """The leader is asked to transfer leadership. False if there is nothing to do, or it is not
        possible; the answer states which."""
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
        """The successor was notified. The request is answered; whether the successor is elected is
        still open."""
        self.is_offered = True
        self._answer(None)

    def give_up(self) -> None:
        """End the transfer: it succeeded, timed out, or this node no longer leads."""
        self._answer("unavailable")
        self.successor = None
        self.is_offered = False

    def _answer(self, error: str | None) -> None:
        command, self._command = self._command, None
        if command is not None:
            self._ctx.answer(command, Answer(error, command.value, self._ctx.leader))
