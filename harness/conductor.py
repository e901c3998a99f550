"""The run as a pure state machine: who asks what when, which fault strikes when, what is recorded.

    warm-up   one client asks until the cluster answers: the chaos clock starts there
    chaos     operations arrive at the configured rate (open loop: arrivals do not wait for
              answers; one that finds no free client waits, and is shed when too many wait), and the
              schedule's faults strike and are taken back at their times
    heal      no new operations; every fault is taken back (or, if so configured, only what strikes
              a quorum: the other nodes stay as broken as they are), operations under way end
    finale    the workload's last round must succeed within a bound: the cluster is live
    done

The conductor knows neither sockets nor clocks: a runtime drives it (see `harness.runtimes.seam`),
with real time or virtual. Everything random here comes from streams named after the seed.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from faults.description import Fault
from faults.planner import Schedule
from harness.clients import Attempt, Client, Outcome
from harness.config import RunConfig
from harness.runtimes.seam import FaultReport, Response, World
from harness.workloads import Operation, Workload
from histories.events import NEMESIS, Event
from node_image.protocols.seam import make

PHASES: Final = ("warm-up", "chaos", "heal", "finale", "done")
HEAL_TIMEOUT_US: Final = 30_000_000
NEVER: Final = 1 << 62


@dataclass
class Stats:
    """Counts for the live display and the summary; the history holds the details."""

    phase: str = "warm-up"
    outcomes: dict[str, int] = field(default_factory=lambda: {"ok": 0, "fail": 0, "info": 0})
    shed: int = 0
    active: dict[str, str] = field(default_factory=dict)
    injected: int = 0
    unverified: list[str] = field(default_factory=list)
    chaos_start_us: int | None = None
    not_live: str | None = None
    interrupted: bool = False


@dataclass
class ActiveFault:
    """A fault that has been asked for. `stage` goes injecting, active, healing. One to `keep`
    outlasts the run: it strikes only nodes that the finale must do without."""

    fault: Fault
    end_us: int
    stage: str = "injecting"
    keep: bool = False


class Slot:
    """Room for one client; when an operation ends as info the next process takes the room."""

    __slots__ = ("calls", "client", "current_call", "finale", "operation_id")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.operation_id = 0  # 0: free
        self.current_call = 0  # 0: no attempt in flight
        self.calls: list[int] = []
        self.finale: Operation | None = None


class Conductor:
    """Drive it through `begin`, `answered`, `woke`, `fault_done` and `interrupt`; read `done`."""

    def __init__(
        self,
        config: RunConfig,
        schedule: Schedule,
        workload: Workload,
        record: Callable[[Event], None],
    ) -> None:
        self.config = config
        self.stats = Stats()
        self.done = False
        self.active: dict[str, ActiveFault] = {}
        self._schedule = schedule
        self._workload = workload
        self._record = record
        self._world: World
        self._events = 0
        self._timers: list[tuple[int, int, Callable[[Any, int], None], Any]] = []
        self._timer_count = 0
        self._armed_us = NEVER
        # Every operation has two deadlines, and hardly any is reached: they are kept apart from
        # the timers, in the order in which they fall due, and dropped unseen when they are void.
        self._attempts: deque[tuple[int, Slot, int]] = deque()
        self._patience: deque[tuple[int, Slot, int]] = deque()
        self._calls: dict[int, tuple[Slot, int]] = {}
        self._call_count = 0
        self._operation_count = 0
        self.arrivals = 0
        self._only = None if config.only is None else frozenset(config.only)
        self._backlog = 0
        self._deadline_us = 0
        self._finale: list[Operation] = []
        self._leader_guess = config.voter_ids()[0]
        self._arrivals = Random(f"{config.seed}:arrivals")
        self._client_random = Random(f"{config.seed}:clients")
        self._arrival_mean_us = max(1, round(1e6 / config.rate))
        self._nodes = config.voter_ids()
        self._core = config.core()
        self._processes = config.concurrency
        self._slots = [
            Slot(Client(i, self._nodes, self._client_random, self._nodes[i % len(self._nodes)]))
            for i in range(config.concurrency)
        ]
        self._free = deque(self._slots)  # in turn: every client has its own belief of who leads

    # ------------------------------------------------------------------ what a runtime calls

    def begin(self, world: World, now_us: int) -> None:
        """The cluster is up; the run starts."""
        self._world = world
        self._deadline_us = now_us + self.config.liveness_timeout_us
        self._invoke(self._workload.next(), now_us)
        self._arm()

    def answered(self, call: int, response: Response, now_us: int) -> None:
        """One request ended."""
        known = self._calls.pop(call, None)
        if known is None:
            return  # an attempt of an operation that has ended
        slot, node = known
        error = response.error
        if error is None or error == "mismatch":
            self._leader_guess = node
        elif slot.current_call != call:
            return  # an earlier attempt went wrong; the current one decides
        if slot.current_call == call:
            slot.current_call = 0
        verdict = slot.client.answered(node, response, now_us)
        if isinstance(verdict, Outcome):
            self._complete(slot, verdict, now_us)
        else:
            self._attempt_later(slot, verdict, now_us)
        self._arm()

    def woke(self, now_us: int) -> None:
        """Time has come for what was put off until now."""
        self._armed_us = NEVER
        timers = self._timers
        while timers and timers[0][0] <= now_us and not self.done:
            _, _, action, argument = heapq.heappop(timers)
            action(argument, now_us)
        while self._attempts and self._attempts[0][0] <= now_us and not self.done:
            _, slot, call = self._attempts.popleft()
            self._attempt_over(slot, call, now_us)
        while self._patience and self._patience[0][0] <= now_us and not self.done:
            _, slot, operation_id = self._patience.popleft()
            self._give_up(slot, operation_id, now_us)
        self._arm()

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        """The runtime has carried `what` ("inject" or "heal") out, or says why not."""
        self._nemesis("info", what, fault, now_us, report.to_json())
        if not report.verified:
            self.stats.unverified.append(
                f"{what} {fault.describe()} ({fault.id}): {report.problem or 'not verified'}"
            )
        entry = self.active[fault.id]
        if what == "heal":
            del self.active[fault.id]
            self.stats.active.pop(fault.id, None)
            self._advance(now_us)
        elif entry.keep:
            entry.stage = "active"
            self._advance(now_us)
        else:
            entry.stage = "active"
            if self.stats.phase != "chaos" or entry.end_us <= now_us:
                self._heal(fault.id, now_us)
        self._arm()

    def interrupt(self, now_us: int) -> None:
        """Stop early: heal, let operations end, skip the finale."""
        if self.stats.phase in ("warm-up", "chaos"):
            self.stats.interrupted = True
            self._end_chaos(None, now_us)
            self._arm()

    # ------------------------------------------------------------------ phases

    def _enter(self, phase: str, now_us: int, **more: Any) -> None:
        """Phases stand in the history too: a run is judged from its folder alone."""
        self.stats.phase = phase
        self._events += 1
        self._record(
            Event(
                self._events - 1, now_us * 1000, NEMESIS, "info", "phase", value=phase, extra=more
            )
        )

    def _start_chaos(self, now_us: int) -> None:
        self._enter("chaos", now_us)
        self.stats.chaos_start_us = now_us
        for fault in self._schedule.faults:
            self._at(now_us + fault.start_us, self._inject, fault)
        self._at(now_us + self.config.time_us, self._end_chaos, None)
        self._arrive(now_us, now_us)

    def _arrive(self, due_us: int, now_us: int) -> None:
        """An operation arrives. The next one's time follows from when this one was due: a
        controller that is woken late must not slow the arrivals down."""
        if self.stats.phase != "chaos":
            return
        self.arrivals += 1
        if self._only is not None and self.arrivals - 1 not in self._only:
            self._workload.next()  # what comes later stays what it was
        elif self._free:
            self._invoke(self._workload.next(), now_us)
        elif self._backlog < self.config.concurrency:
            self._backlog += 1
        else:
            self.stats.shed += 1
        next_us = due_us + int(self._arrivals.random() * (2 * self._arrival_mean_us + 1))
        self._at(next_us, self._arrive, next_us)

    def _end_chaos(self, _: None, now_us: int) -> None:
        if self.stats.phase not in ("warm-up", "chaos"):
            return
        self._enter("heal", now_us)
        self._backlog = 0
        self._deadline_us = now_us + HEAL_TIMEOUT_US
        self._at(self._deadline_us, self._overdue, "heal")
        for entry in list(self.active.values()):
            self._heal_quorum(entry, now_us)
        self._advance(now_us)

    def _heal_quorum(self, entry: ActiveFault, now_us: int) -> None:
        """Take back what a fault does to the nodes that must answer now, and leave the rest."""
        rest = entry.fault.beyond(self._core) if self._core else None
        if rest == entry.fault and entry.stage == "active":
            entry.keep = True
            return
        self._heal(entry.fault.id, now_us)
        if rest is not None and entry.stage == "healing":
            rest = dataclasses.replace(rest, id=f"{rest.id}-rest")
            self.active[rest.id] = ActiveFault(rest, entry.end_us, keep=True)
            self.stats.active[rest.id] = rest.describe()
            self._nemesis("invoke", "inject", rest, now_us, None)
            self._world.inject(rest)

    def _waits_for_faults(self) -> bool:
        """Is some fault still on its way in or out?"""
        return any(not a.keep or a.stage == "injecting" for a in self.active.values())

    def _advance(self, now_us: int) -> None:
        """Go to the next phase when this one has nothing left to wait for."""
        idle = len(self._free) == len(self._slots)
        if self.stats.phase == "heal" and idle and not self._waits_for_faults():
            if self.stats.interrupted or self.stats.chaos_start_us is None:
                self._finish(now_us)
                return
            if not self.config.finale:
                self._finish(now_us)
                return
            self._enter("finale", now_us)
            self._finale = list(reversed(self._workload.finale()))
            self._deadline_us = now_us + self.config.liveness_timeout_us
            self._at(self._deadline_us, self._overdue, "finale")
        if self.stats.phase == "finale":
            while self._finale and self._free:
                self._invoke(self._finale.pop(), now_us, finale=True)
            if not self._finale and len(self._free) == len(self._slots):
                self._finish(now_us)

    def _overdue(self, phase: str, now_us: int) -> None:
        if self.stats.phase != phase:
            return
        seconds = self.config.liveness_timeout_us / 1e6
        if phase == "finale":
            waiting = [s.finale for s in self._slots if s.finale] + self._finale
            first = waiting[0]
            self.stats.not_live = (
                f"{seconds:g} s after {self._healed()} healed, {len(waiting)} operations of the "
                f"last round had not succeeded, among them {first.f} {first.key}"
            )
        elif self._waits_for_faults():
            names = ", ".join(a.fault.describe() for a in self.active.values())
            self.stats.unverified.append(f"healing did not end in time: {names}")
        self._abandon(now_us)
        self._finish(now_us)

    def _healed(self) -> str:
        if not self._core:
            return "everything was"
        return f"a quorum ({', '.join(f'n{n}' for n in self._core)}) was"

    def _never_answered(self, now_us: int) -> None:
        self.stats.not_live = (
            f"the cluster answered no operation within {self.config.liveness_timeout_us / 1e6:g} s "
            "of its start, before any fault"
        )
        self._abandon(now_us)
        self._finish(now_us)

    def _abandon(self, now_us: int) -> None:
        for slot in self._slots:
            if slot.operation_id:
                in_flight = slot.current_call != 0
                self._close(slot, slot.client.give_up(in_flight=in_flight), now_us)

    def _finish(self, now_us: int) -> None:
        stats = self.stats
        self._enter(
            "done",
            now_us,
            not_live=stats.not_live,
            interrupted=stats.interrupted,
            shed=stats.shed,
            **({} if self.config.finale else {"finale": False}),
        )
        self.done = True
        self._timers.clear()  # they refer back to this object
        self._attempts.clear()
        self._patience.clear()

    # ------------------------------------------------------------------ operations

    def _invoke(self, operation: Operation, now_us: int, *, finale: bool = False) -> None:
        slot = self._free.popleft()
        self._operation_count += 1
        slot.operation_id = self._operation_count
        slot.finale = operation if finale else None
        client = slot.client
        attempt = client.begin(operation, now_us)
        self._append(
            now_us,
            client.process,
            "invoke",
            operation,
            operation.value,
            extra={"client": client.process + 1, "seq": client.seq},
        )
        timeout_us = self.config.operation_timeout_us
        self._patience.append((now_us + timeout_us, slot, slot.operation_id))
        self._attempt_now(slot, attempt.node, now_us)

    def _attempt_later(self, slot: Slot, attempt: Attempt, now_us: int) -> None:
        if attempt.at_us <= now_us:
            self._attempt_now(slot, attempt.node, now_us)
        else:
            self._at(attempt.at_us, self._attempt_due, (slot, slot.operation_id, attempt.node))

    def _attempt_due(self, due: tuple[Slot, int, int], now_us: int) -> None:
        slot, operation_id, node = due
        if slot.operation_id == operation_id:
            self._attempt_now(slot, node, now_us)

    def _attempt_now(self, slot: Slot, node: int, now_us: int) -> None:
        self._call_count += 1
        call = self._call_count
        slot.current_call = call
        slot.calls.append(call)
        self._calls[call] = (slot, node)
        self._attempts.append((now_us + self.config.attempt_timeout_us, slot, call))
        self._world.request(call, node, slot.client.command())

    def _attempt_over(self, slot: Slot, call: int, now_us: int) -> None:
        if slot.current_call == call:
            slot.current_call = 0  # an answer that still comes is taken, see `answered`
            self._attempt_later(slot, slot.client.timed_out(now_us), now_us)

    def _give_up(self, slot: Slot, operation_id: int, now_us: int) -> None:
        if slot.operation_id == operation_id:
            in_flight = slot.current_call != 0
            self._complete(slot, slot.client.give_up(in_flight=in_flight), now_us)

    def _complete(self, slot: Slot, outcome: Outcome, now_us: int) -> None:
        operation, finale = slot.client.operation, slot.finale
        self._close(slot, outcome, now_us)
        answered = outcome.type == "ok" or outcome.error == "mismatch"
        phase = self.stats.phase
        if phase == "warm-up":
            if answered:
                self._start_chaos(now_us)
            elif now_us >= self._deadline_us:
                self._never_answered(now_us)
            else:
                self._invoke(self._workload.next(), now_us)
            return
        if phase == "chaos" and self._backlog:
            self._backlog -= 1
            self._invoke(self._workload.next(), now_us)
        elif phase in ("heal", "finale"):
            if finale is not None and not answered:
                self._finale.append(self._workload.again(operation))
            self._advance(now_us)

    def _close(self, slot: Slot, outcome: Outcome, now_us: int) -> None:
        """Record how the operation ended, and free the slot."""
        client, operation = slot.client, slot.client.operation
        for call in slot.calls:
            self._calls.pop(call, None)
        slot.calls.clear()
        slot.operation_id = slot.current_call = 0
        slot.finale = None
        self.stats.outcomes[outcome.type] += 1
        mismatch = outcome.error == "mismatch"
        is_ok = outcome.type == "ok"
        self._append(
            now_us,
            client.process,
            outcome.type,
            operation,
            outcome.value if is_ok and operation.f == "read" else operation.value,
            node=outcome.node,
            error=outcome.error,
            observed=outcome.value if mismatch else None,
            has_observed=mismatch,
            extra={"client": client.process + 1, "seq": client.seq} if is_ok else None,
        )
        if outcome.type == "ok":
            self._workload.saw(operation, outcome.value)
        elif mismatch:
            self._workload.saw(Operation("read", operation.key, None), outcome.value)
        if outcome.type == "info":
            process = self._processes
            self._processes += 1
            slot.client = Client(process, self._nodes, self._client_random, client.guess)
        self._free.append(slot)

    # ------------------------------------------------------------------ faults

    def _inject(self, fault: Fault, now_us: int) -> None:
        if self.stats.phase != "chaos":
            return
        leader = self._world.leader() or self._leader_guess
        resolved = fault.resolve(leader, self.config.node_ids())
        start_us = self.stats.chaos_start_us or 0
        self.active[fault.id] = ActiveFault(resolved, start_us + fault.end_us)
        self.stats.active[fault.id] = resolved.describe()
        self.stats.injected += 1
        self._nemesis("invoke", "inject", resolved, now_us, None)
        self._at(start_us + fault.end_us, self._heal, fault.id)
        self._world.inject(resolved)

    def _heal(self, identity: str, now_us: int) -> None:
        entry = self.active.get(identity)
        if entry is None or entry.stage != "active" or entry.keep:
            return  # not there yet (healed as soon as it is), or being healed
        entry.stage = "healing"
        self._nemesis("invoke", "heal", entry.fault, now_us, None)
        self._world.heal(entry.fault)

    def _nemesis(
        self, kind: str, what: str, fault: Fault, now_us: int, extra: dict[str, Any] | None
    ) -> None:
        self._events += 1
        self._record(
            Event(
                self._events - 1,
                now_us * 1000,
                NEMESIS,
                kind,
                what,
                value=fault.to_json(),
                extra=extra,
            )
        )

    # ------------------------------------------------------------------ time and the record

    def _append(
        self,
        now_us: int,
        process: int,
        kind: str,
        operation: Operation,
        value: Any,
        *,
        node: int | None = None,
        error: str | None = None,
        observed: Any = None,
        has_observed: bool = False,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._events += 1
        event = (
            self._events - 1,
            now_us * 1000,
            process,
            kind,
            operation[0],
            operation[1],
            value,
            node,
            error,
            observed,
            has_observed,
            extra,
        )
        self._record(make(Event, event))

    def _at(self, at_us: int, action: Callable[[Any, int], None], argument: Any) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (at_us, self._timer_count, action, argument))

    def _arm(self) -> None:
        """Have the world wake us when the next thing is due, if it will not do so already."""
        if self.done:
            return
        due_us = self._timers[0][0] if self._timers else NEVER
        attempts, patience = self._attempts, self._patience
        while attempts and attempts[0][1].current_call != attempts[0][2]:
            attempts.popleft()
        while patience and patience[0][1].operation_id != patience[0][2]:
            patience.popleft()
        if attempts and attempts[0][0] < due_us:
            due_us = attempts[0][0]
        if patience and patience[0][0] < due_us:
            due_us = patience[0][0]
        if due_us < self._armed_us:
            self._armed_us = due_us
            self._world.wake(due_us)
