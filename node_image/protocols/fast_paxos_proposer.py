"""Fast Paxos' proposer: every node, for the clients that wait at it.

A command that a client asked for is, at any time, in one of three places: in the queue; in flight,
proposed by this node in the fast round of some slot; or forwarded to the coordinator, while no fast
round is open. It is over when it is applied, in whichever slot. Until then:

  * the slot was decided with another value: the command goes back to the queue;
  * a new ballot: what was in flight may be lost, or may be decided yet: back to the queue, too. A
    command that is decided twice is applied once, thanks to its session;
  * nothing happens for a while: the proposal is sent again for the same slot, the forwarded command
    is forwarded again; in the end the client is told the truth, and asks somebody else.

A proposer takes the first slot that it does not know to be used. Two that do so at once collide:
the acceptors vote for whichever value reaches them first (`fast_paxos`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from node_image.protocols import fast_paxos_messages as f
from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.batches import next_batch
from node_image.protocols.fast_paxos_rounds import FastTally, Value
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Effect,
    NodeId,
    Randomness,
    StateMachine,
)
from node_image.protocols.learned_values import LearnedValues
from node_image.protocols.multi_paxos import MultiPaxos
from node_image.protocols.replica import CANDIDATE, LEADER, PROPOSED, refusal

FORWARD_RETRIES: Final = 5
"""A forwarded command that has not been sent again for so many retries is wanted no more."""
CLOSED: Final = f.Any(Ballot(-1, 0), 0)
"""Before the first `Any`: no ballot is as low as this."""


class FastPaxosProposer(LearnedValues, MultiPaxos):
    """Adds the clients' side of the fast rounds. Subclasses vote and count."""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._any = CLOSED  # which slots are open, in which ballot
        self._page: Ballot = ZERO  # the ballot that the next three belong to
        self._used = 0  # the last slot that is known to be used
        self._in_flight: dict[int, Value] = {}  # own values in fast rounds, by slot
        self._fast_tallies: dict[int, FastTally] = {}
        self._clients: dict[tuple[int, int], tuple[int, Command]] = {}  # when they came
        self._forwarded: dict[tuple[int, int], int] = {}  # coordinator: when it was asked for last
        self._retry_timer_set = False

    def _consider(self, proposer: NodeId, ballot: Ballot, slot: int, value: Value) -> None:
        """Vote, as an acceptor, for a value proposed in a slot's fast round."""
        raise NotImplementedError

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._out = []
        if self._is_learner:
            self._answer(command, refusal(self.leader))
        elif command.f == "read" and self._read(command, now_us):
            pass
        elif self._takes(command, now_us):
            self._clients[command.client, command.seq] = (now_us, command)
            self._queue.append(command)
            if not self._retry_timer_set:
                self._retry_timer_set = True
                self._set_timer("retry", self.config.retry_us)
            self._open_slots(now_us)
        return out

    def _open_slots(self, now_us: int) -> None:
        """Propose what is queued: fast if that is open, else through the coordinator."""
        self._turn_page()
        if not self._queue:
            return
        if self._is_open(self._promised, self._next_slot()):
            while batch := next_batch(self._queue, len(self._in_flight), self.config):
                self._propose_fast(batch)
        elif self.role == LEADER:
            super()._open_slots(now_us)
        elif self.leader is not None:
            commands = tuple(self._queue)
            self._queue.clear()
            self._mark_proposed(commands)
            self._send(self.leader, f.Forward(commands), False)

    def _on_forward(self, sender: NodeId, message: f.Forward, now_us: int) -> None:
        if self.role in (LEADER, CANDIDATE):
            under_way = self._under_way()
            self._queue.extend(c for c in message.commands if c[:2] not in under_way)
            self._forwarded.update((c[:2], now_us) for c in message.commands)
            self._open_slots(now_us)

    def _under_way(self) -> set[tuple[int, int]]:
        """Commands that are queued here, or proposed by this node and not decided: what is sent
        once more needs no second place. A slow coordinator's queue would grow for ever."""
        found = {command[:2] for command in self._queue}
        for value in self._in_flight.values():
            found.update(command[:2] for command in value)
        for slot in self._tallies:
            if not self._is_settled(slot):
                found.update(command[:2] for command in self._log.entries[slot].commands)
        return found

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        super()._step_down(why, now_us, leader)
        self._forwarded.clear()

    def _forget_forwarded(self, now_us: int) -> None:
        """Drop what others have stopped asking for: their clients have given up. A coordinator
        that served those first would be late for the ones that wait."""
        since_us = now_us - FORWARD_RETRIES * self.config.retry_us
        stale = {name for name, asked_us in self._forwarded.items() if asked_us < since_us}
        if stale:
            self._queue = deque(c for c in self._queue if c[:2] not in stale)
            for name in stale:
                del self._forwarded[name]

    def _turn_page(self) -> None:
        """In a new ballot nothing is proposed or counted yet; what was under way may be lost."""
        if self._page == self._promised:
            return
        self._page = self._promised
        self._fast_tallies.clear()
        values, self._in_flight = self._in_flight, {}
        for value in values.values():
            self._queue_again(value)

    def _queue_again(self, value: Value) -> None:
        """These were not decided where they were proposed: propose those that still wait."""
        self._queue.extend(c for c in value if c[:2] in self._waiting)

    def _on_retry_timer(self, now_us: int) -> None:
        """Propose again what may have been lost; give up what waits for too long."""
        self._turn_page()
        self._drop_old_clients(now_us)
        for slot, value in self._in_flight.items():
            self._out.append(Broadcast(f.Propose(self._promised, slot, value), False))
        if self.role not in (LEADER, CANDIDATE):
            self._forward_again(now_us)
        self._open_slots(now_us)
        self._retry_timer_set = bool(self._clients)
        if self._clients:
            self._set_timer("retry", self.config.retry_us)

    def _drop_old_clients(self, now_us: int) -> None:
        waiting, patience_us = self._waiting, 2 * self.config.election_max_us
        gone = {}
        for key, (came_us, command) in self._clients.items():
            if key not in waiting:
                gone[key] = command
            elif now_us - came_us > patience_us:
                gone[key] = command
                self._count("given_up")
                error = "interrupted" if waiting.pop(key) == PROPOSED else "unavailable"
                self._answer(command, Answer(error, None, self.leader))
        for key in gone:
            del self._clients[key]
        self._queue = deque(c for c in self._queue if c[:2] not in gone)

    def _forward_again(self, now_us: int) -> None:
        """What is neither queued nor in flight was forwarded, and then perhaps lost."""
        here = self._under_way()
        for key, (came_us, command) in self._clients.items():
            if key not in here and now_us - came_us >= self.config.retry_us:
                self._queue.append(command)

    # ------------------------------------------------------------------ the fast round

    def _next_slot(self) -> int:
        return max(self._used, self._log.applied, self._any.first - 1) + 1

    def _is_open(self, ballot: Ballot, slot: int) -> bool:
        """Whether the coordinator of the promised ballot has opened the slot's fast round."""
        return ballot == self._promised == self._any.ballot and slot >= self._any.first

    def _on_any(self, sender: NodeId, message: f.Any, now_us: int) -> None:
        if self._hear(sender, message.ballot, now_us) and message != self._any:
            self._any = message
            self._used = message.first - 1
            self._open_slots(now_us)

    def _propose_fast(self, value: Value) -> None:
        """Send a value to all acceptors, for the first slot that nobody is known to want."""
        slot = self._next_slot()
        self._mark_proposed(value)
        self._in_flight[slot] = value
        self._count("proposals.fast")
        self._propose_to_all(slot, value)

    def _propose_to_all(self, slot: int, value: Value) -> None:
        self._out.append(Broadcast(f.Propose(self._promised, slot, value), False))
        self._consider(self.node, self._promised, slot, value)
