"""How a client gets one operation through: which node it asks, when it asks again, what it reports.

A client is one logical process. It sends a command to the node that it believes leads, follows
redirections, and after a time-out or a broken connection asks another node, with the same session
number, so that a correct cluster applies the command once. An operation ends

    ok     a node answered it
    fail   a definite error: a compare-and-set that did not match, or every attempt was refused
           before it could have any effect; also any read without an answer (reads have no effect)
    info   the time is up and some attempt may have had an effect, now or later

What is definite is decided by the error's code alone, in `DEFINITE_ERRORS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from harness.runtimes.interface import Response
from harness.workloads import Operation
from node_image.protocols.interface import DEFINITE_ERRORS, Command, make

DEFINITE: Final = {**DEFINITE_ERRORS, "refused": True, "disconnected": False}
BACK_OFF_MIN_US: Final = 10_000
BACK_OFF_MAX_US: Final = 80_000
HOPS_MAX: Final = 3
"""Redirections followed at once; then the client waits a little: the cluster may be electing."""


class Outcome(NamedTuple):
    """How an operation ended. `value` is what it returned, for a mismatch what it saw."""

    type: str
    value: object
    error: str | None
    node: int | None


class Attempt(NamedTuple):
    """Send `command` to `node`, not before `at_us`."""

    node: int
    at_us: int


class Client:
    """One operation at a time of one process. Pure: times come in, attempts and outcomes go out.

    `begin` starts an operation and gives the first attempt. `answered` and `timed_out` give the
    next Attempt, or the Outcome. The caller ends it with `give_up` when the operation's time is up.
    """

    __slots__ = (
        "_dirty",
        "_hops",
        "_last_error",
        "_node",
        "_nodes",
        "_random",
        "guess",
        "operation",
        "process",
        "seq",
    )

    def __init__(self, process: int, nodes: Sequence[int], random: Random, guess: int) -> None:
        self.process = process
        self.seq = 0
        self.operation = Operation("", "", None)
        self.guess = guess
        self._nodes = nodes
        self._random = random
        self._dirty = False
        self._hops = 0
        self._node = guess
        self._last_error: str | None = None

    def begin(self, operation: Operation, now_us: int) -> Attempt:
        self.seq += 1
        self.operation = operation
        self._dirty = False
        self._hops = 0
        self._last_error = None
        return self._to(self.guess, now_us)

    def command(self) -> Command:
        # Process 0's session must not be 0: that one is the cluster's own.
        f, key, value = self.operation
        return make(Command, (self.process + 1, self.seq, f, key, value))

    def answered(self, node: int, response: Response, now_us: int) -> Attempt | Outcome:
        """`node` answered an attempt at the current operation."""
        error = response.error
        if error is None:
            self.guess = node
            return make(Outcome, ("ok", response.value, None, node))
        if error == "mismatch":
            self.guess = node
            return Outcome("fail", response.value, error, node)
        self._last_error = error
        if not DEFINITE.get(error, False):
            self._dirty = True
        if error == "unsupported":
            return Outcome("fail", None, error, node)
        if response.leader is not None and response.leader != node and self._hops < HOPS_MAX:
            self._hops += 1
            return self._to(response.leader, now_us)
        self._hops = 0
        return self._to(response.leader or self._other(), now_us + self._back_off())

    def timed_out(self, now_us: int) -> Attempt:
        """No answer to the current attempt for too long: it may have an effect yet."""
        self._dirty = True
        self._last_error = "timeout"
        self._hops = 0
        return self._to(self._other(), now_us)

    def give_up(self, *, in_flight: bool) -> Outcome:
        """The operation's time is up; `in_flight`: an attempt is out there, unanswered."""
        error = "timeout" if in_flight else (self._last_error or "timeout")
        if self.operation.f == "read" or not (self._dirty or in_flight):
            return Outcome("fail", None, error, None)
        return Outcome("info", None, error, None)

    def _to(self, node: int, at_us: int) -> Attempt:
        self._node = self.guess = node
        return make(Attempt, (node, at_us))

    def _other(self) -> int:
        others = [n for n in self._nodes if n != self._node] or list(self._nodes)
        return others[int(self._random.random() * len(others))]

    def _back_off(self) -> int:
        return self._random.randrange(BACK_OFF_MIN_US, BACK_OFF_MAX_US)
