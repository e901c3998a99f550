"""Open-loop clients around a loop of leader failures.

Operations are sent at their scheduled times, whether or not earlier ones were answered, and each
counts from that time: there is no coordinated omission. They alternate between reads and writes,
and between clients that send to the leader and clients that send to another node first.

The loop, for each failure:

    calm      until the healthy time is over, if one is configured, and everything has been
              answered in time for CALM_US; then a random delay, so that failures are spread over
              the interval between two heartbeats
    failing   the fault is injected; its verified time is the zero of the window
    holding   until everything has been answered in time for SUSTAINED_US (the service is back), or
              `hold_max_us` are over (it is not); the same if another node failed
    healing   the fault is healed

In protocols without a leader, a random node is chosen for each failure, and the clients of
"the leader" are those that send to this node first.

The probe is what a runtime drives (`harness.runtimes.interface.Driven`), in containers and in the
simulator alike. Times are microseconds of the runtime's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from faults.description import Fault
from harness.bench.failover.failures import LeaderFailure
from harness.run.clients import Attempt, Client, Outcome
from harness.run.conductor.recorder import EventRecorder
from harness.run.conductor.timers import NEVER, Timers
from harness.runtimes.interface import FaultReport, World
from harness.targets.interface import Request, Response
from harness.workloads import Operation
from histories.events import Event

CALM_US: Final = 300_000
SUSTAINED_US: Final = 400_000
WARM_UP_US: Final = 1_000_000
GROUPS: Final = ("leader", "others")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What a probe does. `interval_us` is the time between two operations; an operation is answered
    in time if it takes at most `in_time_us`."""

    nodes: tuple[int, ...]
    failure: LeaderFailure
    failures: int
    interval_us: int = 2_000
    attempt_timeout_us: int = 60_000
    operation_timeout_us: int = 1_000_000
    in_time_us: int = 100_000
    hold_max_us: int = 8_000_000
    calm_max_us: int = 30_000_000
    spread_us: int = 100_000
    """The random delay before a failure is at most this long: one heartbeat."""
    healthy_us: int = 0
    """The length of the period without failures at the start, in which elections are counted."""
    keys: int = 64
    has_leader: bool = True
    transfer: Callable[[int, int, int], Request] | None = None
    """For a leadership transfer: builds the request from a client, its sequence number and the
    successor."""
    seed: int = 0
    sessions: bool = True


class Sample(NamedTuple):
    """One operation: when it was scheduled, when it ended, and whether it was answered.
    `group` is one of GROUPS."""

    intended_us: int
    end_us: int
    f: str
    group: str
    ok: bool
    indefinite: bool


@dataclass
class Failure:
    """One failure, as the loop observed it. `applied_us`: when it was proven to have taken effect,
    or None."""

    number: int
    leader: int
    asked_us: int
    applied_us: int | None = None
    healed_us: int | None = None
    ended_us: int | None = None
    recovered: bool = False
    problem: str | None = None


@dataclass
class _PendingOperation:
    """An operation in progress."""

    client: Client
    intended_us: int
    deadline_us: int
    group: str
    call: int = 0
    attempt_due_us: int = NEVER
    done: bool = False


@dataclass
class Measurements:
    """The recorded samples and failures, for the evaluation."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    healthy: tuple[int, int] | None = None
    """When the healthy time began and ended."""


class Probe:
    """To be driven by a runtime; afterwards read `samples`, `failures` and `measurements`."""

    def __init__(self, config: ProbeConfig, record: Callable[[Event], None]) -> None:
        self.done = False
        self.is_interrupted = False
        self.measurements = Measurements()
        self._config = config
        self._recorder = EventRecorder(record)
        self._random = Random(f"{config.seed}:probe")
        self._timers = Timers()
        self._world: World
        self._free: deque[Client] = deque()
        self._processes = 0
        self._calls: dict[int, tuple[_PendingOperation, int]] = {}
        self._call_count = 0
        self._operations = 0
        self._value = 0
        self._pending: deque[_PendingOperation] = deque()
        self._leader = config.nodes[0]
        self._state = "warm-up"
        self._since_us = 0
        self._bad_us = 0
        """When an operation was last seen not to be answered in time."""
        self._fault: Fault | None = None
        self._before: Fault | None = None
        self._administrator: int | None = None
        self._transfer_call = 0
        self._is_handed_over = False

    @property
    def failures(self) -> list[Failure]:
        return self.measurements.failures

    @property
    def samples(self) -> list[Sample]:
        return self.measurements.samples

    # ------------------------------------------------------------------ what a runtime calls

    def begin(self, world: World, now_us: int) -> None:
        self._world = world
        self._bad_us = self._since_us = now_us
        self._recorder.phase("warm-up", now_us)
        self._timers.at(now_us, self._arrive, now_us)
        self._timers.at(now_us + WARM_UP_US, self._look, None)
        self._arm()

    def answered(self, call: int, response: Response, now_us: int) -> None:
        if call == self._transfer_call and response.error is not None:
            failure = self.measurements.failures[-1]
            failure.problem = failure.problem or f"the leader did not hand over: {response.error}"
        pending, node = self._calls.pop(call, (None, 0))
        if pending is None or pending.done or pending.call != call:
            return
        self._go_on(pending, pending.client.answered(node, response, now_us), now_us)
        self._arm()

    def woke(self, now_us: int) -> None:
        self._timers.run(now_us)
        self._expire(now_us)
        self._arm()

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        self._recorder.fault("info", what, fault, now_us, report.to_json())
        if self._before is not None and fault.id == self._before.id:
            self._prepared(what, now_us)
        elif what == "inject":
            self._fault_applied(report, now_us)
        else:
            self._healed(report, now_us)
        self._arm()

    def noticed(self, finding: dict[str, Any], now_us: int) -> None:
        self._recorder.finding(finding, now_us)

    def leader_announced(self, leader: int, now_us: int) -> None:
        """A node announced the leader: pending operations at other nodes are resent to it."""
        self._leader = leader
        for client in self._free:
            client.leader_is(leader, now_us, under_way=False, in_flight=False)
        for pending in [p for p in self._pending if not p.done]:
            in_flight = pending.call != 0
            attempt = pending.client.leader_is(leader, now_us, under_way=True, in_flight=in_flight)
            if attempt is not None:
                self._calls.pop(pending.call, None)
                self._send(pending, attempt.node, now_us)
        self._arm()

    def led(self, node: int, term: Sequence[int], now_us: int) -> None:
        self._recorder.leader(node, term, now_us)

    def interrupt(self, now_us: int) -> None:
        """Heal what is active, then end."""
        self.is_interrupted = True
        if self._state == "holding":
            self._heal(now_us)
        elif self._state in ("warm-up", "calm"):
            self._finish(now_us)

    # ------------------------------------------------------------------ operations

    def _arrive(self, due_us: int, now_us: int) -> None:
        if self._state == "done":
            return
        config = self._config
        self._operations += 1
        number = self._operations
        group = GROUPS[(number // 2) % 2]
        key = f"k{self._random.randrange(config.keys)}"
        if number % 2:
            operation = Operation("read", key, None)
        else:
            self._value += 1
            operation = Operation("write", key, self._value)
        client = self._client()
        client.guess = self._leader if group == "leader" else self._other()
        pending = _PendingOperation(client, due_us, due_us + config.operation_timeout_us, group)
        self._pending.append(pending)
        attempt = client.begin(operation, now_us)
        self._recorder.invoked(client.process, client.seq, operation, now_us)
        self._send(pending, attempt.node, now_us)
        next_us = due_us + config.interval_us
        self._timers.at(next_us, self._arrive, next_us)

    def _client(self) -> Client:
        if self._free:
            return self._free.popleft()
        process = self._processes
        self._processes += 1
        config = self._config
        guess = config.nodes[0]
        return Client(process, config.nodes, self._random, guess, sessions=config.sessions)

    def _other(self) -> int:
        left_out = {self._leader}
        if self._state in ("failing", "holding"):
            left_out.add(self.measurements.failures[-1].leader)
        others = [node for node in self._config.nodes if node not in left_out]
        return others[self._random.randrange(len(others))] if others else self._leader

    def _send(self, pending: _PendingOperation, node: int, now_us: int) -> None:
        self._call_count += 1
        pending.call = call = self._call_count
        self._calls[call] = (pending, node)
        if pending.client.may_repeat():
            due_us = now_us + self._config.attempt_timeout_us
            self._timers.at(due_us, self._attempt_over, (pending, call))
        self._world.request(call, node, pending.client.request())

    def _attempt_over(self, due: tuple[_PendingOperation, int], now_us: int) -> None:
        pending, call = due
        if not pending.done and pending.call == call:
            self._calls.pop(call, None)
            self._go_on(pending, pending.client.timed_out(now_us), now_us)

    def _go_on(self, pending: _PendingOperation, verdict: Attempt | Outcome, now_us: int) -> None:
        if isinstance(verdict, Outcome):
            self._complete(pending, verdict, now_us)
        elif verdict.at_us <= now_us:
            self._send(pending, verdict.node, now_us)
        else:
            pending.call = 0
            self._timers.at(verdict.at_us, self._later, (pending, verdict.node))

    def _later(self, due: tuple[_PendingOperation, int], now_us: int) -> None:
        pending, node = due
        if not pending.done and pending.call == 0:
            self._send(pending, node, now_us)

    def _expire(self, now_us: int) -> None:
        queue = self._pending
        while queue and (queue[0].done or queue[0].deadline_us <= now_us):
            pending = queue.popleft()
            if not pending.done:
                in_flight = pending.call != 0
                self._complete(pending, pending.client.give_up(in_flight=in_flight), now_us)

    def _complete(self, pending: _PendingOperation, outcome: Outcome, now_us: int) -> None:
        pending.done = True
        client = pending.client
        self._calls.pop(pending.call, None)
        self._recorder.ended(client.process, client.seq, client.operation, outcome, now_us)
        ok = outcome.type == "ok"
        if ok and outcome.node is not None and self._is_followed(pending):
            self._leader = outcome.node
        sample = Sample(
            pending.intended_us,
            now_us,
            client.operation.f,
            pending.group,
            ok,
            outcome.type == "info",
        )
        self.measurements.samples.append(sample)
        if not ok or now_us - pending.intended_us > self._config.in_time_us:
            self._bad_us = now_us
        if outcome.type != "info":
            self._free.append(client)

    def _is_followed(self, pending: _PendingOperation) -> bool:
        """Whether the leader's clients send to the node that answered this from now on."""
        return self._config.has_leader or (
            pending.group == "leader" and self._state in ("failing", "holding")
        )

    # ------------------------------------------------------------------ the loop of failures

    def _look(self, _: None, now_us: int) -> None:
        """Called at intervals: begins the next step when it is time."""
        if self._state == "warm-up":
            self._enter("calm", now_us)
            self._recorder.phase("chaos", now_us)
        waiting_us = now_us - self._oldest_us(now_us)
        good_us = 0 if waiting_us > self._config.in_time_us else now_us - self._bad_us
        if self._state == "calm":
            self._look_calm(good_us, now_us)
        elif self._state == "holding":
            failure = self.measurements.failures[-1]
            back = good_us >= SUSTAINED_US and now_us - (failure.applied_us or 0) >= SUSTAINED_US
            self._is_handed_over |= self._world.leader() not in (None, failure.leader)
            back = back and (self._config.transfer is None or self._is_handed_over)
            if back or now_us - self._since_us > self._config.hold_max_us:
                failure.recovered = back
                self._heal(now_us)
        if self._state != "done":
            self._timers.at(now_us + 20_000, self._look, None)

    def _oldest_us(self, now_us: int) -> int:
        """When the oldest operation in progress was scheduled."""
        return next((p.intended_us for p in self._pending if not p.done), now_us)

    def _look_calm(self, good_us: int, now_us: int) -> None:
        config = self._config
        if self._is_healthy_time(good_us, now_us):
            return
        if len(self.measurements.failures) >= config.failures or self.is_interrupted:
            if good_us >= CALM_US or now_us - self._since_us > self._calm_max_us():
                self._finish(now_us)
        elif good_us >= CALM_US and (not config.has_leader or self._world.leader() is not None):
            self._enter("drawn", now_us)
            wait_us = self._random.randrange(config.spread_us)
            self._timers.at(now_us + wait_us, self._prepare, None)
        elif now_us - self._since_us > self._calm_max_us():
            self._finish(now_us)

    def _is_healthy_time(self, good_us: int, now_us: int) -> bool:
        """Whether no failure may be injected yet. The healthy time begins when the cluster first
        answers in time."""
        config, began = self._config, self.measurements.healthy
        if not config.healthy_us or self.measurements.failures or self.is_interrupted:
            return False
        if began is None:
            if good_us >= CALM_US and (not config.has_leader or self._world.leader() is not None):
                self.measurements.healthy = (now_us, now_us)
            return now_us - self._since_us < config.calm_max_us
        self.measurements.healthy = (began[0], min(now_us, began[0] + config.healthy_us))
        return now_us - began[0] < config.healthy_us

    def _calm_max_us(self) -> int:
        return self._config.calm_max_us + (
            0 if self.measurements.failures else self._config.healthy_us
        )

    def _prepare(self, _: None, now_us: int) -> None:
        leader = self._leader
        if self._config.has_leader:
            leader = self._world.leader() or leader
        number = len(self.measurements.failures) + 1
        if self._config.transfer is not None:
            self.measurements.failures.append(Failure(number, leader, now_us, applied_us=now_us))
            self._hand_over(self._config.transfer, leader, number, now_us)
            return
        failure, nodes = self._config.failure, self._config.nodes
        self._fault = failure.fault(f"f{number:04d}", leader, nodes)
        self._before = failure.preparation(f"f{number:04d}", leader, nodes)
        self.measurements.failures.append(Failure(number, leader, now_us))
        if self._before is None:
            self._apply_fault(now_us)
        else:
            self._ask("inject", self._before, now_us)

    def _hand_over(
        self, make: Callable[[int, int, int], Request], leader: int, number: int, now_us: int
    ) -> None:
        """Ask the leader to transfer leadership to another node. Proven when that node leads."""
        if self._administrator is None:
            self._administrator = self._processes
            self._processes += 1
        self._leader, self._is_handed_over = leader, False
        self._call_count += 1
        self._transfer_call = self._call_count
        self._enter("holding", now_us)
        request = make(self._administrator + 1, number, self._other())
        self._world.request(self._transfer_call, leader, request)

    def _prepared(self, what: str, now_us: int) -> None:
        """The hub is cut off: after a while its log is behind, and the failure begins."""
        if what == "inject":
            self._timers.at(now_us + SUSTAINED_US, self._unprepare, None)

    def _unprepare(self, _: None, now_us: int) -> None:
        assert self._before is not None
        self._ask("heal", self._before, now_us)
        self._apply_fault(now_us)

    def _apply_fault(self, now_us: int) -> None:
        assert self._fault is not None
        self.measurements.failures[-1].asked_us = now_us
        self._enter("failing", now_us)
        self._ask("inject", self._fault, now_us)

    def _fault_applied(self, report: FaultReport, now_us: int) -> None:
        failure = self.measurements.failures[-1]
        moments = list(report.moments_ns.values())
        if report.verified:
            failure.applied_us = (min(moments) // 1000) if moments else now_us
        else:
            failure.problem = report.problem or "its probes disagree"
        self._enter("holding", now_us)
        self._bad_us = max(self._bad_us, failure.applied_us or now_us)

    def _heal(self, now_us: int) -> None:
        failure = self.measurements.failures[-1]
        failure.ended_us = now_us
        if self._fault is None:
            if not self._is_handed_over:
                failure.problem = failure.problem or "leadership stayed where it was"
            failure.healed_us = now_us
            self._enter("calm", now_us)
            return
        self._enter("healing", now_us)
        self._ask("heal", self._fault, now_us)

    def _healed(self, report: FaultReport, now_us: int) -> None:
        failure = self.measurements.failures[-1]
        failure.healed_us = now_us
        if not report.verified:
            failure.problem = failure.problem or f"healing: {report.problem or 'not verified'}"
        self._fault = self._before = None
        self._enter("calm", now_us)
        self._bad_us = max(self._bad_us, now_us)

    def _ask(self, what: str, fault: Fault, now_us: int) -> None:
        self._recorder.fault("invoke", what, fault, now_us, None)
        (self._world.inject if what == "inject" else self._world.heal)(fault)

    def _enter(self, state: str, now_us: int) -> None:
        self._state = state
        if state == "calm" and not self._config.has_leader:
            self._leader = self._random.choice(self._config.nodes)
        self._since_us = now_us

    def _finish(self, now_us: int) -> None:
        for pending in self._pending:
            if not pending.done:
                self._complete(pending, pending.client.give_up(in_flight=True), now_us)
        self._enter("done", now_us)
        interrupted = {"interrupted": self.is_interrupted, "not_live": None, "shed": 0}
        self._recorder.phase("done", now_us, finale=False, **interrupted)
        self.done = True
        self._timers.clear()

    def _arm(self) -> None:
        if not self.done:
            due_us = self._timers.due_us()
            if self._pending:
                due_us = min(due_us, self._pending[0].deadline_us)
            self._world.wake(due_us)
