"""The clients that wait at a node, from the arrival of a command to its answer.

A command that this node has accepted is in `waiting` until it is applied, or until the node stops
working on it. In the latter case a command that was never proposed gets a definite refusal; one
that was proposed may still be decided by another node, and is answered "interrupted".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.interface import Answer, Command, Decided, NodeId, Reply, make

PROPOSED: Final = -1
"""Instead of an arrival time: the command has been proposed, and may be decided."""


class Clients:
    """The waiting clients, and the execution of commands that answers them."""

    __slots__ = ("_ctx", "waiting")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self.waiting: dict[tuple[int, int], int] = {}
        """(client, seq) -> since when in microseconds, or PROPOSED."""

    def take(self, command: Command, now_us: int) -> bool:
        """Note that a client waits for this command. False if it need not be proposed: it is in
        progress already (and its answer will go to the client), or the queue is full."""
        key = (command.client, command.seq)
        if key in self.waiting:
            return False
        if len(self.waiting) >= self._ctx.config.pending_max:
            self._ctx.answer(command, Answer("overloaded", None, self._ctx.node))
            return False
        self.waiting[key] = now_us
        return True

    def take_back(self, command: Command) -> int | None:
        """The client of this command no longer waits. Returns its arrival time (or PROPOSED), or
        None if it was not waiting."""
        return self.waiting.pop((command.client, command.seq), None)

    def wanted(self, commands: tuple[Command, ...], now_us: int) -> tuple[Command, ...]:
        """Of commands that leave the queue, those that are to be proposed. The others have waited
        longer than a follower waits for a leader, and are refused: their clients have given up, or
        soon will. Proposing them would delay all commands behind them beyond that limit as well,
        and an overload would never end."""
        waiting, since_us = self.waiting, now_us - self._ctx.config.election_max_us
        stale = [c for c in commands if 0 <= waiting.get(c[:2], PROPOSED) < since_us]
        if not stale:
            return commands
        for command in stale:
            if waiting.pop(command[:2], None) is not None:
                self._ctx.count("given_up")
                self._ctx.answer(command, Answer("overloaded", None, self._ctx.node))
        return tuple([c for c in commands if c not in stale])

    def mark_proposed(self, commands: Iterable[Command]) -> None:
        """From now on these may be decided, whatever this node does."""
        waiting = self.waiting
        for client, seq, *_ in commands:
            if (client, seq) in waiting:
                waiting[client, seq] = PROPOSED

    def release(self, leader: NodeId | None) -> None:
        """This node stops working on commands: answer every waiting client accordingly."""
        for (client, seq), since_us in self.waiting.items():
            proposed = since_us == PROPOSED
            answer = Answer("interrupted", None, leader) if proposed else refusal(leader)
            self._ctx.out.append(Reply(client, seq, answer, False))
        self.waiting.clear()

    def execute(
        self, slot: int | str, ballot: tuple[int, ...], commands: tuple[Command, ...]
    ) -> None:
        """Apply one decided value, and answer those of its clients that wait here.

        The answer needs no barrier: a decided value is already on the disks of a quorum.
        """
        ctx, waiting = self._ctx, self.waiting
        out, apply = ctx.out, ctx.machine.apply
        out.append(make(Decided, (slot, ballot, commands)))
        for command in commands:
            answer = apply(command)
            if waiting:
                name = command[:2]  # client and seq
                if waiting.pop(name, None) is not None:
                    out.append(make(Reply, (*name, answer, False)))


def refusal(leader: NodeId | None) -> Answer:
    """The definite refusal of a node that is not the leader, with the leader if known."""
    return Answer("unavailable" if leader is None else "not-leader", None, leader)
