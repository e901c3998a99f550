"""A conductor that follows a script: a generator that yields requests and receives their results.

    def script(world):
        answer = yield Ask(1, Command(1, 1, "write", "k", 5))     # Response, or None: no answer
        report = yield Inject(fault)                              # FaultReport
        late_us = yield Sleep(50_000)                             # the actual time

For a runtime it is the same as the real one; with it a test controls exactly what happens, and
when.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from faults.description import Fault
from harness.run.conductor import Stats
from harness.runtimes.interface import FaultReport, World
from harness.targets.interface import Response
from node_image.protocols.interface import Command

ANSWER_TIMEOUT_US = 400_000


class Ask(NamedTuple):
    node: int
    command: Command
    timeout_us: int = ANSWER_TIMEOUT_US


class Sleep(NamedTuple):
    us: int


class Inject(NamedTuple):
    fault: Fault


class Heal(NamedTuple):
    fault: Fault


Step = Ask | Sleep | Inject | Heal
Script = Generator[Step, Any, None]


@dataclass
class Told:
    """One callback: its kind, and its time."""

    what: str
    now_us: int
    about: Any = None


class ScriptedConductor:
    def __init__(self, script: Callable[[World], Script]) -> None:
        self.done = False
        self.is_interrupted = False
        self.stats = Stats()
        self.told: list[Told] = []
        self._make = script
        self._script: Script
        self._world: World
        self._waits_for: Step
        self._call = 0
        self._due_us = 0

    def begin(self, world: World, now_us: int) -> None:
        self._world = world
        self._script = self._make(world)
        self._step(None, now_us)

    def answered(self, call: int, response: Response, now_us: int) -> None:
        self.told.append(Told("answered", now_us, (call, response)))
        if isinstance(self._waits_for, Ask) and call == self._call:
            self._step(response, now_us)

    def woke(self, now_us: int) -> None:
        self.told.append(Told("woke", now_us, self._due_us))
        if now_us < self._due_us:
            return  # of an earlier step
        if isinstance(self._waits_for, (Ask, Sleep)):
            answer = None if isinstance(self._waits_for, Ask) else now_us
            self._step(answer, now_us)

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        self.told.append(Told(what, now_us, (fault, report)))
        self._step(report, now_us)

    def leader_announced(self, leader: int, now_us: int) -> None:
        """Scripts ask the world who leads."""

    def led(self, node: int, term: Sequence[int], now_us: int) -> None:
        """Scripts look at nodes' logs for that."""

    def noticed(self, finding: dict[str, Any], now_us: int) -> None:
        """Scripts do what is noticed themselves."""

    def interrupt(self, now_us: int) -> None:
        self.done = True

    def _step(self, result: Any, now_us: int) -> None:
        try:
            step = self._waits_for = self._script.send(result)
        except StopIteration:
            self.done = True
            return
        if isinstance(step, Ask):
            self._call += 1
            self._due_us = now_us + step.timeout_us
            self._world.request(self._call, step.node, step.command)
            self._world.wake(self._due_us)
        elif isinstance(step, Sleep):
            self._due_us = now_us + step.us
            self._world.wake(self._due_us)
        elif isinstance(step, Inject):
            self._world.inject(step.fault)
        else:
            self._world.heal(step.fault)
