"""One connection to one node's client port: JSON lines, many requests at a time.

A connection counts as made only when the node has answered a first question: the engine's port
forwarder accepts for nodes that are dead, and what was never sent must be known as never sent
("refused", definite). When a connection breaks, whatever waits on it is "disconnected".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard, TypeVar

from harness.targets.interface import (
    DISCONNECTED,
    REFUSED,
    Answered,
    LeaderTold,
    NodeStatus,
    Request,
    Response,
)
from histories.text import one_line
from histories.untrusted import INTEGER_MAX, LINE_BYTES_MAX, LineSplitter, Malformed, parse_object

CONNECT_TIMEOUT_S: Final = 1.0
T = TypeVar("T")
LINE_MAX: Final = LINE_BYTES_MAX
"""A longer line is not an answer: the connection is dropped."""
TEXT_MAX: Final = 200
TERM_PARTS_MAX: Final = 8

Callback = Callable[[dict[str, Any] | None], None]
"""Gets the node's answer, or None when the connection broke first."""


def settle(future: asyncio.Future[T], result: T) -> None:
    """Give a future its result, unless its waiter has gone."""
    if not future.done():
        future.set_result(result)


class _Wire(asyncio.Protocol):
    """Splits what comes in into lines; tells its owner when the connection ends."""

    def __init__(self, owner: JsonLinesClient) -> None:
        self._owner = owner
        self._splitter = LineSplitter(LINE_MAX)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            lines = self._splitter.lines(data)
        except Malformed:
            self._owner.problems += 1
            if self._transport is not None:
                self._transport.abort()
            return
        for line in lines:
            self._owner.line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost(self)


class JsonLinesClient:
    """A `NodeClient` of nodes that serve clients in the way of `node_image.server.clients`.

    `definite` says which of the node's errors certainly had no effect. Connects when needed, and
    again after a loss. `problems` counts what the node sent that is not an answer.
    """

    def __init__(self, node: int, host: str, port: int, definite: Mapping[str, bool]) -> None:
        self.node = node
        self.problems = 0
        self._host, self._port = host, port
        self._definite = definite
        self._transport: asyncio.Transport | None = None
        self._wire: _Wire | None = None
        self._waiting: dict[int, Callback] = {}
        self._given_up: set[int] = set()
        """Questions that are not waited for any more; their answers may still come."""
        self._count = 0
        self._connecting: asyncio.Task[bool] | None = None
        self._outbox: list[bytes] = []
        self._flush_planned = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: LeaderTold | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def send(self, request: Request, answered: Answered) -> None:
        """Send a client's request; `answered` is called once, unless no answer ever comes."""

        def done(message: dict[str, Any] | None) -> None:
            answered(DISCONNECTED if message is None else self._response(message))

        body = request._asdict()
        if self._transport is not None:
            self._send(body, done)
        else:
            task = asyncio.ensure_future(self._connect_then(body, done, answered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def status(self, timeout_s: float) -> NodeStatus | None:
        """What the node says of itself; None where it does not answer, or not in this form."""
        return _status_of(await self.ask("status", timeout_s), self.node)

    async def ask(self, f: str, timeout_s: float, **what: Any) -> dict[str, Any] | None:
        """The node's answer to a question of our own ("status"); None if there is none in time."""
        if self._transport is None and not await self.connect():
            return None
        answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        identity = self._send({"f": f, **what}, lambda m: settle(answer, m))
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            if self._waiting.pop(identity, None) is not None:
                self._given_up.add(identity)
            return None

    async def connect(self) -> bool:
        """True when the node has answered a first question on a new or existing connection."""
        if self._transport is not None:
            return True
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(lambda _: setattr(self, "_connecting", None))
        return await asyncio.shield(self._connecting)

    async def close(self) -> None:
        """Nothing is under way any more; what waited for an answer gets none."""
        under_way = [*self._tasks] + ([self._connecting] if self._connecting is not None else [])
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # ------------------------------------------------------------------ the wire's callbacks

    def line(self, line: bytes) -> None:
        try:
            message = parse_object(line)
        except Malformed:
            self.problems += 1
            return
        if "id" not in message and self._tell(message):
            return
        identity = message.get("id")
        callback = self._waiting.pop(identity, None) if type(identity) is int else None
        if callback is not None:
            callback(message)
        elif type(identity) is int and identity in self._given_up:
            self._given_up.remove(identity)
        else:
            self.problems += 1

    def _tell(self, message: dict[str, Any]) -> bool:
        """Pass on who leads; False where the message does not say so."""
        leader, ballot = message.get("leader"), message.get("ballot")
        if type(leader) is not int or not _is_term(ballot):
            return False
        if self._told is not None:
            self._told(leader, tuple(ballot))
        return True

    def lost(self, wire: _Wire) -> None:
        if wire is not self._wire:
            return
        self._transport = self._wire = None
        waiting, self._waiting = self._waiting, {}
        self._given_up.clear()
        for callback in waiting.values():
            callback(None)

    # ------------------------------------------------------------------ inside

    def _response(self, message: dict[str, Any]) -> Response:
        error, leader = message.get("error"), message.get("leader")
        if error is not None and not isinstance(error, str):
            self.problems += 1
            return Response("bad-answer")
        return Response(
            None if error is None else one_line(error, TEXT_MAX),
            message.get("value"),
            leader if type(leader) is int else None,
            self._definite.get(error, False) if error else False,
        )

    async def _connect(self) -> bool:
        loop = asyncio.get_running_loop()
        hello: asyncio.Future[bool] = loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, wire = await loop.create_connection(
                    lambda: _Wire(self), self._host, self._port
                )
                self._wire = wire
                self._count += 1
                self._waiting[self._count] = lambda m: settle(hello, bool(m))
                question = json.dumps({"id": self._count, "f": "status"})
                transport.write(question.encode() + b"\n")
                if await hello:
                    self._transport = transport
                    if self._told is not None:
                        self._watch()
                    return True
        except (OSError, TimeoutError):
            self._waiting.pop(self._count, None)
            with contextlib.suppress(UnboundLocalError):
                transport.abort()
        return False

    async def _connect_then(self, body: dict[str, Any], done: Callback, answered: Answered) -> None:
        if await self.connect() and self._transport is not None:
            self._send(body, done)
        else:
            answered(REFUSED)

    def _watch(self) -> None:
        def answered(message: dict[str, Any] | None) -> None:
            if message is not None:
                self._tell(message)

        self._send({"f": "watch"}, answered)

    def _send(self, body: dict[str, Any], done: Callback) -> int:
        self._count += 1
        self._waiting[self._count] = done
        line = json.dumps({"id": self._count, **body}, separators=(",", ":"))
        self._outbox.append(line.encode() + b"\n")
        if not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_soon(self._flush)
        return self._count

    def _flush(self) -> None:
        """One write for all messages of one iteration of the event loop."""
        self._flush_planned = False
        if self._transport is not None:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()


def _status_of(answer: dict[str, Any] | None, node: int) -> NodeStatus | None:
    """A status in its own form, whatever the node has sent."""
    if answer is None:
        return None
    role, ballot = answer.get("role"), answer.get("ballot")
    wall_us, monotonic_ns = answer.get("wall_us"), answer.get("monotonic_ns")
    term = tuple(ballot) if _is_term(ballot) else ()
    clocks = type(wall_us) is int and type(monotonic_ns) is int
    return NodeStatus(
        node=node,
        role=one_line(role, TEXT_MAX) if isinstance(role, str) else "unknown",
        term=term,
        wall_ns=wall_us * 1000 if clocks and isinstance(wall_us, int) else None,
        monotonic_ns=monotonic_ns if clocks else None,
        raw=answer,
    )


def _is_term(ballot: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(ballot, list)
        and len(ballot) <= TERM_PARTS_MAX
        and all(type(part) is int and 0 <= part < INTEGER_MAX for part in ballot)
    )


class WatchingClient(JsonLinesClient):
    """One whose node says by itself who leads (`WatchesLeader`), once it is asked to."""

    def watch_leader(self, told: LeaderTold) -> None:
        self._told = told
        if self.is_open:
            self._watch()
