"""Fuzzing of streams during a run: nodes' answers to clients, and agents' to the controller."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from benchmarks.fuzz.mutations import mutated
from benchmarks.fuzz.subject import Wrong, require
from harness.errors import StartError
from harness.runtimes.docker.agents import HEADER, Agent, AgentError
from harness.targets.guarded_client import ClientProblems, GuardedClient
from harness.targets.interface import NodeStatus, Request, Response
from harness.targets.json_lines import JsonLinesClient, _Wire
from histories.events import Event
from histories.formats import native
from histories.operations import freeze
from histories.recorder import event_line

NODES: Final = (1, 2, 3)
ANSWERS: Final = (
    {"error": None, "value": 5, "leader": 2},
    {"error": None, "value": [1, {"a": 2.5}], "leader": None},
    {"error": "mismatch", "value": 7, "leader": 1},
    {"error": "not-leader", "value": None, "leader": 3},
    {"error": "overloaded", "value": None, "leader": None},
)
STATUS: Final = {
    "node": 1,
    "role": "leader",
    "ballot": [3, 1],
    "wall_us": 1_700_000_000_000_000,
    "monotonic_ns": 12345678,
    "counters": {"sent": 3},
}


class _Transport:
    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class InLoop:
    """A subject that reads its inputs in a separate event loop."""

    def __init__(
        self, name: str, take: Callable[[random.Random], Coroutine[Any, Any, str]]
    ) -> None:
        self.name = name
        self._take = take
        self._loop = asyncio.new_event_loop()

    def one(self, draw: random.Random) -> str:
        return self._loop.run_until_complete(self._take(draw))

    def close(self) -> None:
        self._loop.close()


async def replies(draw: random.Random) -> str:
    """Lines of a node, through the client of our own nodes and its guard."""
    client = JsonLinesClient(1, "127.0.0.1", 1, {"mismatch": True, "not-leader": True})
    wire, transport = _Wire(client), _Transport()
    client._wire, client._transport = wire, transport  # type: ignore[assignment]
    wire._transport = transport  # type: ignore[assignment]
    problems = ClientProblems()
    guarded = GuardedClient(client, 1, NODES, problems)
    answers: list[Response] = []
    guarded.send(Request(1, 1, "read", "k", None), answers.append)
    status = None
    if draw.random() < 0.2:
        status = asyncio.ensure_future(guarded.status(5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    lines = [{"id": 1, **draw.choice(ANSWERS)}, {"id": 2, **STATUS}]
    draw.shuffle(lines)
    data = mutated(draw, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    at = draw.randrange(len(data) + 1)
    wire.data_received(data[:at])
    wire.data_received(data[at:])
    client.lost(wire)
    await asyncio.sleep(0)
    require(len(answers) == 1, f"{len(answers)} answers to one request")
    check_response(answers[0])
    if status is not None:
        check_status(await status)
    guarded.count()
    return "bad" if problems.to_json() else "good"


def check_response(response: Response) -> None:
    """Check that a history can hold the response, and that reading it back gives the same."""
    error, value, leader, _, order = response
    require(leader is None or leader in NODES, f"the leader {leader}")
    require(order is None or 0 <= order < 1 << 63, f"the order {order}")
    require(error is None or (error.isprintable() and len(error) <= 200), f"the error {error!r}")
    kind = "ok" if error is None else "fail"
    event = Event(0, 0, 0, kind, "read", "k", value, 1, error, value, True)
    read = native.parse_line(event_line(event).encode(), 1)
    require(freeze(read.value) == freeze(value), "another value is read than was recorded")
    require(read.error == error, "another error is read than was recorded")


def check_status(status: NodeStatus | None) -> None:
    if status is None:
        return
    require(status.role.isprintable() and len(status.role) <= 40, f"the role {status.role!r}")
    require(all(0 <= part < 1 << 63 for part in status.term), f"the term {status.term}")
    clocks = (status.wall_ns, status.monotonic_ns)
    require(all(c is None or 0 <= c < 1 << 63 for c in clocks), f"the clocks {clocks}")
    json.dumps(dict(status.raw), allow_nan=False)


HELLO: Final = {
    "hello": "agent",
    "monotonic_ns": 123,
    "can": {"shaping": {"ok": True, "by": "wire"}, "clock": {"ok": False, "error": "no"}},
}
RESULTS: Final = (
    {"ok": True, "done_ns": 5_000, "began_ns": 4_000},
    {"ok": True, "done_ns": 5_000, "processes": [{"offset_ns": 1, "rate": 0, "patched": True}]},
    {"ok": False, "kind": "failed", "error": "no such process", "remedy": "look"},
)


class _Writer:
    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


async def agents(draw: random.Random) -> str:
    """An agent's stream, in the engine's framing."""
    agent = Agent(1, "0123456789ab")
    agent._hello = asyncio.get_running_loop().create_future()
    agent._reader, agent._writer = asyncio.StreamReader(), _Writer()  # type: ignore[assignment]
    reading = asyncio.ensure_future(agent._read())
    call = asyncio.ensure_future(agent.call("status"))
    await asyncio.sleep(0)
    lines = [HELLO, {"id": 1, **draw.choice(RESULTS)}]
    payload = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    framed = b""
    mangled = draw.random()
    if mangled < 0.7:
        payload = mutated(draw, payload)
    while payload:
        piece, payload = payload[: (n := draw.randint(1, 400))], payload[n:]
        framed += HEADER.pack(draw.choice((1, 1, 1, 2)), len(piece)) + piece
    if mangled >= 0.7:
        framed = mutated(draw, framed)
    agent._reader.feed_data(framed)
    agent._reader.feed_eof()
    await reading
    require(agent.lost is not None and agent.lost.isprintable(), f"lost: {agent.lost!r}")
    outcome = await _of_call(call)
    return "good" if await _of_hello(agent) and outcome else "bad"


async def _of_call(call: asyncio.Future[Any]) -> bool:
    try:
        result = await call
    except AgentError as error:
        require(str(error).isprintable() or "\n" in str(error), f"an error {str(error)!r}")
        return False
    require(isinstance(result, dict) and bool(result["ok"]), f"a result {result!r}")
    return True


async def _of_hello(agent: Agent) -> bool:
    try:
        greeting = await agent.hello()
    except StartError:
        return False
    for can in greeting.get("can", {}).values():
        if type(can["ok"]) is not bool or not can["error"].isprintable():
            raise Wrong(f"the greeting says {can!r}")
    return True
