"""Clients and faults as small programs that any runtime drives.

A program is a generator. It yields actions, and is resumed with their results:

    Ask(...)    one request to one node                       -> Answered
    Sleep(us)   nothing, for so long                          -> None
    Inject(f)   a fault, until it is in place (or is not)     -> FaultReport
    Heal(f)     the same fault is healed                      -> FaultReport

Several programs of a script run concurrently; the script ends when all have ended. Requests may
have a distance: an additional delay between the client and that node, in each direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple, TypeAlias

from faults.description import Fault
from harness.errors import HarnessError
from harness.runtimes.interface import FaultReport, World
from harness.targets.interface import Request, Response
from harness.workloads import Operation

NEVER_US: Final = 10**15
RETRY_US: Final = 20_000
"""How long a client waits before it asks again after an answer without a hint."""


class Ask(NamedTuple):
    """`client` is any number from 1; `again` repeats the client's last operation. `distance_us` is
    waited before the request is sent, and after its answer has come unless `delayed` says that the
    network delays answers."""

    client: int
    node: int
    operation: Operation
    timeout_us: int
    distance_us: int = 0
    again: bool = False
    delayed: bool = False


class Sleep(NamedTuple):
    us: int


class Inject(NamedTuple):
    fault: Fault


class Heal(NamedTuple):
    fault: Fault


class Answered(NamedTuple):
    """`response` is None where none came in time."""

    response: Response | None
    asked_us: int
    ended_us: int
    node: int

    @property
    def ok(self) -> bool:
        return self.response is not None and self.response.error is None

    @property
    def latency_us(self) -> int:
        return self.ended_us - self.asked_us


Step: TypeAlias = Ask | Sleep | Inject | Heal
Program: TypeAlias = Generator[Step, Any, None]
Part: TypeAlias = Generator[Step, Any, Answered]


class _Waiting:
    """A request in flight."""

    __slots__ = ("ask", "asked_us", "program", "seq")

    def __init__(self, program: Program, ask: Ask, asked_us: int, seq: int) -> None:
        self.program = program
        self.ask = ask
        self.asked_us = asked_us
        self.seq = seq


class Script:
    """What a runtime drives (`harness.runtimes.interface.Driven`). `world` and `now_us` are for the
    programs, which are made of this object."""

    def __init__(self, *programs: Callable[[Script], Program]) -> None:
        self.done = False
        self.is_interrupted = False
        self.failure: Exception | None = None
        """An exception of a program: it ends the script, and is re-raised by the driver."""
        self.now_us = 0
        self.world: World
        self._made = programs
        self._running = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._calls = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._seqs: dict[int, int] = {}
        self._faults: dict[tuple[str, str], Program] = {}

    # ------------------------------------------------------------------ called by the runtime

    def begin(self, world: World, now_us: int) -> None:
        self.world = world
        self.now_us = now_us
        self._running = len(self._made)
        for make in self._made:
            self._resume(make(self), None)
        self._arm()

    def answered(self, call: int, response: Response, now_us: int) -> None:
        self.now_us = now_us
        waiting = self._waiting.get(call)
        if waiting is not None:
            distance_us = 0 if waiting.ask.delayed else waiting.ask.distance_us
            self._at(now_us + distance_us, lambda: self._end(call, response))
            self._run_due()

    def woke(self, now_us: int) -> None:
        self.now_us = now_us
        self._run_due()

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        self.now_us = now_us
        program = self._faults.pop((what, fault.id), None)
        if program is not None:
            self._resume(program, report)
            self._arm()

    def interrupt(self, now_us: int) -> None:
        self.is_interrupted = self.done = True

    def led(self, node: int, term: Sequence[int], now_us: int) -> None:
        """Programs ask the world who leads."""

    def leader_announced(self, leader: int, now_us: int) -> None:
        """Programs ask the world who leads."""

    def noticed(self, finding: dict[str, Any], now_us: int) -> None:
        """What ends a node here are the script's own faults."""

    # ------------------------------------------------------------------ for programs

    def spawn(self, make: Callable[[Script], Program]) -> None:
        """Begin one more program."""
        self._running += 1
        self._resume(make(self), None)

    def stop(self) -> None:
        """End the script, whatever other programs still do."""
        self.done = True

    # ------------------------------------------------------------------ programs

    def _resume(self, program: Program, value: Any) -> None:
        try:
            step = program.send(value)
        except StopIteration:
            self._running -= 1
            self.done = self.done or self._running == 0
            return
        except Exception as error:  # a runtime's event loop would swallow it, and wait forever
            self.failure = error
            self.done = True
            return
        if isinstance(step, Sleep):
            self._at(self.now_us + step.us, lambda: self._resume(program, None))
        elif isinstance(step, Ask):
            self._ask(program, step)
        else:
            what = "inject" if isinstance(step, Inject) else "heal"
            self._faults[what, step.fault.id] = program
            (self.world.inject if what == "inject" else self.world.heal)(step.fault)

    def _ask(self, program: Program, ask: Ask) -> None:
        seq = self._seqs.get(ask.client, 0)
        if not ask.again or seq == 0:
            seq += 1
        self._seqs[ask.client] = seq
        call = next(self._calls)
        self._waiting[call] = _Waiting(program, ask, self.now_us, seq)
        request = Request(ask.client, seq, *ask.operation)
        self._at(self.now_us + ask.distance_us, lambda: self._send(call, ask.node, request))
        self._at(self.now_us + ask.timeout_us, lambda: self._end(call, None))

    def _send(self, call: int, node: int, request: Request) -> None:
        self.world.request(call, node, request)

    def _end(self, call: int, response: Response | None) -> None:
        waiting = self._waiting.pop(call, None)
        if waiting is not None:
            ask = waiting.ask
            found = Answered(response, waiting.asked_us, self.now_us, ask.node)
            self._resume(waiting.program, found)

    # ------------------------------------------------------------------ time

    def _at(self, at_us: int, act: Callable[[], None]) -> None:
        heappush(self._due, (at_us, next(self._order), act))

    def _run_due(self) -> None:
        while self._due and self._due[0][0] <= self.now_us and not self.done:
            heappop(self._due)[2]()
        self._arm()

    def _arm(self) -> None:
        if not self.done:
            self.world.wake(self._due[0][0] if self._due else NEVER_US)


def put(fault: Fault) -> Generator[Step, Any, None]:
    """Inject a fault, and make sure that it has taken effect. Raises HarnessError."""
    report: FaultReport = yield Inject(fault)
    if not report.verified:
        reason = report.problem or "the probes do not show it"
        raise HarnessError(f"{fault.describe()} did not take effect: {reason}")


def ask_until(
    script: Script,
    ask: Ask,
    nodes: Sequence[int],
    *,
    within_us: int,
) -> Part:
    """Ask until some node answers: first the one of `ask`, then the leader that it names, then the
    others.

    The answer that ended it, or the last one. Its latency is that of the last request alone; its
    `asked_us` is the first.
    """
    started_us, ends_us = script.now_us, script.now_us + within_us
    node, again, tries = ask.node, ask.again, 0
    while True:
        left_us = ends_us - script.now_us
        timeout_us = max(1, min(ask.timeout_us, left_us))
        answer: Answered = yield ask._replace(node=node, again=again, timeout_us=timeout_us)
        again = True
        response = answer.response
        if answer.ok or script.now_us >= ends_us:
            return answer._replace(asked_us=started_us)
        if response is not None and response.leader not in (None, node):
            assert response.leader is not None
            node = response.leader
            continue
        tries += 1
        node = nodes[tries % len(nodes)]
        if response is not None:
            yield Sleep(min(RETRY_US, max(1, ends_us - script.now_us)))
