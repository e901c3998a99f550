"""The single entry point for results and errors of node clients.

Every client of a run is wrapped by a `GuardedClient`. Its results have the types and bounds that
the rest of the program relies on: a history can hold them, a leader is a node of the run, and texts
are safe to print. There are two kinds of errors, with different meanings:

    a bad answer  a node sent an invalid answer. The operation's outcome is unknown, and the run
                  continues; a node that sends nothing else counts as not answering
    a failure     the client's own code raised, or did not return a `Response`. This does not count
                  against the cluster

Both are counted by node (`ClientProblems`), and recorded in the run's history.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar, copy_context
from typing import Any, Final

from harness.targets.guard import in_words
from harness.targets.interface import (
    Answered,
    LeaderTold,
    NodeClient,
    NodeStatus,
    Request,
    Response,
    WatchesLeader,
)
from histories.operations import DEPTH_MAX
from histories.text import one_line, quoted
from histories.untrusted import INTEGER_MAX

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0
STATUS_GRACE_S: Final = 1.0
ERROR_MAX: Final = 200
ROLE_MAX: Final = 40
TERM_PARTS_MAX: Final = 8
TEXT_MAX: Final = 4 << 20
ITEMS_MAX: Final = 1_000_000
DIGITS_BITS_MAX: Final = 8_192
"""Python refuses by default to convert larger integers to decimal."""
FAILED: Final = Response("client-failed")
BAD_ANSWER: Final = Response("bad-answer")
ANSWERS, FAILURES = "answers", "failures"


_acting: ContextVar[int] = ContextVar("acting", default=0)
"""The node whose client's code is running; inherited by tasks that it starts."""


class _LabelledTask(asyncio.Task[Any]):
    """A task with the node whose client started it; its name is not used for that, since loops of
    some versions of Python (3.13.0) set it after the task has been made."""

    client_node = 0


def name_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Label every task that a client starts on this loop with its node."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        task = _LabelledTask(work, loop=loop, **more)
        task.client_node = _acting.get() or 0
        return task

    loop.set_task_factory(make)


def client_of(task: object) -> int:
    """The node whose client started a task; 0 if unknown."""
    return task.client_node if isinstance(task, _LabelledTask) else 0


class ClientProblems:
    """Errors by node and kind: the count, and the first message."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], tuple[int, str]] = {}

    def add(self, node: int, kind: str, words: str, count: int = 1) -> None:
        """Count a problem. Node 0: the client is unknown."""
        before, first = self._found.get((node, kind), (0, words))
        self._found[node, kind] = (before + count, first)

    def first_failure(self, node: int) -> str | None:
        """The message of the first failure of this node's client."""
        return self._found.get((node, FAILURES), (0, None))[1]

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"node": node, "kind": kind, "count": count, "first": first}
            for (node, kind), (count, first) in sorted(self._found.items())
        ]


class GuardedClient:
    """A client of one of `nodes`, with all results validated. `path` is the file of a user-defined
    target; `broke` is called with exceptions of the caller's own `answered`."""

    def __init__(
        self,
        inner: NodeClient,
        node: int,
        nodes: Collection[int],
        problems: ClientProblems,
        *,
        path: str = "",
        broke: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._inner = inner
        self.node = node
        self._nodes = frozenset(nodes)
        self._problems = problems
        self._path = path
        self.thread = threading.get_ident()
        self.loop = asyncio.get_running_loop()
        self.broke = broke
        self.is_sending = False
        self._counted = 0

    @property
    def is_open(self) -> bool:
        try:
            return bool(self._inner.is_open)
        except Exception as error:
            self._failed(error)
            return False

    async def connect(self) -> bool:
        return bool(await self._bounded(self._inner.connect, CONNECT_TIMEOUT_S, "connect"))

    def send(self, request: Request, answered: Answered) -> None:
        answer = _Answer(self, answered)
        token = _acting.set(self.node)
        self.is_sending = True
        try:
            self._inner.send(request, answer)
        except Exception as error:
            self._failed(error)
            self.loop.call_soon(answer.give, FAILED)
        finally:
            self.is_sending = False
            _acting.reset(token)

    def watch_leader(self, told: LeaderTold) -> None:
        """Call `told` when the node reports a new leader, if its client supports this."""

        def checked(leader: Any, term: Any) -> None:
            if not (type(leader) is int and leader in self._nodes and _is_term(term)):
                self._bad_answer(f"it says that {quoted(leader)} leads in {quoted(term)}")
                return
            try:
                told(leader, term)
            except Exception as error:  # ours, as in `_Answer.give`
                self.broke(error)

        def tell(leader: Any, term: Any) -> None:
            self.loop.call_soon_threadsafe(checked, leader, term)

        try:
            if isinstance(self._inner, WatchesLeader):
                self._inner.watch_leader(tell)
        except Exception as error:
            self._failed(error)

    async def status(self, timeout_s: float) -> NodeStatus | None:
        grace_s = timeout_s + STATUS_GRACE_S
        found = await self._bounded(lambda: self._inner.status(timeout_s), grace_s, "status")
        return None if found is None else self._checked_status(found)

    async def close(self) -> None:
        """Also adds the invalid answers that the client itself has counted (`problems`)."""
        self.count()
        await self._bounded(self._inner.close, CLOSE_TIMEOUT_S, "close")

    def count(self) -> None:
        """Add the invalid answers that the client has counted since the last call."""
        with contextlib.suppress(Exception):
            total = getattr(self._inner, "problems", 0)
            if type(total) is int and total > self._counted:
                words = "something that cannot be read"
                self._problems.add(self.node, ANSWERS, words, total - self._counted)
                self._counted = total

    # ------------------------------------------------------------------ inside

    async def _bounded(self, call: Callable[[], Any], limit_s: float, what: str) -> Any:
        """The result of one of the client's coroutines; None if it raises or takes too long."""
        context = copy_context()
        context.run(_acting.set, self.node)
        try:
            result = context.run(lambda: asyncio.ensure_future(call()))
            return await asyncio.wait_for(result, limit_s)
        except OSError as error:
            if isinstance(error, TimeoutError) and what != "status":
                self._problems.add(self.node, FAILURES, f"{what} took longer than {limit_s:g} s")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._problems.add(self.node, FAILURES, f"{what} raised CancelledError")
        except Exception as error:
            self._failed(error)
        return None

    def _failed(self, error: BaseException) -> None:
        self._problems.add(self.node, FAILURES, in_words(error, self._path))

    def _bad_answer(self, words: str) -> Response:
        self._problems.add(self.node, ANSWERS, words)
        return BAD_ANSWER

    def taken(self, given: Any) -> Response:
        """The response after validation."""
        if type(given) is not Response:
            self._problems.add(self.node, FAILURES, f"it answered with {quoted(given)}")
            return FAILED
        response: Response = given
        error, value, leader, definite, order = response
        if not (error is None or type(error) is str) or type(definite) is not bool:
            words = f"it answered with the error {quoted(error)}"
            self._problems.add(self.node, FAILURES, words)
            return FAILED
        if (wrong := invalid_reason(value)) is not None:
            return self._bad_answer(wrong)
        if leader is not None and (type(leader) is not int or leader not in self._nodes):
            self._bad_answer(f"it says that {quoted(leader)} leads, which is not a node")
            response = response._replace(leader=None)
        if order is not None and not (type(order) is int and 0 <= order < INTEGER_MAX):
            response = response._replace(order=None)
        if error is not None and not (len(error) <= ERROR_MAX and error.isprintable()):
            response = response._replace(error=one_line(error, ERROR_MAX))
        return response

    def _checked_status(self, status: Any) -> NodeStatus | None:
        if not isinstance(status, NodeStatus) or status.node != self.node:
            words = f"it gave the status {quoted(status)}"
            self._problems.add(self.node, FAILURES, words)
            return None
        term, clocks, raw = status.term, (status.wall_ns, status.monotonic_ns), status.raw
        has_clocks = all(_is_count(clock) for clock in clocks)
        is_raw = isinstance(raw, Mapping) and invalid_reason(dict(raw)) is None
        return NodeStatus(
            node=self.node,
            role=one_line(status.role, ROLE_MAX) if isinstance(status.role, str) else "unknown",
            term=term if _is_term(term) else (),
            wall_ns=status.wall_ns if has_clocks else None,
            monotonic_ns=status.monotonic_ns if has_clocks else None,
            raw=raw if is_raw else {},
        )


class _Answer:
    """The callback for a client's response: called once, in the loop's thread, with validation."""

    __slots__ = ("_answered", "_client", "_is_done")

    def __init__(self, client: GuardedClient, answered: Answered) -> None:
        self._client = client
        self._answered = answered
        self._is_done = False

    def __call__(self, response: Response) -> None:
        if threading.get_ident() != self._client.thread:
            # A library that answers from its own thread.
            self._client.loop.call_soon_threadsafe(self, response)
        elif self._client.is_sending:
            # `send` has not returned yet, and must not be re-entered.
            self._client.loop.call_soon(self.give, self._client.taken(response))
        else:
            self.give(self._client.taken(response))

    def give(self, response: Response) -> None:
        if self._is_done:
            return
        self._is_done = True
        try:
            self._answered(response)
        except Exception as error:  # ours: the client must neither see nor swallow it
            self._client.broke(error)


def invalid_reason(value: Any) -> str | None:
    """Why a history cannot hold this value; None if it can."""
    kind = type(value)
    if value is None or kind is bool:
        return None
    if kind is int:
        return None if value.bit_length() <= DIGITS_BITS_MAX else "a number of too many digits"
    if kind is str:
        return None if len(value) <= TEXT_MAX else f"a text of {len(value)} characters"
    if kind is float:
        return None if math.isfinite(value) else f"the number {value}"
    return _invalid_part(value)


def _invalid_part(value: Any) -> str | None:
    waiting, seen = [(value, 0)], 0
    while waiting:
        found, depth = waiting.pop()
        kind = type(found)
        if kind in (list, tuple):
            items = list(found)
        elif kind is dict:
            if not all(type(name) is str for name in found):
                return "an object whose names are not texts"
            items = list(found.values())
        elif kind in (int, str, float, bool) or found is None:
            if (wrong := invalid_reason(found)) is not None:
                return wrong
            continue
        else:
            return f"a value of the type {one_line(kind.__name__, 40)}"
        seen += len(items)
        if depth >= DEPTH_MAX:
            return f"a value nested more than {DEPTH_MAX} deep"
        if seen > ITEMS_MAX:
            return f"a value of more than {ITEMS_MAX} items"
        waiting.extend((item, depth + 1) for item in items)
    return None


def _is_term(term: Any) -> bool:
    is_short = isinstance(term, tuple) and len(term) <= TERM_PARTS_MAX
    return is_short and all(_is_count(part) for part in term)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < INTEGER_MAX
