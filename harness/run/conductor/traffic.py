"""Operations in progress: when each arrives, which node it asks, when it retries, how it ends.

Arrivals are open-loop: they do not wait for answers. If no client is free an operation waits, and
is shed if too many wait. Every operation has two deadlines, of its current attempt and of the
operation, which are rarely reached. They are kept separately from the timers, each kind in the
order in which it is due, and are dropped when they are no longer relevant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from harness.run.clients import Attempt, Client, Outcome
from harness.run.conductor.recorder import EventRecorder, Stats
from harness.run.conductor.timers import NEVER, Timers
from harness.run.config import RunConfig
from harness.runtimes.interface import World
from harness.targets.interface import Response
from harness.workloads import Operation, Workload


class FinalRound(NamedTuple):
    """An operation of the final round, and the time of the first attempt of it or its
    predecessors."""

    operation: Operation
    since_us: int


Ended = Callable[[Operation, bool, FinalRound | None, int], None]
"""Called with the operation, whether it was answered, its FinalRound, and the time."""


class Slot:
    """A slot for one client; when an operation ends as info the next process takes the slot."""

    __slots__ = ("attempt", "calls", "client", "current_call", "finale", "operation_id")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.operation_id = 0  # 0: free
        self.current_call = 0  # 0: no attempt in flight
        self.attempt = 0  # numbers attempts: a delayed one is void if there is a later one
        self.calls: list[int] = []
        self.finale: FinalRound | None = None


class Traffic:
    """`ended` is called for every operation that ends while arrivals are closed."""

    def __init__(
        self,
        config: RunConfig,
        workload: Workload,
        recorder: EventRecorder,
        timers: Timers,
        stats: Stats,
        ended: Ended,
    ) -> None:
        self._config = config
        self._workload = workload
        self._recorder = recorder
        self._timers = timers
        self._stats = stats
        self._ended = ended
        self.world: World
        self._attempts: deque[tuple[int, Slot, int]] = deque()
        self._timeouts: deque[tuple[int, Slot, int]] = deque()
        self._calls: dict[int, tuple[Slot, int]] = {}
        self._call_count = 0
        self._operation_count = 0
        self.arrivals = 0
        self._only = None if config.traffic.only is None else frozenset(config.traffic.only)
        self._backlog = 0
        self._is_open = False
        self._random = Random(f"{config.seed}:arrivals")
        self._mean_us = max(1, round(1e6 / config.traffic.rate))
        self._client_random = Random(f"{config.seed}:clients")
        self._nodes = nodes = config.cluster.voter_ids()
        self.leader_guess = nodes[0]
        self._sessions = config.system.capabilities.sessions
        self._processes = config.traffic.concurrency
        self._slots = [
            Slot(self._client(i, nodes[i % len(nodes)])) for i in range(config.traffic.concurrency)
        ]
        self._free = deque(self._slots)  # in turn: every client has its own view of the leader

    # ------------------------------------------------------------------ arrivals

    def open(self, now_us: int) -> None:
        """Start arrivals."""
        self._is_open = True
        self._arrive(now_us, now_us)

    def close(self) -> None:
        """Stop arrivals; drop waiting operations."""
        self._is_open = False
        self._backlog = 0

    def _arrive(self, due_us: int, now_us: int) -> None:
        """An operation arrives. The time of the next one depends on when this one was due, so that
        a late wake-up does not slow down arrivals."""
        if not self._is_open:
            return
        self.arrivals += 1
        if self._only is not None and self.arrivals - 1 not in self._only:
            self._workload.next()  # later operations stay the same
        elif self._free:
            self.invoke(self._workload.next(), now_us)
        elif self._backlog < self._config.traffic.concurrency:
            self._backlog += 1
        else:
            self._stats.shed += 1
        next_us = due_us + int(self._random.random() * (2 * self._mean_us + 1))
        self._timers.at(next_us, self._arrive, next_us)

    # ------------------------------------------------------------------ attempts

    def invoke(
        self, operation: Operation, now_us: int, *, finale: FinalRound | None = None
    ) -> None:
        """Begin an operation. There must be a free slot."""
        slot = self._free.popleft()
        self._operation_count += 1
        slot.operation_id = self._operation_count
        slot.finale = finale
        client = slot.client
        attempt = client.begin(operation, now_us)
        self._recorder.invoked(client.process, client.seq, operation, now_us)
        timeout_us = self._config.traffic.operation_timeout_us
        if finale:  # it tests liveness: its clients have a longer timeout
            timeout_us = max(timeout_us, self._config.answer_within_us)
        self._timeouts.append((now_us + timeout_us, slot, slot.operation_id))
        self._attempt_now(slot, attempt.node, now_us)

    def answered(self, call: int, response: Response, now_us: int) -> None:
        """One request ended."""
        known = self._calls.pop(call, None)
        if known is None:
            return  # an attempt of an operation that has ended
        slot, node = known
        error = response.error
        if error is None or error == "mismatch":
            self.leader_guess = node
        elif slot.current_call != call:
            return  # an earlier attempt failed; the current one decides
        if slot.current_call == call:
            slot.current_call = 0
        self._go_on(slot, slot.client.answered(node, response, now_us), now_us)

    def _go_on(self, slot: Slot, verdict: Attempt | Outcome, now_us: int) -> None:
        if isinstance(verdict, Outcome):
            self._complete(slot, verdict, now_us)
        else:
            self._attempt_later(slot, verdict, now_us)

    def _client(self, process: int, guess: int) -> Client:
        random = self._client_random
        return Client(process, self._nodes, random, guess, sessions=self._sessions)

    def _attempt_later(self, slot: Slot, attempt: Attempt, now_us: int) -> None:
        if attempt.at_us <= now_us:
            self._attempt_now(slot, attempt.node, now_us)
        else:
            slot.attempt += 1
            self._timers.at(attempt.at_us, self._attempt_due, (slot, slot.attempt, attempt.node))

    def _attempt_due(self, due: tuple[Slot, int, int], now_us: int) -> None:
        slot, attempt, node = due
        if slot.operation_id and slot.attempt == attempt:
            self._attempt_now(slot, node, now_us)

    def _attempt_now(self, slot: Slot, node: int, now_us: int) -> None:
        slot.attempt += 1
        self._call_count += 1
        call = self._call_count
        slot.current_call = call
        slot.calls.append(call)
        self._calls[call] = (slot, node)
        if slot.client.may_repeat():  # otherwise it can only wait
            self._attempts.append((now_us + self._config.traffic.attempt_timeout_us, slot, call))
        self.world.request(call, node, slot.client.request())

    # ------------------------------------------------------------------ deadlines

    def due_us(self) -> int:
        """When the next relevant deadline is due."""
        attempts, timeouts = self._attempts, self._timeouts
        while attempts and attempts[0][1].current_call != attempts[0][2]:
            attempts.popleft()
        while timeouts and timeouts[0][1].operation_id != timeouts[0][2]:
            timeouts.popleft()
        due_us = attempts[0][0] if attempts else NEVER
        return timeouts[0][0] if timeouts and timeouts[0][0] < due_us else due_us

    def expire(self, now_us: int) -> None:
        """Operations that have waited too long ask another node, or give up."""
        while self._attempts and self._attempts[0][0] <= now_us:
            _, slot, call = self._attempts.popleft()
            if slot.current_call == call:
                slot.current_call = 0  # a late answer is still accepted, see `answered`
                self._go_on(slot, slot.client.timed_out(now_us), now_us)
        while self._timeouts and self._timeouts[0][0] <= now_us:
            _, slot, operation_id = self._timeouts.popleft()
            if slot.operation_id == operation_id:
                in_flight = slot.current_call != 0
                self._complete(slot, slot.client.give_up(in_flight=in_flight), now_us)

    def abandon(self, now_us: int) -> None:
        """All operations in progress give up."""
        for slot in self._slots:
            if slot.operation_id:
                in_flight = slot.current_call != 0
                self._free_up(slot, slot.client.give_up(in_flight=in_flight), now_us)

    def forget(self) -> None:
        """Drop all deadlines."""
        self._attempts.clear()
        self._timeouts.clear()

    # ------------------------------------------------------------------ ends

    def has_room(self) -> bool:
        return bool(self._free)

    def is_idle(self) -> bool:
        return len(self._free) == len(self._slots)

    def of_finale(self) -> list[FinalRound]:
        """The operations of the final round in progress."""
        return [slot.finale for slot in self._slots if slot.finale]

    def _complete(self, slot: Slot, outcome: Outcome, now_us: int) -> None:
        operation, finale = slot.client.operation, slot.finale
        self._free_up(slot, outcome, now_us)
        if not self._is_open:
            answered = outcome.type == "ok" or outcome.error == "mismatch"
            self._ended(operation, answered, finale, now_us)
        elif self._backlog:
            self._backlog -= 1
            self.invoke(self._workload.next(), now_us)

    def _free_up(self, slot: Slot, outcome: Outcome, now_us: int) -> None:
        """Record how the operation ended, and free the slot."""
        client, operation = slot.client, slot.client.operation
        for call in slot.calls:
            self._calls.pop(call, None)
        slot.calls.clear()
        slot.operation_id = slot.current_call = 0
        slot.finale = None
        self._stats.outcomes[outcome.type] += 1
        self._recorder.ended(client.process, client.seq, operation, outcome, now_us)
        if outcome.type == "ok":
            self._workload.saw(operation, outcome.value)
        elif outcome.error == "mismatch":
            self._workload.saw(Operation("read", operation.key, None), outcome.value)
        elif outcome.type == "info":
            process = self._processes
            self._processes += 1
            slot.client = self._client(process, client.guess)
        self._free.append(slot)
