"""The client of etcd against a server in this process that speaks the same gRPC interface."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from harness.targets.etcd.client import EtcdClient
from harness.targets.etcd.messages import METHODS, message_class
from harness.targets.interface import DISCONNECTED, REFUSED, Request, Response

HEADER = {"member_id": 0xA1, "raft_term": 4}
Handler = Callable[[Any, Any], Awaitable[Any]]


class Store:
    """One node: keys and bytes. `fails` is what every call but Status ends with, if anything."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.fails: tuple[grpc.StatusCode, str] | None = None
        self.serializable: list[bool] = []
        self.raw: dict[str, bytes] = {}
        """What is sent in place of an answer to a method."""

    async def call(self, method: str, asked: Any, context: Any) -> Any:
        if method in self.raw:
            return self.raw[method]
        if method == "Status":
            return message_class("StatusResponse")(header=HEADER, leader=0xA1, raftTerm=4)
        if self.fails is not None:
            await context.abort(*self.fails)
        if method == "Range":
            self.serializable.append(asked.serializable)
            return self._range(asked)
        if method == "Put":
            self.values[asked.key] = asked.value
            return message_class("PutResponse")(header=HEADER)
        (compare,) = asked.compare
        if compare.HasField("version"):
            succeeded = compare.key not in self.values and compare.version == 0
        else:
            succeeded = self.values.get(compare.key) == compare.value
        if succeeded:
            put = asked.success[0].request_put
            self.values[put.key] = put.value
            responses = [{"response_put": {}}]
            return message_class("TxnResponse")(header=HEADER, succeeded=True, responses=responses)
        seen = self._range(asked.failure[0].request_range)
        return message_class("TxnResponse")(header=HEADER, responses=[{"response_range": seen}])

    def _range(self, asked: Any) -> Any:
        found = self.values.get(asked.key)
        kvs = [] if found is None else [{"key": asked.key, "value": found}]
        return message_class("RangeResponse")(header=HEADER, kvs=kvs)


async def served(store: Store) -> tuple[Any, int]:
    server = grpc.aio.server()
    for name, (path, asked, _) in METHODS.items():

        def handler(method: str) -> Handler:
            async def handle(request: Any, context: Any) -> Any:
                return await store.call(method, request, context)

            return handle

        service, method = path.strip("/").split("/")
        rpc = grpc.unary_unary_rpc_method_handler(
            handler(name),
            request_deserializer=message_class(asked).FromString,
            response_serializer=lambda sent: (
                sent if isinstance(sent, bytes) else sent.SerializeToString()
            ),
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: rpc}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def ask(client: EtcdClient, f: str, value: Any = None) -> Response:
    done: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    client.send(Request(1, 1, f, "k1", value), done.set_result)
    return await asyncio.wait_for(done, 5)


def test_reads_writes_and_compare_and_set() -> None:
    async def body() -> None:
        store = Store()
        server, port = await served(store)
        client = EtcdClient(1, "127.0.0.1", port, serializable=True)
        try:
            assert await client.connect()
            assert await ask(client, "read") == Response(None, None)
            assert await ask(client, "cas", [None, 3]) == Response(None)
            assert await ask(client, "cas", [None, 4]) == Response("mismatch", 3, definite=True)
            assert await ask(client, "cas", [3, {"a": [1]}]) == Response(None)
            assert await ask(client, "write", 7) == Response(None)
            assert await ask(client, "read") == Response(None, 7)
            assert await ask(client, "append", 7) == Response("unsupported", definite=True)
            assert store.values == {b"k1": json.dumps(7).encode()}
            assert store.serializable == [True, True]
            status = await client.status(2)
            assert status is not None and (status.role, status.term) == ("leader", (4,))
        finally:
            await client.close()
            await server.stop(None)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("etcdserver: too many requests", Response("etcdserver: too many requests", definite=True)),
        ("etcdserver: request timed out", Response("etcdserver: request timed out")),
        ("etcdserver: leader changed", Response("etcdserver: leader changed")),
        ("Socket closed", DISCONNECTED),
        ("failed to connect to all addresses; last error: x", REFUSED),
    ],
)
def test_an_error_is_definite_only_where_nothing_was_proposed(
    fails: str, expected: Response
) -> None:
    async def body() -> None:
        store = Store()
        server, port = await served(store)
        client = EtcdClient(1, "127.0.0.1", port)
        try:
            assert await client.connect()
            store.fails = (grpc.StatusCode.UNAVAILABLE, fails)
            assert await ask(client, "write", 1) == expected
            assert client.is_open == fails.startswith("etcdserver:")
        finally:
            await client.close()
            await server.stop(None)

    asyncio.run(body())


def test_a_value_that_no_client_wrote_is_a_bad_answer_and_has_an_open_outcome() -> None:
    async def body() -> None:
        store = Store()
        store.values[b"k1"] = b"\xff{"
        server, port = await served(store)
        client = EtcdClient(1, "127.0.0.1", port)
        try:
            assert await client.connect()
            response = await ask(client, "read")
            assert response.error is not None and response.error.startswith("bad-answer")
            assert not response.definite and client.problems == 1
        finally:
            await client.close()
            await server.stop(None)

    asyncio.run(body())


@pytest.mark.parametrize("sent", [b"", b"\xff\xff", b"\x12\xff\xff\xff\xff\x0f", b"x" * (5 << 20)])
@pytest.mark.parametrize(("method", "f", "value"), [("Put", "write", 1), ("Range", "read", None)])
def test_what_is_no_message_of_etcd_s_acknowledges_nothing(
    sent: bytes, method: str, f: str, value: Any
) -> None:
    async def body() -> None:
        store = Store()
        server, port = await served(store)
        client = EtcdClient(1, "127.0.0.1", port)
        try:
            assert await client.connect()
            store.raw = {method: sent}
            response = await ask(client, f, value)
            assert response.error is not None and not response.definite
            assert client.problems == 1  # the node is named
            store.raw["Status"] = sent
            assert await client.status(2) is None and client.problems == 2
            client.is_open = False
            assert not await client.connect() and client.problems == 3
        finally:
            await client.close()
            await server.stop(None)

    asyncio.run(body())


def test_a_node_that_does_not_listen_refuses_at_once_and_is_found_again() -> None:
    async def body() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        client = EtcdClient(1, "127.0.0.1", port)
        try:
            before = asyncio.get_running_loop().time()
            assert not await client.connect()
            assert await ask(client, "write", 1) == REFUSED
            assert asyncio.get_running_loop().time() - before < 0.9
            assert await client.status(1) is None
        finally:
            await client.close()

    asyncio.run(body())


def test_calls_without_an_answer_leave_nothing_to_the_next_loop() -> None:
    """Every run of a suite has a loop of its own, and gRPC one event queue for the process."""
    release = threading.Event()

    def call(method: str) -> Callable[[Any, Any], Any]:
        def handle(_: Any, context: Any) -> Any:
            if method == "Status":
                return message_class("StatusResponse")(header={"member_id": 1}, leader=1)
            while context.is_active() and not release.wait(0.01):
                pass
            return message_class("PutResponse")()

        return handle

    server = grpc.server(ThreadPoolExecutor(4))
    for name, (path, asked, answer) in METHODS.items():
        service, method = path.strip("/").split("/")
        rpc = grpc.unary_unary_rpc_method_handler(
            call(name),
            request_deserializer=message_class(asked).FromString,
            response_serializer=message_class(answer).SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: rpc}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    raised: list[Any] = []
    answers: list[Response] = []

    async def run(unanswered: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        client = EtcdClient(1, "127.0.0.1", port)
        assert await client.connect()
        for number in range(unanswered):
            client.send(Request(1, number, "write", "k", number), answers.append)
        await asyncio.sleep(0.1)
        await client.close()

    try:
        asyncio.run(run(200))
        for _ in range(3):
            asyncio.run(run(0))
    finally:
        release.set()
        server.stop(0).wait()
    assert raised == []
    assert answers == [], "nothing is answered when the run is over"
