"""A world in which a test defines the nodes' answers and the faults' results: virtual time, no
cluster."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from faults.description import Fault
from faults.planner import Schedule
from harness.run.conductor import Conductor
from harness.run.config import RunConfig
from harness.runtimes.interface import FaultReport
from harness.targets.interface import Request, Response
from harness.workloads import WORKLOADS
from histories.events import Event

Behaviour = Callable[["ScriptedWorld", int, Request], tuple[Response, int] | None]
"""(world, node, command) -> the response and its delay in us, or None for no answer."""


def store_that_answers(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int]:
    """Node 1 leads and keeps a dictionary; the others redirect to it."""
    if node != 1:
        return Response("not-leader", None, 1, definite=True), 500
    data = world.data
    if command.f == "write":
        data[command.key] = command.value
        return Response(None, None, 1), 1000
    if command.f == "cas":
        if data.get(command.key) != command.value[0]:
            return Response("mismatch", data.get(command.key), 1), 1000
        data[command.key] = command.value[1]
        return Response(None, None, 1), 1000
    return Response(None, data.get(command.key), 1), 1000


class ScriptedWorld:
    def __init__(self, behaviour: Behaviour = store_that_answers) -> None:
        self.behaviour = behaviour
        self.data: dict[str, Any] = {}
        self.now_us = 0
        self.requests: list[tuple[int, int, Request]] = []
        self.faults: list[tuple[int, str, Fault]] = []
        self.verified = True
        self.heals = True
        self.fault_delay_us = 2_000
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._wake_count = 0
        self.conductor: Conductor

    def request(self, call: int, node: int, command: Request) -> None:
        self.requests.append((self.now_us, node, command))
        answer = self.behaviour(self, node, command)
        if answer is not None:
            response, delay_us = answer
            self.at(
                self.now_us + delay_us,
                lambda: self.conductor.answered(call, response, self.now_us),
            )

    def wake(self, at_us: int) -> None:
        self._wake_count += 1
        mine = self._wake_count
        self.at(
            at_us, lambda: self.conductor.woke(self.now_us) if mine == self._wake_count else None
        )

    def inject(self, fault: Fault) -> None:
        self._carry_out(fault, "inject")

    def heal(self, fault: Fault) -> None:
        if self.heals:
            self._carry_out(fault, "heal")

    def leader(self) -> int | None:
        return 1

    def _carry_out(self, fault: Fault, what: str) -> None:
        self.faults.append((self.now_us, what, fault))
        report = FaultReport({1: self.now_us * 1000}, verified=self.verified)
        self.at(
            self.now_us + self.fault_delay_us,
            lambda: self.conductor.fault_done(fault, what, report, self.now_us),
        )

    def at(self, at_us: int, action: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at_us, self._count, action))

    def run(self, conductor: Conductor, *, until_us: int = 10**9) -> None:
        self.conductor = conductor
        conductor.begin(self, 0)
        while self._queue and not conductor.done:
            at_us, _, action = heapq.heappop(self._queue)
            assert at_us <= until_us, "the run does not end"
            self.now_us = max(self.now_us, at_us)
            action()
        assert conductor.done, "nothing left to happen, and the run has not ended"


def play(
    behaviour: Behaviour = store_that_answers,
    *,
    faults: tuple[Fault, ...] = (),
    world: ScriptedWorld | None = None,
    **settings: Any,
) -> tuple[Conductor, ScriptedWorld, list[Event]]:
    """One run in a scripted world; its conductor, the world, and the history."""
    options: dict[str, Any] = {"time_us": 2_000_000, "rate": 50.0, "concurrency": 3, "nodes": 3}
    config = RunConfig.of(target="multi-paxos", **(options | settings))
    world = world or ScriptedWorld(behaviour)
    events: list[Event] = []
    schedule = Schedule(seed=0, duration_us=config.time_us, faults=faults)
    workload = WORKLOADS[config.traffic.workload](config.seed, config.traffic.keys)
    conductor = Conductor(config, schedule, workload, events.append)
    world.run(conductor)
    return conductor, world, events
