"""The client port: one JSON object per line, with many concurrent requests on a connection.

    {"id":17,"client":3,"seq":5,"f":"write","key":"k1","value":9}
    {"id":17,"node":1,"error":null,"value":null,"leader":2}

    {"id":1,"f":"status"}              this node's role and view, its clocks and counters
    {"id":2,"f":"decided","start":0}   the decided slots that it still holds, from `start` on
    {"id":3,"f":"watch"}               who leads, in which ballot; afterwards a line without `id`
                                       whenever this node learns of another leader:
    {"node":1,"leader":2,"ballot":[7,2]}

    {"id":4,"client":3,"seq":6,"f":"transfer-leadership","value":2}
                                       asks the leader to transfer leadership to node 2; answered
                                       when that node has been notified

`id` is chosen by the caller and returned unchanged. `error` is null or an error of the interface;
an invalid line is answered with "bad-request" and a reason. If a connection breaks, only the
answers are dropped: the commands may still be applied.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from node_image.protocols.interface import TRANSFER, Answer, Command, NodeId
from node_image.state_machine import SUPPORTED

LINE_MAX: Final = 1024 * 1024
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class BadRequest(ValueError):
    """This line is not a request; the message explains why."""


class Node(Protocol):
    """What the client port needs from its node."""

    def submit(self, command: Command) -> None: ...

    def describe(self) -> dict[str, Any]: ...

    def decided(self, start: int) -> list[Any]: ...

    def leader(self) -> NodeId | None: ...

    def ballot(self) -> tuple[int, ...]: ...

    def transfers_leadership(self) -> bool: ...

    def wants_flush(self) -> None: ...


def parse_request(request: dict[str, Any]) -> Command:
    """The command in a request whose `f` is a string. Raises BadRequest."""
    client, seq = request.get("client"), request.get("seq")
    if type(client) is not int or client < 1 or type(seq) is not int or seq < 0:
        raise BadRequest("client must be a whole number from 1, and seq one from 0")
    key = request.get("key", "")
    if type(key) is not str:
        raise BadRequest("key must be a string")
    return Command(client, seq, request["f"], key, request.get("value"))


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, port: ClientPort) -> None:
        self._port = port
        self._rest = b""
        self._lines: list[str] = []
        self.waits_for: set[tuple[int, int]] = set()
        self.watches = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._port.connections[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.dropped(self)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line and not line.isspace():
                self._handle(line)
        if len(self._rest) > LINE_MAX:
            self.answer({"id": None, "error": "bad-request", "detail": "the line is too long"})
            self.flush()
            if self.transport is not None:
                self.transport.close()

    def _handle(self, line: bytes) -> None:
        ident: Any = None
        try:
            request = json.loads(line)
            if type(request) is not dict:
                raise BadRequest("a request is a JSON object")
            ident = request.get("id")
            self._port.handle(self, ident, request)
        except (ValueError, RecursionError) as error:
            detail = str(error) if isinstance(error, BadRequest) else f"not JSON: {error}"
            self.answer({"id": ident, "error": "bad-request", "detail": detail})

    def answer(self, reply: dict[str, Any]) -> None:
        """Queue an answer for the end of this turn."""
        if not self._lines:
            self._port.touched.append(self)
            self._port.node.wants_flush()
        self._lines.append(_encode(reply))

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self.transport is not None and not self.transport.is_closing():
            self.transport.write(("\n".join(lines) + "\n").encode())


class ClientPort:
    """All client connections, and which of them waits for which command."""

    def __init__(self, node: Node, number: NodeId) -> None:
        self.node = node
        self.number = number
        self.connections: dict[Connection, None] = {}
        self.touched: list[Connection] = []
        self._waiting: dict[tuple[int, int], tuple[Connection, Any]] = {}
        self._server: asyncio.Server | None = None
        self._queries: dict[str, Callable[[Connection, Any, dict[str, Any]], None]] = {
            "status": self._status,
            "decided": self._decided,
            "watch": self._watch,
        }

    async def listen(self, host: str | None, port: int) -> int:
        """Accept clients. Returns the port. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), host or "0.0.0.0", port, reuse_address=True
        )
        return int(self._server.sockets[0].getsockname()[1])

    def handle(self, connection: Connection, ident: Any, request: dict[str, Any]) -> None:
        """One request. Raises BadRequest."""
        f = request.get("f")
        if type(f) is not str:
            raise BadRequest("f must be a string: an operation, status or decided")
        query = self._queries.get(f)
        if query is not None:
            query(connection, ident, request)
            return
        command = parse_request(request)
        transfers = command.f == TRANSFER and self.node.transfers_leadership()
        if command.f not in SUPPORTED and not transfers:
            connection.answer(self._reply(ident, Answer("unsupported")))
            return
        key = (command.client, command.seq)
        self._waiting[key] = (connection, ident)
        connection.waits_for.add(key)
        self.node.submit(command)

    def reply(self, client: int, seq: int, answer: Answer) -> None:
        """Answer the clients that wait for this command here."""
        waiting = self._waiting.pop((client, seq), None)
        if waiting is not None:
            connection, ident = waiting
            connection.waits_for.discard((client, seq))
            connection.answer(self._reply(ident, answer))

    def _reply(self, ident: Any, answer: Answer) -> dict[str, Any]:
        leader = self.node.leader() if answer.leader is None else answer.leader
        return {
            "id": ident,
            "node": self.number,
            "error": answer.error,
            "value": answer.value,
            "leader": leader,
        }

    def _status(self, connection: Connection, ident: Any, request: dict[str, Any]) -> None:
        connection.answer({"id": ident, **self.node.describe()})

    def _decided(self, connection: Connection, ident: Any, request: dict[str, Any]) -> None:
        start = request.get("start", 0)
        if type(start) is not int:
            raise BadRequest("start must be a whole number")
        connection.answer({"id": ident, "decided": self.node.decided(start)})

    def _watch(self, connection: Connection, ident: Any, request: dict[str, Any]) -> None:
        connection.watches = True
        leader, ballot = self.node.leader(), self.node.ballot()
        connection.answer({"id": ident, **self._leads(leader, ballot)})

    def announce(self, leader: NodeId, ballot: tuple[int, ...]) -> None:
        """Notify every watching client of the leader."""
        for connection in self.connections:
            if connection.watches:
                connection.answer(self._leads(leader, ballot))

    def _leads(self, leader: NodeId | None, ballot: tuple[int, ...]) -> dict[str, Any]:
        return {"node": self.number, "leader": leader, "ballot": list(ballot)}

    def dropped(self, connection: Connection) -> None:
        """A connection is closed: no client waits on it any more."""
        self.connections.pop(connection, None)
        for key in connection.waits_for:
            if self._waiting.get(key, (None,))[0] is connection:
                del self._waiting[key]

    def flush(self) -> None:
        touched, self.touched = self.touched, []
        for connection in touched:
            connection.flush()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.flush()
            if connection.transport is not None:
                connection.transport.close()
