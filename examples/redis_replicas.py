"""Redis with asynchronous replication: one primary, the other nodes follow it and serve reads.

    antipaxos run examples/redis_replicas.py --nodes 3 --faults partition --time 10s

Reads from a replica that lags are stale, and the checker finds them. With `--set reads=primary`
every read goes to the primary, and the history is linearizable as long as it lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from antipaxos import Capabilities, ClusterSpec, NodeSpec, NodeStatus, Request, Response

COMPARE_AND_SET = """
local seen = redis.call('GET', KEYS[1])
if (seen or 'null') ~= ARGV[1] then return {0, seen or 'null'} end
redis.call('SET', KEYS[1], ARGV[2])
return {1, ''}
"""


class RedisReplicas:
    name = "redis-replicas"
    summary = "Redis 7, a primary and asynchronous replicas"
    client_port = 6379
    artifacts: Mapping[str, str] = {}  # files that are copied out of the nodes at the end
    capabilities = Capabilities(reads=("any", "primary"), observes_mismatch=True)

    # ------------------------------------------------------------ what the user may set

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if set(given) - {"reads"} or given.get("reads", "any") not in self.capabilities.reads:
            raise ValueError("the one setting is reads=any or reads=primary")
        return dict(given)

    def check(self, cluster: ClusterSpec) -> None:
        self.settings(cluster.settings)

    def quorum(self, cluster: ClusterSpec) -> int:
        return cluster.nodes  # the primary is one of them

    # ------------------------------------------------------------ the nodes' containers

    def image(self, images: Any) -> str:
        dockerfile = f"""FROM {images.own()}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends redis-server
USER 10001:10001
ENTRYPOINT ["redis-server"]
"""
        return str(images.build("antipaxos/example-redis", dockerfile, {}))

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        command = ["--dir", "/data", "--appendonly", "yes", "--appendfsync", "always"]
        command += ["--protected-mode", "no"]
        if node != 1:
            command += ["--replicaof", addresses[1], str(self.client_port)]
        return NodeSpec(command=tuple(command), data="/data")

    # ------------------------------------------------------------ how clients talk to them

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> RedisClient:
        return RedisClient(node, host, port, cluster.settings.get("reads") == "primary")


class RedisClient:
    """One connection to one node. Requests are pipelined; answers come in their order."""

    def __init__(self, node: int, host: str, port: int, reads_primary: bool) -> None:
        self.node = node
        self._address = (host, port)
        self._reads_primary = reads_primary
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        return self._streams is not None

    async def connect(self) -> bool:
        if self._streams is None:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(1.0):
                    streams = await asyncio.open_connection(*self._address)
                    # The engine's port forwarder accepts for nodes that are down: only an answer
                    # shows that the node is there.
                    await self._call(streams, "PING")
                    self._streams = streams
        return self._streams is not None

    def send(self, request: Request, answered: Any) -> None:
        task = asyncio.ensure_future(self._send(request, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, request: Request, answered: Any) -> None:
        async with self._lock:
            if not await self.connect() or self._streams is None:
                answered(Response("refused", definite=True))  # it never left
                return
            try:
                response = await self._execute(request)
            except (OSError, asyncio.IncompleteReadError):
                self._streams = None
                response = Response("disconnected")  # it may have had an effect
        answered(response)

    async def _execute(self, request: Request) -> Response:
        assert self._streams is not None
        redirect = Response("not-leader", leader=1, definite=True)
        if self.node != 1 and (request.f != "read" or self._reads_primary):
            return redirect
        if request.f == "read":
            found = await self._call(self._streams, "GET", request.key)
            return Response(None, None if found is None else json.loads(found))
        if request.f == "write":
            await self._call(self._streams, "SET", request.key, json.dumps(request.value))
            return Response(None)
        expected, new = (json.dumps(value) for value in request.value)
        script = ("EVAL", COMPARE_AND_SET, "1", request.key, expected, new)
        done, seen = await self._call(self._streams, *script)
        return Response(None) if done else Response("mismatch", json.loads(seen), definite=True)

    async def status(self, timeout_s: float) -> NodeStatus | None:
        role = "leader" if self.node == 1 else "follower"
        return NodeStatus(node=self.node, role=role, term=(1,)) if self.is_open else None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._streams is not None:
            self._streams[1].close()

    # ------------------------------------------------------------ the protocol of Redis

    async def _call(self, streams: Any, *words: str) -> Any:
        reader, writer = streams
        parts = [f"*{len(words)}\r\n", *(f"${len(w.encode())}\r\n{w}\r\n" for w in words)]
        writer.write("".join(parts).encode())
        return await self._answer(reader)

    async def _answer(self, reader: asyncio.StreamReader) -> Any:
        line = (await reader.readuntil(b"\r\n"))[:-2].decode()
        kind, rest = line[0], line[1:]
        if kind == "-":
            raise ConnectionError(rest)  # an error of the server: its effect is not known
        if kind == ":":
            return int(rest)
        if kind == "$":
            return None if rest == "-1" else (await reader.readexactly(int(rest) + 2))[:-2].decode()
        if kind == "*":
            return [await self._answer(reader) for _ in range(int(rest))]
        return rest


TARGETS = (RedisReplicas(),)
