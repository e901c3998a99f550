"""etcd, as Debian packages it (3.4), through its JSON gateway.

    antipaxos run etcd --nodes 3 --faults partition,kill,pause,clock --set reads=serializable

reads         linearizable (the default), or serializable: answered by the node that is asked, from
              what it has applied; stale reads are then to be expected, and found
election_ms, heartbeat_ms, snapshot_count    as etcd's options of these names

etcd has no client sessions, so a write that may have had an effect is never sent again. A
compare-and-set is a transaction that compares the value (or, for null, that there is none) and
reads it where the comparison fails. Errors are taken as indefinite unless etcd certainly refused
before proposing; see https://etcd.io/docs/v3.4/learning/api/ and `api/v3rpc/rpctypes/error.go`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from harness.errors import UsageError
from harness.targets.interface import (
    DISCONNECTED,
    REFUSED,
    Answered,
    Capabilities,
    ClusterSpec,
    Images,
    NodeSpec,
    NodeStatus,
    Request,
    Response,
    Target,
    majority,
)

if TYPE_CHECKING:
    import aiohttp

CLIENT_PORT: Final = 2379
PEER_PORT: Final = 2380
READS: Final = ("linearizable", "serializable")
NUMBERS: Final = {"election_ms": 1000, "heartbeat_ms": 100, "snapshot_count": 100_000}
"""etcd's own defaults."""
CONNECT_TIMEOUT_S: Final = 1.0
BODY_MAX: Final = 4 * 1024 * 1024
TEXT_MAX: Final = 200
DOCKERFILE: Final = """FROM {base}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends etcd-server && \\
    rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENTRYPOINT ["etcd"]
"""
DEFINITE: Final = (
    "etcdserver: too many requests",
    "etcdserver: key is not provided",
    "etcdserver: request is too large",
    "etcdserver: mvcc: database space exceeded",
)
"""Refused before anything was proposed."""


def _timing(election_us: int) -> dict[str, Any]:
    election_ms = max(10, election_us // 1000)
    return {"election_ms": election_ms, "heartbeat_ms": max(1, election_ms // 10)}


class Etcd:
    """A cluster of etcd nodes; keys hold JSON texts."""

    name: ClassVar[str] = "etcd"
    summary: ClassVar[str] = "etcd 3.4 (Raft in Go), from Debian's etcd-server"
    client_port: ClassVar[int] = CLIENT_PORT
    artifacts: ClassVar[Mapping[str, str]] = {}
    capabilities: ClassVar[Capabilities] = Capabilities(
        reads=READS, observes_mismatch=True, timing=_timing
    )

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = ("reads", *NUMBERS)
        if unknown := [name for name in given if name not in known]:
            raise UsageError(
                f"etcd has no setting {', '.join(map(repr, unknown))}",
                remedy=f"there are: {', '.join(known)}",
            )
        return dict(given)

    def check(self, cluster: ClusterSpec) -> None:
        settings = self.settings(cluster.settings)
        if settings.get("reads", READS[0]) not in READS:
            raise UsageError(f"reads must be {' or '.join(READS)}, not {settings['reads']!r}")
        for name in NUMBERS:
            value = settings.get(name, 1)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name} must be a whole number from 1, not {value!r}")
        numbers = NUMBERS | settings
        if numbers["election_ms"] < 5 * numbers["heartbeat_ms"]:
            raise UsageError(
                "etcd wants an election time-out of at least 5 heartbeats, not "
                f"{numbers['election_ms']} and {numbers['heartbeat_ms']} ms",
                remedy="raise election_ms or lower heartbeat_ms",
            )

    def quorum(self, cluster: ClusterSpec) -> int:
        return majority(cluster)

    def image(self, images: Images) -> str:
        return images.build("antipaxos/etcd", DOCKERFILE.format(base=images.own()), {})

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        host, numbers = addresses[node], NUMBERS | cluster.settings
        members = ",".join(f"n{n}=http://{a}:{PEER_PORT}" for n, a in sorted(addresses.items()))
        return NodeSpec(
            command=(
                f"--name=n{node}",
                "--data-dir=/data/etcd",
                f"--listen-client-urls=http://0.0.0.0:{CLIENT_PORT}",
                f"--advertise-client-urls=http://{host}:{CLIENT_PORT}",
                f"--listen-peer-urls=http://0.0.0.0:{PEER_PORT}",
                f"--initial-advertise-peer-urls=http://{host}:{PEER_PORT}",
                f"--initial-cluster={members}",
                "--initial-cluster-state=new",
                f"--heartbeat-interval={numbers['heartbeat_ms']}",
                f"--election-timeout={numbers['election_ms']}",
                f"--snapshot-count={numbers['snapshot_count']}",
                "--logger=zap",
            ),
        )

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> EtcdClient:
        serializable = cluster.settings.get("reads") == "serializable"
        return EtcdClient(node, f"http://{host}:{port}", serializable=serializable)


class EtcdClient:
    """Requests to one node. It counts as connected once the node itself has answered: the engine's
    port forwarder accepts connections for nodes that are down."""

    def __init__(self, node: int, url: str, *, serializable: bool = False) -> None:
        self.node = node
        self.is_open = False
        self._url = url
        self._serializable = serializable
        self._session: aiohttp.ClientSession | None = None
        self._connecting: asyncio.Task[bool] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> bool:
        if self.is_open:
            return True
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._connecting)

    def send(self, request: Request, answered: Answered) -> None:
        task = asyncio.ensure_future(self._send(request, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def status(self, timeout_s: float) -> NodeStatus | None:
        answer = None
        if self.is_open:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(timeout_s):
                    answer = await self._post("/v3/maintenance/status", {})
        if not answer or not isinstance(answer.get("header"), dict):
            return None
        leads = answer["header"].get("member_id") == answer.get("leader")
        term = str(answer.get("raftTerm", ""))
        return NodeStatus(
            node=self.node,
            role="leader" if leads else "follower",
            term=(int(term),) if term.isdecimal() else (),
            raw=answer,
        )

    async def close(self) -> None:
        tasks = [*self._tasks, *([self._connecting] if self._connecting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.is_open = False
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------ one request

    async def _send(self, request: Request, answered: Answered) -> None:
        import aiohttp  # noqa: PLC0415 (a tenth of a second that other targets need not wait for)

        if not await self.connect():
            answered(REFUSED)
            return
        try:
            response = await self._execute(request)
        except aiohttp.ClientConnectorError:
            self.is_open = False
            response = REFUSED
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.is_open = False
            response = DISCONNECTED
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            response = Response(f"bad-answer: {type(error).__name__}: {error}"[:TEXT_MAX])
        answered(response)

    async def _execute(self, request: Request) -> Response:
        key = _encoded(request.key)
        if request.f == "read":
            body = {"key": key, "serializable": self._serializable}
            answer = await self._post("/v3/kv/range", body)
            return _refusal(answer) or Response(None, _value(answer))
        if request.f == "write":
            body = {"key": key, "value": _encoded(json.dumps(request.value))}
            answer = await self._post("/v3/kv/put", body)
            return _refusal(answer) or Response(None)
        if request.f == "cas":
            return await self._compare_and_set(key, *request.value)
        return Response("unsupported", definite=True)

    async def _compare_and_set(self, key: str, expected: Any, new: Any) -> Response:
        compare: dict[str, Any] = {"key": key, "result": "EQUAL"}
        if expected is None:
            compare |= {"target": "VERSION", "version": "0"}
        else:
            compare |= {"target": "VALUE", "value": _encoded(json.dumps(expected))}
        put = {"request_put": {"key": key, "value": _encoded(json.dumps(new))}}
        read = {"request_range": {"key": key}}
        body = {"compare": [compare], "success": [put], "failure": [read]}
        answer = await self._post("/v3/kv/txn", body)
        if refused := _refusal(answer):
            return refused
        if answer.get("succeeded"):
            return Response(None)
        seen = _value(answer["responses"][0]["response_range"])
        return Response("mismatch", seen, definite=True)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self._session is not None
        async with self._session.post(self._url + path, json=body) as response:
            text = await response.content.read(BODY_MAX)
            answer = json.loads(text)
            if not isinstance(answer, dict):
                raise ValueError("not an object")
            if response.status != 200 and "error" not in answer:
                answer["error"] = f"HTTP {response.status}"
            return answer

    async def _connect(self) -> bool:
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                async with self._session.get(f"{self._url}/version") as response:
                    self.is_open = response.status == 200
        return self.is_open


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _value(answer: dict[str, Any]) -> Any:
    """What a range of one key found; None where the key is not there."""
    found = answer.get("kvs")
    return json.loads(base64.b64decode(found[0]["value"])) if found else None


def _refusal(answer: dict[str, Any]) -> Response | None:
    error = answer.get("error")
    if error is None:
        return None
    text = str(error)[:TEXT_MAX]
    return Response(text, definite=text in DEFINITE)


TARGETS: Final[tuple[Target, ...]] = (Etcd(),)
