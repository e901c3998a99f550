"""Fast Paxos' proposer: every node proposes for the clients that wait at it.

A client's command is always in one of three states: queued; in flight, that is, proposed by this
node in the fast round of some slot; or forwarded to the coordinator, if no fast round is open. It
is done when it is applied, in whichever slot. Until then:

  * If the slot is decided with another value, the command returns to the queue.
  * In a new ballot, commands in flight may be lost, or may still be decided: they return to the
    queue. A command that is decided twice is applied once, because of its session.
  * If nothing happens for a while, the proposal is repeated for the same slot, or the command is
    forwarded again. In the end the client gets an error, and asks another node.

A proposer takes the first slot that it does not know to be used. If two proposers take the same
slot, they collide: each acceptor votes for the value that it receives first (`fast_paxos`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from node_image.protocols import fast_paxos_messages as f
from node_image.protocols.clients import PROPOSED, Clients
from node_image.protocols.context import CANDIDATE, LEADER, Context
from node_image.protocols.fast_paxos_acceptor import FastAcceptor
from node_image.protocols.fast_paxos_rounds import FastSlots, Value
from node_image.protocols.interface import Answer, Broadcast, Command
from node_image.protocols.leadership import Leadership
from node_image.protocols.proposal_queue import ProposalQueue, next_batch
from node_image.protocols.slot_log import SlotLog

FORWARD_RETRIES: Final = 5
"""A forwarded command that was not repeated for this many retry periods is dropped."""


class ForwardedQueue(ProposalQueue):
    """The queue, including commands that other nodes forwarded.

    `asked_us`: for forwarded commands, when they were last forwarded (coordinator only).
    """

    __slots__ = ("asked_us",)

    def __init__(self, context: Context, clients: Clients) -> None:
        super().__init__(context, clients)
        self.asked_us: dict[tuple[int, int], int] = {}

    def clear(self) -> None:
        super().clear()
        self.asked_us.clear()

    def remove(self, names: Collection[tuple[int, int]]) -> None:
        """Remove these commands, by client and seq, from the queue."""
        self.commands = deque(c for c in self.commands if c[:2] not in names)

    def forget_stale(self, since_us: int) -> None:
        """Drop commands that other nodes no longer forward: their clients have given up. Serving
        them first would delay the clients that still wait."""
        stale = {name for name, asked_us in self.asked_us.items() if asked_us < since_us}
        if stale:
            self.remove(stale)
            for name in stale:
                del self.asked_us[name]


class FastLeadership(Leadership):
    """A coordinator's parts: its queue also holds commands that other nodes forward."""

    queue_type = ForwardedQueue
    queue: ForwardedQueue


class FastProposer:
    """The clients of this node, and their commands: queued, in flight, or forwarded."""

    __slots__ = (
        "_acceptor",
        "_arrivals",
        "_clients",
        "_ctx",
        "_leadership",
        "_log",
        "_queue",
        "_retry_timer_set",
        "_slots",
    )

    def __init__(
        self,
        context: Context,
        log: SlotLog,
        clients: Clients,
        slots: FastSlots,
        acceptor: FastAcceptor,
        leadership: FastLeadership,
    ) -> None:
        self._ctx = context
        self._log = log
        self._clients = clients
        self._slots = slots
        self._acceptor = acceptor
        self._leadership = leadership
        self._queue = leadership.queue
        self._arrivals: dict[tuple[int, int], tuple[int, Command]] = {}  # with arrival times
        self._retry_timer_set = False

    # ------------------------------------------------------------------ incoming commands

    def take(self, command: Command, now_us: int) -> bool:
        """A client's command arrives. Returns whether it is to be proposed."""
        if not self._clients.take(command, now_us):
            return False
        self._arrivals[command.client, command.seq] = (now_us, command)
        self._queue.commands.append(command)
        if not self._retry_timer_set:
            self._retry_timer_set = True
            self._ctx.set_timer("retry", self._ctx.config.retry_us)
        return True

    def on_forward(self, message: f.Forward, now_us: int) -> bool:
        """Another node forwards commands. Returns whether this node accepts them."""
        if self._ctx.role not in (LEADER, CANDIDATE):
            return False
        under_way = self._under_way()
        self._queue.commands.extend(c for c in message.commands if c[:2] not in under_way)
        self._queue.asked_us.update((c[:2], now_us) for c in message.commands)
        return True

    def _under_way(self) -> set[tuple[int, int]]:
        """Commands that are queued here, or proposed by this node and not decided. If these arrive
        again they are not queued twice: a slow coordinator's queue would grow without bound."""
        found = {command[:2] for command in self._queue.commands}
        for value in self._slots.in_flight.values():
            found.update(command[:2] for command in value)
        for slot in self._leadership.tally.votes:
            if slot > self._log.applied:
                found.update(command[:2] for command in self._log.entries[slot].commands)
        return found

    def queue_again(self, value: Value) -> None:
        """These were not decided where they were proposed: queue those that clients wait for."""
        waiting = self._clients.waiting
        self._queue.commands.extend(c for c in value if c[:2] in waiting)

    def enter_ballot(self) -> None:
        """In a new ballot nothing is proposed or counted yet: queue again what was in flight."""
        for value in self._slots.enter_ballot():
            self.queue_again(value)

    # ------------------------------------------------------------------ proposing

    def propose_fast(self) -> None:
        """Send queued commands to all acceptors, in the fast rounds of the next slots."""
        slots, config = self._slots, self._ctx.config
        while value := next_batch(self._queue.commands, len(slots.in_flight), config):
            slot = slots.next()
            self._clients.mark_proposed(value)
            slots.in_flight[slot] = value
            self._ctx.count("proposals.fast")
            self.propose_to_all(slot, value)

    def propose_to_all(self, slot: int, value: Value) -> None:
        """Send a value to all acceptors, this one included, for a slot's fast round."""
        promised = self._log.promised
        self._ctx.out.append(Broadcast(f.Propose(promised, slot, value), False))
        self._acceptor.consider(self._ctx.node, promised, slot, value)

    def forward(self, coordinator: int) -> None:
        """Send all queued commands to the coordinator, which proposes them."""
        commands = tuple(self._queue.commands)
        self._queue.commands.clear()
        self._clients.mark_proposed(commands)
        self._ctx.send(coordinator, f.Forward(commands), False)

    # ------------------------------------------------------------------ retries

    def repeat(self, now_us: int) -> None:
        """Propose again what may have been lost; give up what has waited too long."""
        self.enter_ballot()
        self._drop_old_clients(now_us)
        for slot, value in self._slots.in_flight.items():
            self._ctx.out.append(Broadcast(f.Propose(self._log.promised, slot, value), False))
        if self._ctx.role not in (LEADER, CANDIDATE):
            self._forward_again(now_us)

    def repeat_later(self) -> None:
        self._retry_timer_set = bool(self._arrivals)
        if self._arrivals:
            self._ctx.set_timer("retry", self._ctx.config.retry_us)

    def _drop_old_clients(self, now_us: int) -> None:
        waiting, limit_us = self._clients.waiting, 2 * self._ctx.config.election_max_us
        gone: dict[tuple[int, int], None] = {}
        for key, (came_us, command) in self._arrivals.items():
            if key not in waiting:
                gone[key] = None
            elif now_us - came_us > limit_us:
                gone[key] = None
                self._ctx.count("given_up")
                error = "interrupted" if waiting.pop(key) == PROPOSED else "unavailable"
                self._ctx.answer(command, Answer(error, None, self._ctx.leader))
        for key in gone:
            del self._arrivals[key]
        self._queue.remove(gone)

    def _forward_again(self, now_us: int) -> None:
        """Forward again commands that are neither queued nor in flight: they may be lost."""
        here = self._under_way()
        for key, (came_us, command) in self._arrivals.items():
            if key not in here and now_us - came_us >= self._ctx.config.retry_us:
                self._queue.commands.append(command)

    def forget_forwarded(self, now_us: int) -> None:
        self._queue.forget_stale(now_us - FORWARD_RETRIES * self._ctx.config.retry_us)
