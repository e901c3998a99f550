"""Connections to other nodes: one TCP connection in each direction, or UDP for small messages.

A node writes only on connections that it opened, and reads only from those that it accepted. A
message is lost if a connection breaks or its queue is full, and is not sent again: protocols
tolerate this. But connections must recover when the network heals. Dropped packets leave TCP with
increasing retransmission timeouts, so:

  * The kernel closes a connection whose data is not acknowledged for UNACKED_MS (TCP_USER_TIMEOUT);
    this also bounds the retransmission timeout.
  * While there is no connection, a new attempt to connect starts every ATTEMPT_S, without waiting
    for earlier ones, whose SYNs back off in the same way. The first that succeeds is kept.

The node is notified of connections: `lost` if a peer closed, or reset, the connection on which it
writes, as the kernel does when a process dies; not if it timed out on a cut link, and not if this
node closed it. `connected` for a new connection to a peer.

A connection starts with a hello frame, `{"node": 2}`, that names the sender. A datagram starts with
the sender in two bytes. In UDP mode a message that does not fit into a datagram is sent over TCP.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from node_image.protocols.interface import NodeId
from node_image.server.codec import LENGTH, Codec, CodecError, FrameReader

UNACKED_MS: Final = 1_000
ATTEMPT_S: Final = 0.3
ATTEMPT_LIMIT_S: Final = 1.5
QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
DATAGRAM_MAX: Final = 1_400
SENDER: Final = struct.Struct(">H")

Deliver = Callable[[NodeId, tuple[Any, ...]], None]
Log = Callable[..., None]
PeerCallback = Callable[[NodeId], None]


def tune(sock: socket.socket) -> None:
    """Disable Nagle's algorithm, and set the timeout for unacknowledged data."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", UNACKED_MS),
        ("TCP_KEEPIDLE", 1),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Outgoing(asyncio.Protocol):
    """A connection that this node opened, and writes on."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        tune(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=QUEUE_BYTES_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self)


class Link:
    """The link to one other node: a queue for this turn, and a connection if there is one."""

    def __init__(self, node: NodeId, to: NodeId, address: tuple[str, int], owner: Peers) -> None:
        self.to = to
        self.address = address
        self.resolved: Any = None  # the last resolved address, for datagrams
        self._resolve_again = True
        self._owner = owner
        self._hello = _frame(json.dumps({"node": node}).encode())
        self._current: Outgoing | None = None
        self._frames: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self.attempts = 0

    def send(self, frame: bytes) -> None:
        """Queue a frame for the end of this turn. It is lost if there is no connection."""
        if self._current is None:
            self._owner.counters["transport.dropped"] += 1
        else:
            self._frames.append(frame)

    def flush(self) -> None:
        frames, self._frames = self._frames, []
        if self._current is None or not frames:
            return
        transport = self._current.transport
        assert transport is not None
        if transport.get_write_buffer_size() > QUEUE_BYTES_MAX:
            self._owner.counters["transport.dropped"] += len(frames)
            return
        transport.write(b"".join(frames) if len(frames) > 1 else frames[0])

    def lost(self, connection: Outgoing) -> None:
        if connection is self._current:
            self._current = None
            self._frames.clear()
            self._owner.counters["transport.disconnects"] += 1
            self.connect()

    def connect(self) -> None:
        """Keep trying until there is a connection."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._keep_trying())

    async def _keep_trying(self) -> None:
        attempts: set[asyncio.Task[None]] = set()
        try:
            while self._current is None and not self._owner.closing:
                attempt = asyncio.ensure_future(self._attempt())
                attempts.add(attempt)
                attempt.add_done_callback(attempts.discard)
                await asyncio.wait([attempt], timeout=ATTEMPT_S)
                if self._current is None and attempt.done():
                    await asyncio.sleep(ATTEMPT_S / 3)  # refused at once
        finally:
            for attempt in list(attempts):
                attempt.cancel()

    async def _attempt(self) -> None:
        loop = asyncio.get_running_loop()
        connection = Outgoing(self)
        self.attempts += 1
        try:
            async with asyncio.timeout(ATTEMPT_LIMIT_S):
                await self._resolve()
                host, port = self.resolved[:2]
                await loop.create_connection(lambda: connection, host, port)
        except (OSError, TimeoutError):
            self._resolve_again = True
            if connection.transport is not None:
                connection.transport.abort()
            return
        self._established(connection)

    async def _resolve(self) -> None:
        if self._resolve_again:
            loop = asyncio.get_running_loop()
            host, port = self.address
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.resolved, self._resolve_again = found[0][4], False

    def _established(self, connection: Outgoing) -> None:
        assert connection.transport is not None
        if self._current is not None or connection.transport.is_closing():
            connection.transport.abort()
            return
        self._current = connection
        self._owner.counters["transport.connects"] += 1
        connection.transport.write(self._hello)
        self._owner.connected(self.to)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._current is not None and self._current.transport is not None:
            self.flush()
            self._current.transport.close()


class Incoming(asyncio.Protocol):
    """A connection that another node opened, and writes on."""

    def __init__(self, owner: Peers) -> None:
        self._owner = owner
        self._reader = FrameReader()
        self._aborted = False
        self.sender: NodeId | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        tune(transport.get_extra_info("socket"))
        self._owner.unnamed.append(self)

    def data_received(self, data: bytes) -> None:
        owner = self._owner
        owner.counters["transport.bytes_received"] += len(data)
        try:
            for payload in self._reader.feed(data):
                if self.sender is None:
                    self.sender = owner.hello(self, payload)
                else:
                    owner.deliver(self.sender, owner.codec.decode(payload))
        except CodecError as error:
            owner.log("bad-frame", sender=self.sender, why=str(error))
            self.abort()

    def abort(self) -> None:
        self._aborted = True
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        by_peer = exc is None or isinstance(exc, ConnectionResetError)
        self._owner.forget(self, closed_by_peer=by_peer and not self._aborted)


class Datagrams(asyncio.DatagramProtocol):
    """The UDP socket, for both directions."""

    def __init__(self, owner: Peers) -> None:
        self._owner = owner

    def datagram_received(self, data: bytes, addr: Any) -> None:
        owner = self._owner
        owner.counters["transport.bytes_received"] += len(data)
        try:
            if len(data) < SENDER.size:
                raise CodecError("a datagram too short for its sender")
            (sender,) = SENDER.unpack_from(data)
            if sender not in owner.links:
                raise CodecError(f"a datagram from {sender}, which is not another node")
            message = owner.codec.decode(data[SENDER.size :])
        except CodecError as error:
            owner.log("bad-frame", sender=None, why=str(error))
            return
        owner.deliver(sender, message)

    def error_received(self, exc: Exception) -> None:
        self._owner.counters["transport.dropped"] += 1


class Peers:
    """All other nodes. `send` queues, `flush` writes what this turn has queued."""

    def __init__(
        self,
        node: NodeId,
        addresses: dict[NodeId, tuple[str, int]],
        codec: Codec,
        deliver: Deliver,
        log: Log,
        counters: dict[str, int],
        *,
        lost: PeerCallback,
        connected: PeerCallback,
    ) -> None:
        self.codec = codec
        self.deliver = deliver
        self.log = log
        self.counters = counters
        self.connected = connected
        self._lost = lost
        self.closing = False
        self.unnamed: list[Incoming] = []
        self.links = {
            to: Link(node, to, address, self) for to, address in addresses.items() if to != node
        }
        self._prefix = SENDER.pack(node)
        self._incoming: dict[NodeId, Incoming] = {}
        self._touched: list[Link] = []
        self._server: asyncio.Server | None = None
        self._datagrams: asyncio.DatagramTransport | None = None

    async def listen(self, host: str | None, port: int, transport: str) -> int:
        """Accept connections (and datagrams). Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Incoming(self), host or "0.0.0.0", port, reuse_address=True
        )
        port = self._server.sockets[0].getsockname()[1]
        if transport == "udp":
            endpoint = await loop.create_datagram_endpoint(
                lambda: Datagrams(self), local_addr=(host or "0.0.0.0", port)
            )
            self._datagrams = endpoint[0]
        return port

    def connect(self) -> None:
        """Start to connect to all peers, and keep reconnecting."""
        for link in self.links.values():
            link.connect()

    # ------------------------------------------------------------------ sending

    def send(self, to: NodeId, frame: bytes) -> None:
        """Queue one frame (length and payload) to one node."""
        link = self.links.get(to)
        if link is None:
            return
        self.counters["transport.bytes_sent"] += len(frame)
        if self._datagrams is not None and self._send_datagram(link, frame):
            return
        link.send(frame)
        self._touched.append(link)

    def broadcast(self, frame: bytes) -> None:
        for to in self.links:
            self.send(to, frame)

    def _send_datagram(self, link: Link, frame: bytes) -> bool:
        if len(frame) > DATAGRAM_MAX or link.resolved is None:
            return False
        assert self._datagrams is not None
        self._datagrams.sendto(self._prefix + frame[LENGTH.size :], link.resolved)
        return True

    def flush(self) -> None:
        """Write what has been queued, with one write per connection."""
        touched, self._touched = self._touched, []
        for link in touched:
            link.flush()

    # ------------------------------------------------------------------ accepted connections

    def hello(self, connection: Incoming, payload: bytes) -> NodeId:
        """The node that writes on this connection; an older one from the same node is closed."""
        try:
            node = json.loads(payload)["node"]
        except (ValueError, TypeError, KeyError):
            raise CodecError(f"no hello: {payload[:80]!r}") from None
        if node not in self.links:
            raise CodecError(f"a hello from {node!r:.40}, which is not another node")
        self.unnamed.remove(connection)
        older = self._incoming.pop(node, None)
        self._incoming[node] = connection
        if older is not None:
            older.abort()
        return int(node)

    def forget(self, connection: Incoming, *, closed_by_peer: bool) -> None:
        if connection in self.unnamed:
            self.unnamed.remove(connection)
        sender = connection.sender
        if sender is not None and self._incoming.get(sender) is connection:
            del self._incoming[sender]
            if closed_by_peer and not self.closing:
                self._lost(sender)

    def close(self) -> None:
        self.closing = True
        for link in self.links.values():
            link.close()
        for connection in [*self.unnamed, *self._incoming.values()]:
            connection.abort()
        if self._server is not None:
            self._server.close()
        if self._datagrams is not None:
            self._datagrams.close()


def _frame(payload: bytes) -> bytes:
    return LENGTH.pack(len(payload)) + payload
