"""How a client executes an operation: which node it asks, when it retries, what it reports.

A client is one logical process. It sends a request to the presumed leader and follows redirections.
If a node is down it asks another one at once, and when it is notified of a leader (`leader_is`) it
asks that node. What happens after a timeout or a broken connection depends on the target. With
sessions, the client retries at another node with the same session number, and a correct cluster
applies the command once. Without sessions, a repeated write would be a second write, so the
operation ends. Reads may always be repeated. An operation ends with

    ok     a node answered it
    fail   a definite error: a compare-and-set that did not match, or every attempt was refused
           before it could have any effect; also any read without an answer (reads have no effect)
    info   the time is up, and some attempt may have had an effect, or may still have one

The target states with every response whether an error is definite (`Response.definite`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from harness.targets.interface import Request, Response
from harness.workloads import Operation

make: Final = tuple.__new__
"""`make(Request, fields)` is `Request(*fields)` in a third of the time: every operation of a sweep
passes through here."""
BACK_OFF_MIN_US: Final = 10_000
BACK_OFF_MAX_US: Final = 80_000
UNREACHABLE: Final = ("refused", "disconnected")
"""Errors of a node that cannot be reached."""
HOPS_MAX: Final = 3
"""Redirections followed at once; then the client waits, since there may be an election."""


class Outcome(NamedTuple):
    """How an operation ended. `value` is the result; for a mismatch, the value that it saw."""

    type: str
    value: object
    error: str | None
    node: int | None


class Attempt(NamedTuple):
    """Send the request to `node`, not before `at_us`."""

    node: int
    at_us: int


class Client:
    """The operations of one process, one at a time. Pure: returns attempts and outcomes.

    `begin` starts an operation and returns the first attempt. `answered` and `timed_out` return the
    next Attempt, or the Outcome; `leader_is` may return an Attempt that replaces the current one.
    The caller ends the operation with `give_up` when its time is up.
    """

    __slots__ = (
        "_dirty",
        "_hops",
        "_last_error",
        "_node",
        "_nodes",
        "_random",
        "_sessions",
        "_told",
        "guess",
        "operation",
        "process",
        "seq",
    )

    def __init__(
        self,
        process: int,
        nodes: Sequence[int],
        random: Random,
        guess: int,
        *,
        sessions: bool = True,
    ) -> None:
        self.process = process
        self.seq = 0
        self.operation = Operation("", "", None)
        self.guess = guess
        self._nodes = nodes
        self._random = random
        self._sessions = sessions
        self._dirty = False
        self._hops = 0
        self._node = guess
        self._last_error: str | None = None
        self._told: int | None = None  # the leader according to some node, until it does not answer

    def begin(self, operation: Operation, now_us: int) -> Attempt:
        self.seq += 1
        self.operation = operation
        self._dirty = False
        self._hops = 0
        self._last_error = None
        return self._to(self.guess, now_us)

    def request(self) -> Request:
        # Process 0's session must not be 0: that is the cluster's own.
        f, key, value = self.operation
        return make(Request, (self.process + 1, self.seq, f, key, value))

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
        if not response.definite:
            self._dirty = True
            if not self.may_repeat():
                return self.give_up(in_flight=False)
        if error == "unsupported":
            return Outcome("fail", None, error, node)
        if error in UNREACHABLE and node == self._told:
            self._told = None
        better = self._better_than(node, response)
        if better is not None and self._hops < HOPS_MAX:
            self._hops += 1
            return self._to(better, now_us)
        self._hops = 0
        return self._to(response.leader or self._other(), now_us + self._back_off())

    def _better_than(self, node: int, response: Response) -> int | None:
        """The node to ask at once, after a node that did not serve this client; None: wait
        first."""
        for leader in (response.leader, self._told):
            if leader is not None and leader != node:
                return leader
        return self._other() if response.error in UNREACHABLE else None

    def leader_is(
        self, leader: int, now_us: int, *, under_way: bool, in_flight: bool
    ) -> Attempt | None:
        """A node reports that `leader` leads. If an operation is `under_way`, returns the attempt
        that should be sent there instead of the current one, which is `in_flight` or not yet
        sent."""
        self._told = leader
        if not under_way:
            self.guess = leader
            return None
        if in_flight and (self._node == leader or not self.may_repeat()):
            return None
        self._dirty = self._dirty or in_flight
        self._hops = 0
        return self._to(leader, now_us)

    def timed_out(self, now_us: int) -> Attempt | Outcome:
        """The current attempt got no answer in time; it may still have an effect."""
        self._dirty = True
        self._last_error = "timeout"
        if self._node == self._told:
            self._told = None
        if not self.may_repeat():
            return self.give_up(in_flight=False)
        self._hops = 0
        return self._to(self._told or self._other(), now_us)

    def give_up(self, *, in_flight: bool) -> Outcome:
        """The operation's time is up; `in_flight`: an attempt is not answered yet."""
        error = "timeout" if in_flight else (self._last_error or "timeout")
        if self.operation.f == "read" or not (self._dirty or in_flight):
            return Outcome("fail", None, error, None)
        return Outcome("info", None, error, None)

    def may_repeat(self) -> bool:
        """Whether a request that may have had an effect may be sent again."""
        return self._sessions or self.operation.f == "read"

    def _to(self, node: int, at_us: int) -> Attempt:
        self._node = self.guess = node
        return make(Attempt, (node, at_us))

    def _other(self) -> int:
        others = [n for n in self._nodes if n != self._node] or list(self._nodes)
        return others[int(self._random.random() * len(others))]

    def _back_off(self) -> int:
        return self._random.randrange(BACK_OFF_MIN_US, BACK_OFF_MAX_US)
