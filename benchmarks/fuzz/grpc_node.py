"""A node that claims to be etcd: its answers over gRPC, and the bytes of its connection.

A real gRPC server gives answers whose bytes are broken: messages of another type, too large, none,
errors of any code and text, late ones. For a part of the inputs a proxy in front of it breaks what
the server sends below that: bytes are changed, the connection ends or is reset in the middle of a
frame, stalls, or speaks no HTTP/2 at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as the client sets it before gRPC is imported

import grpc.aio

from benchmarks.fuzz.live import NODES, check_response, check_status
from benchmarks.fuzz.mutations import mutated
from benchmarks.fuzz.subject import require
from harness.targets.etcd.client import EtcdClient
from harness.targets.etcd.messages import METHODS, message_class
from harness.targets.guarded_client import ClientProblems, GuardedClient
from harness.targets.interface import Request, Response

CALL_TIMEOUT_S: Final = 0.25
STALL_S: Final = 0.4
ANSWER_LIMIT_S: Final = 20.0
"""However broken a node is, every operation has an outcome by then."""
HUGE: Final = 5 << 20
THROUGH_PROXY: Final = 0.3
TEXTS: Final = (
    *("", "etcdserver: too many requests", "etcdserver: request timed out", "\x1b[2J\u202e"),
    *("x" * 4000, "failed to connect to all addresses", "etcdserver: \x00\x9b", "larger than max"),
)
NOT_HTTP2: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
    b"\xff" * 4096,
    b"\x00\x00\x00\x07\x00\x00\x00\x00\x00",  # GOAWAY without its fields
    b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # a frame of 16 MB that does not come
    b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02" * 50,  # RST_STREAM
    b"",
)
REQUESTS: Final = (("read", None), ("write", 5), ("cas", [5, 6]), ("cas", [None, 6]))
HEADER: Final = {"member_id": 0xA1, "raft_term": 4, "revision": 9}


def _answers() -> dict[str, bytes]:
    """A right answer to each method."""
    found = {"kvs": [{"key": b"k", "value": b"5", "version": 1}]}
    fields: dict[str, dict[str, Any]] = {
        "Range": found,
        "Put": {},
        "Txn": {"responses": [{"response_range": found}]},
        "Status": {"leader": 0xA1, "raftTerm": 4, "version": "3.4.30"},
    }
    return {
        name: message_class(METHODS[name][2])(header=HEADER, **more).SerializeToString()
        for name, more in fields.items()
    }


class GrpcNode:
    """One input: a few requests to a node whose answers or connections are broken."""

    name = "grpc"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._right = _answers()
        self._draw = random.Random(0)
        self._break: Callable[[bytes], bytes] = lambda data: data
        self._is_straight = True
        self._forwarding: set[asyncio.Task[None]] = set()
        self._loop.run_until_complete(self._open())

    def one(self, draw: random.Random) -> str:
        return self._loop.run_until_complete(self._one(draw))

    def close(self) -> None:
        self._loop.run_until_complete(self._close())
        self._loop.close()

    # ------------------------------------------------------------------ the node

    async def _open(self) -> None:
        self._server = grpc.aio.server()
        for name, (path, _, _) in METHODS.items():
            service, method = path.strip("/").split("/")
            rpc = grpc.unary_unary_rpc_method_handler(self._handler(name))
            handlers = grpc.method_handlers_generic_handler(service, {method: rpc})
            self._server.add_generic_rpc_handlers((handlers,))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._proxy = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self._proxy_port = self._proxy.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._proxy.close()
        await self._server.stop(None)

    def _handler(self, name: str) -> Callable[..., Any]:
        async def handle(_: bytes, context: Any) -> bytes:
            if self._is_straight:
                return self._right[name]
            return await self._broken(name, context)

        return handle

    async def _broken(self, name: str, context: Any) -> bytes:
        draw, right = self._draw, self._right[name]
        way = draw.random()
        if way < 0.5:
            return mutated(draw, right)
        if way < 0.65:  # a message of another type
            return self._right[draw.choice(list(self._right))]
        if way < 0.66:
            return right + b"x" * HUGE
        if way < 0.85:
            code = draw.choice([code for code in grpc.StatusCode if code.value[0]])
            await context.abort(code, draw.choice(TEXTS))
        if way < 0.87:
            await asyncio.sleep(STALL_S)
        return draw.choice((b"", right, draw.randbytes(draw.randint(1, 60))))

    # ------------------------------------------------------------------ its connection

    def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._forwarded(reader, writer))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forwarded(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        draw = self._draw
        if draw.random() < 0.2:
            writer.write(draw.choice(NOT_HTTP2))
            await self._end(writer, draw)
            return
        inside, outside = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.ensure_future(_copy(reader, outside))
        try:
            await self._answer(inside, writer, draw)
        except OSError:
            """The client has gone."""
        finally:
            asking.cancel()
            outside.close()
        await self._end(writer, draw)

    async def _answer(
        self, inside: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random
    ) -> None:
        whole = draw.randint(0, 6)
        """How many pieces pass as they are."""
        while data := await inside.read(1 << 16):
            whole -= 1
            if whole < 0:
                writer.write(mutated(draw, data) if draw.random() < 0.8 else data[: len(data) // 2])
                if draw.random() < 0.5:
                    return
                if draw.random() < 0.05:
                    await asyncio.sleep(STALL_S)
            else:
                writer.write(data)
            await writer.drain()

    @staticmethod
    async def _end(writer: asyncio.StreamWriter, draw: random.Random) -> None:
        if draw.random() < 0.5:  # a reset in place of an orderly end
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    # ------------------------------------------------------------------ the client

    async def _one(self, draw: random.Random) -> str:
        self._draw = draw
        through_proxy = draw.random() < THROUGH_PROXY
        self._is_straight = through_proxy or draw.random() < 0.1
        port = self._proxy_port if through_proxy else self._port
        problems = ClientProblems()
        inner = EtcdClient(1, "127.0.0.1", port, call_timeout_s=CALL_TIMEOUT_S)
        guarded = GuardedClient(inner, 1, NODES, problems)
        try:
            await asyncio.wait_for(guarded.connect(), ANSWER_LIMIT_S)
            answers = []
            for f, value in draw.sample(REQUESTS, 2):
                answer = await self._ask(guarded, Request(1, 1, f, "k", value))
                check_response(answer)
                answers.append(answer)
            check_status(await guarded.status(CALL_TIMEOUT_S))
        finally:
            await guarded.close()
            for task in list(self._forwarding):
                task.cancel()
            await asyncio.gather(*self._forwarding, return_exceptions=True)
        told = problems.to_json()
        bad = [a for a in answers if a.error is not None and a.error.startswith("bad-answer")]
        require(bool(told) or not bad, "an answer that is none is not counted")
        require(all(p["kind"] == "answers" for p in told), f"called a failure of ours: {told}")
        return "bad" if told else "none" if any(a.error for a in answers) else "good"

    @staticmethod
    async def _ask(client: GuardedClient, request: Request) -> Response:
        given: list[Response] = []
        done = asyncio.Event()

        def answered(response: Response) -> None:
            given.append(response)
            done.set()

        client.send(request, answered)
        await asyncio.wait_for(done.wait(), ANSWER_LIMIT_S)
        await asyncio.sleep(0)
        require(len(given) == 1, f"{len(given)} answers to one request")
        return given[0]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
