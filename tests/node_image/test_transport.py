"""The connections to the other nodes: delivery, possible losses, and reconnection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from node_image.protocols.ballots import Ballot
from node_image.protocols.multi_paxos_messages import MESSAGES, Commit, SnapshotOffer
from node_image.server.codec import FRAME_MAX, LENGTH, Codec
from node_image.server.transport import DATAGRAM_MAX, Peers

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind((HOST, 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Pair:
    """Two nodes on loopback, in this event loop."""

    def __init__(self, transport: str = "tcp") -> None:
        self.transport = transport
        self.codec = Codec(MESSAGES)
        self.addresses = {n: (HOST, port) for n, port in enumerate(free_ports(2), 1)}
        self.heard: dict[int, list[tuple[int, Any]]] = {1: [], 2: []}
        self.logs: list[tuple[str, dict[str, Any]]] = []
        self.counters: dict[int, Counter[str]] = {1: Counter(), 2: Counter()}
        self.peers: dict[int, Peers] = {}
        self.told: list[tuple[int, str, int]] = []

    async def start(self, node: int) -> Peers:
        peers = Peers(
            node,
            self.addresses,
            self.codec,
            lambda sender, message: self.heard[node].append((sender, message)),
            lambda event, **about: self.logs.append((event, about)),
            self.counters[node],
            lost=lambda peer: self.told.append((node, "lost", peer)),
            connected=lambda peer: self.told.append((node, "connected", peer)),
        )
        await peers.listen(HOST, self.addresses[node][1], self.transport)
        peers.connect()
        self.peers[node] = peers
        return peers

    def send(self, sender: int, to: int, message: Any) -> None:
        self.peers[sender].send(to, self.codec.frame(message))
        self.peers[sender].flush()

    async def until_heard(self, sender: int, to: int, number: int) -> None:
        """Send until a message arrives: messages may be lost while there is no connection."""
        while (sender, commit(number)) not in self.heard[to]:
            self.send(sender, to, commit(number))
            await asyncio.sleep(0.01)

    def close(self) -> None:
        for peers in self.peers.values():
            peers.close()


def commit(number: int) -> Commit:
    return Commit(Ballot(1, 1), number)


def play(scene: Callable[[Pair], Awaitable[None]], transport: str = "tcp") -> Pair:
    async def run() -> Pair:
        pair = Pair(transport)
        try:
            await pair.start(1)
            await pair.start(2)
            async with asyncio.timeout(30):
                await scene(pair)
        finally:
            pair.close()
        return pair

    return asyncio.run(run())


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_messages_arrive_in_order_and_once(transport: str) -> None:
    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        await pair.until_heard(2, 1, 0)
        await asyncio.sleep(0.05)
        pair.heard[2].clear()
        for number in range(1, 200):
            pair.send(1, 2, commit(number))
        while len(pair.heard[2]) < 199:
            await asyncio.sleep(0.01)
        assert pair.heard[2] == [(1, commit(number)) for number in range(1, 200)]

    play(scene, transport)


def test_a_node_is_notified_of_lost_and_new_connections() -> None:
    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        await pair.until_heard(2, 1, 0)
        assert sorted(pair.told) == [(1, "connected", 2), (2, "connected", 1)]
        pair.told.clear()
        pair.peers.pop(1).close()
        while (2, "lost", 1) not in pair.told:
            await asyncio.sleep(0.01)
        assert pair.told == [(2, "lost", 1)]
        await pair.start(1)
        await pair.until_heard(2, 1, 1)
        assert (2, "connected", 1) in pair.told

    play(scene)


def test_a_connection_that_this_node_closes_is_not_reported_as_lost() -> None:
    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        pair.peers[1].send(2, LENGTH.pack(3) + b"[1]")
        pair.peers[1].flush()
        await pair.until_heard(1, 2, 1)
        assert pair.counters[1]["transport.disconnects"] == 1
        assert (2, "lost", 1) not in pair.told

    play(scene)


def test_messages_too_large_for_a_datagram_use_tcp() -> None:
    large = SnapshotOffer(7, "x" * 2 * DATAGRAM_MAX)

    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        while (1, large) not in pair.heard[2]:
            pair.send(1, 2, large)
            await asyncio.sleep(0.01)

    play(scene, "udp")


def test_datagrams_reach_a_node_that_accepts_no_connections() -> None:
    """A cut in one direction allows datagrams but no handshake."""

    async def run() -> None:
        pair = Pair("udp")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(pair.addresses[2])
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await pair.start(1)
            link = pair.peers[1].links[2]
            async with asyncio.timeout(30):
                while link.attempts < 3:
                    await asyncio.sleep(0.01)
                for number in range(20):
                    pair.send(1, 2, commit(number))
                    heard = await loop.sock_recv(sock, 2_000)
                    assert pair.codec.decode(heard[2:]) == commit(number)
                    await asyncio.sleep(0.02)
        finally:
            pair.close()
            sock.close()

    asyncio.run(run())


def test_a_large_message_arrives() -> None:
    large = SnapshotOffer(7, ["value"] * 1_000_000)

    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        pair.send(1, 2, large)
        while pair.heard[2][-1] != (1, large):
            await asyncio.sleep(0.01)

    play(scene)


def test_a_node_that_restarts_is_reconnected_and_nothing_is_sent_twice() -> None:
    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 0)
        pair.peers[2].close()
        while pair.counters[1]["transport.disconnects"] == 0:
            await asyncio.sleep(0.01)
        pair.send(1, 2, commit(1))  # no node listens: lost
        assert pair.counters[1]["transport.dropped"] >= 1
        await pair.start(2)
        await pair.until_heard(1, 2, 2)
        assert (1, commit(1)) not in pair.heard[2]

    play(scene)


def test_a_node_that_does_not_listen_yet_is_waited_for() -> None:
    async def run() -> None:
        pair = Pair()
        try:
            await pair.start(1)
            await asyncio.sleep(0.05)
            await pair.start(2)
            async with asyncio.timeout(30):
                await pair.until_heard(1, 2, 1)
        finally:
            pair.close()

    asyncio.run(run())


def test_a_name_that_does_not_resolve_yet_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pair = Pair()
        port = pair.addresses[2][1]
        pair.addresses[2] = ("n2.test", port)
        loop = asyncio.get_running_loop()
        asked = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> Any:
            asked.append(host)
            if host == "n2.test" and asked.count(host) < 3:
                raise socket.gaierror("no such name")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        try:
            await pair.start(1)
            await pair.start(2)
            async with asyncio.timeout(30):
                await pair.until_heard(1, 2, 1)
            assert asked.count("n2.test") == 3
        finally:
            pair.close()

    asyncio.run(run())


GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    LENGTH.pack(FRAME_MAX + 1),
    LENGTH.pack(3) + b"{}}",
    LENGTH.pack(11) + b'{"node":99}',
    LENGTH.pack(12) + b'{"node":"1"}',
    LENGTH.pack(10) + b'{"node":1}' + LENGTH.pack(12) + b'["Commit",1]',
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_invalid_data_only_closes_the_connection(garbage: bytes) -> None:
    async def scene(pair: Pair) -> None:
        reader, writer = await asyncio.open_connection(*pair.addresses[2])
        writer.write(garbage)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await pair.until_heard(1, 2, 5)

    pair = play(scene)
    assert [event for event, _ in pair.logs] == ["bad-frame"]


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\x00\x63[]", b"\x00\x01[", b"\x00\x01" * 9])
def test_invalid_datagrams_are_ignored(garbage: bytes) -> None:
    async def scene(pair: Pair) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.sendto(garbage, pair.addresses[2])
        sock.close()
        await pair.until_heard(1, 2, 5)
        while not pair.logs:
            await asyncio.sleep(0.01)

    pair = play(scene, "udp")
    assert pair.logs[0][0] == "bad-frame"


def test_a_newer_connection_of_a_node_replaces_the_older() -> None:
    async def scene(pair: Pair) -> None:
        await pair.until_heard(1, 2, 1)
        reader, writer = await asyncio.open_connection(*pair.addresses[2])
        hello = b'{"node":1}'
        writer.write(LENGTH.pack(len(hello)) + hello)
        # the older one is closed, node 1 connects again, and that closes this one
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await pair.until_heard(1, 2, 2)
        assert pair.counters[1]["transport.connects"] >= 2

    play(scene)
