"""A client of one etcd node, over gRPC, as etcd's own clients talk to it.

All of a run's clients share one HTTP/2 connection to each node. What is certainly without effect
is determined by the error: a request that never left, because the connection could not be made, or
that etcd refused before proposing (`api/v3rpc/rpctypes/error.go`). All else may have had an effect.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from harness.targets.interface import (
    DISCONNECTED,
    REFUSED,
    Answered,
    NodeStatus,
    Request,
    Response,
)
from histories.text import one_line
from histories.untrusted import Malformed, parse

if TYPE_CHECKING:
    import grpc.aio

CONNECT_TIMEOUT_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 2.0
CALL_TIMEOUT_S: Final = 10.0
"""etcd itself gives up after 7 s at its default election timeout."""
TEXT_MAX: Final = 200
OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
)
"""A node that was restarted is connected to again as soon as it listens."""
DEFINITE: Final = (
    "etcdserver: too many requests",
    "etcdserver: key is not provided",
    "etcdserver: request is too large",
    "etcdserver: mvcc: database space exceeded",
)
"""Refused before anything was proposed."""
TOO_LARGE: Final = "larger than max"
"""gRPC's words where an answer exceeds the bound in OPTIONS."""
NEVER_SENT: Final = "failed to connect to all addresses"
"""gRPC's words where a call fails because there is no connection to send it on."""

Call = Callable[..., Awaitable[Any]]


class EtcdClient:
    """Requests to one node. It counts as connected once the node itself has answered: the engine's
    port forwarder accepts connections for nodes that are down."""

    def __init__(
        self,
        node: int,
        host: str,
        port: int,
        *,
        serializable: bool = False,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self.node = node
        self.is_open = False
        self.problems = 0
        """What the node sent that is not an answer of etcd's."""
        self._call_timeout_s = call_timeout_s
        self._address = f"{host}:{port}"
        self._serializable = serializable
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Call] = {}
        self._messages: dict[str, Any] = {}
        self._connecting: asyncio.Task[bool] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def connect(self) -> bool:
        if self.is_open or self._is_closing:
            return self.is_open
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._connecting)

    def send(self, request: Request, answered: Answered) -> None:
        task = asyncio.ensure_future(self._send(request, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def status(self, timeout_s: float) -> NodeStatus | None:
        if not self.is_open:
            return None
        answer = await self._ask_status(timeout_s)
        if answer is None:
            return None
        member, leader = answer.header.member_id, answer.leader
        raw = {
            "member": f"{member:x}",
            "leader": f"{leader:x}",
            "raft_term": answer.raftTerm,
            "raft_index": answer.raftIndex,
            "version": answer.version,
        }
        role = "leader" if member == leader != 0 else "follower"
        return NodeStatus(node=self.node, role=role, term=(answer.raftTerm,), raw=raw)

    async def close(self) -> None:
        """End every call. gRPC has one event queue for the whole process: a call whose end is still
        in it when this loop is closed raises in the loop of the next run. So calls are not left
        alone: the channel ends them, and they are awaited."""
        self.is_open, self._is_closing = False, True
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        tasks = [*self._tasks, *([self._connecting] if self._connecting else [])]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ one request

    async def _send(self, request: Request, answered: Answered) -> None:
        import grpc  # noqa: PLC0415 (a tenth of a second that other targets need not wait for)

        if not await self.connect():
            self._answer(answered, REFUSED)
            return
        try:
            response = await self._execute(request)
        except grpc.aio.AioRpcError as error:
            response = self._failed(error.code().name, str(error.details()))
        except Malformed as error:
            self.problems += 1
            response = Response(one_line(f"bad-answer: it {error}", TEXT_MAX))
        self._answer(answered, response)

    def _answer(self, answered: Answered, response: Response) -> None:
        if not self._is_closing:  # else the run is over
            answered(response)

    def _failed(self, code: str, details: str) -> Response:
        """What a call's error says of its effect."""
        if details.startswith("etcdserver:"):
            return Response(one_line(details, TEXT_MAX), definite=details in DEFINITE)
        if code == "UNAVAILABLE":
            self.is_open = False
            return REFUSED if details.startswith(NEVER_SENT) else DISCONNECTED
        if code == "DEADLINE_EXCEEDED":
            return Response("timeout")
        if TOO_LARGE in details:
            self.problems += 1
        return Response(one_line(f"{code.lower()}: {details}", TEXT_MAX))

    async def _execute(self, request: Request) -> Response:
        key = request.key.encode()
        if request.f == "read":
            asked = self._make("Range", key=key, serializable=self._serializable)
            return Response(None, _value(await self._call("Range", asked), key))
        if request.f == "write":
            await self._call("Put", self._make("Put", key=key, value=_encoded(request.value)))
            return Response(None)
        if request.f == "cas":
            return await self._compare_and_set(key, *request.value)
        return Response("unsupported", definite=True)

    async def _compare_and_set(self, key: bytes, expected: Any, new: Any) -> Response:
        from harness.targets.etcd.messages import EQUAL, VALUE, VERSION  # noqa: PLC0415

        compare: dict[str, Any] = {"key": key, "result": EQUAL, "target": VERSION, "version": 0}
        if expected is not None:
            compare = {"key": key, "result": EQUAL, "target": VALUE, "value": _encoded(expected)}
        asked = self._make(
            "Txn",
            compare=[compare],
            success=[{"request_put": {"key": key, "value": _encoded(new)}}],
            failure=[{"request_range": {"key": key}}],
        )
        answer = await self._call("Txn", asked)
        if answer.succeeded:
            return Response(None)
        if len(answer.responses) != 1 or not answer.responses[0].HasField("response_range"):
            raise Malformed("does not say what was found where a comparison failed")
        found = _value(answer.responses[0].response_range, key)
        return Response("mismatch", found, definite=True)

    async def _call(self, method: str, asked: Any) -> Any:
        return _whole(await self._calls[method](asked, timeout=self._call_timeout_s))

    async def _ask_status(self, timeout_s: float) -> Any:
        """The node's answer; None where it gives none."""
        import grpc  # noqa: PLC0415

        try:
            return _whole(await self._calls["Status"](self._make("Status"), timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            self.problems += TOO_LARGE in str(error.details())
        except Malformed:
            self.problems += 1
        return None

    def _make(self, method: str, **fields: Any) -> Any:
        return self._messages[method](**fields)

    async def _connect(self) -> bool:
        if self._channel is None:
            self._open_channel()
        if await self._ask_status(CONNECT_TIMEOUT_S) is not None:
            self.is_open = True
        return self.is_open

    def _open_channel(self) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # nodes that are down are expected
        import grpc.aio  # noqa: PLC0415

        from harness.targets.etcd.messages import METHODS, message_class  # noqa: PLC0415

        self._channel = grpc.aio.insecure_channel(self._address, options=OPTIONS)
        for name, (path, asked, answer) in METHODS.items():
            self._messages[name] = message_class(asked)
            self._calls[name] = self._channel.unary_unary(
                path,
                request_serializer=message_class(asked).SerializeToString,
                response_deserializer=message_class(answer).FromString,
            )


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def _whole(answer: Any) -> Any:
    """gRPC gives None where the bytes are not a message of the type. An answer of etcd's always
    has a header; no bytes at all are an empty message. Raises Malformed."""
    if answer is None or not answer.HasField("header"):
        raise Malformed("is not a message of etcd's")
    return answer


def _value(answer: Any, key: bytes) -> Any:
    """What a range of one key found; None where the key is not there. Raises Malformed."""
    if not answer.kvs:
        return None
    if len(answer.kvs) != 1 or answer.kvs[0].key != key:
        raise Malformed("tells of another key than was asked for")
    return parse(answer.kvs[0].value)
