"""What nodes and agents send while a run goes: bounded, counted, and never a traceback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.fuzz.live import HELLO, _Transport, _Writer
from faults.kinds.kill import Kill
from harness.errors import StartError
from harness.runtimes.docker.agents import HEADER, Agent, AgentError
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.docker.injectors import Handler
from harness.runtimes.interface import FaultReport
from harness.targets.guarded_client import ClientProblems, GuardedClient
from harness.targets.interface import DISCONNECTED, Request, Response
from harness.targets.json_lines import LINE_MAX, JsonLinesClient, _Wire
from histories.untrusted import LineSplitter, Malformed

READ = Request(1, 1, "read", "k", None)


async def told(*pieces: bytes) -> tuple[list[Response], JsonLinesClient, list[dict[str, Any]]]:
    """What a request is answered with when the node sends these bytes and then hangs up."""
    client = JsonLinesClient(1, "127.0.0.1", 1, {"mismatch": True})
    wire, transport = _Wire(client), _Transport()
    client._wire, client._transport = wire, transport  # type: ignore[assignment]
    wire._transport = transport  # type: ignore[assignment]
    problems, answers = ClientProblems(), list[Response]()
    guarded = GuardedClient(client, 1, (1, 2, 3), problems)
    guarded.send(READ, answers.append)
    for piece in pieces:
        wire.data_received(piece)
    client.lost(wire)
    await asyncio.sleep(0)
    guarded.count()
    return answers, client, problems.to_json()


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"null",
        b'{"id":[1]}',
        b'{"id":true}',
        b'{"id":1.0,"error":null}',
        b'{"id":1,"value":NaN}',
        b'{"id":1,"value":1e999}',
        b"[" * 200_000,
        b'{"id":1,"value":' + b"[" * 101 + b"]" * 101 + b"}",
        b"\xff\xfe",
        b'{"id":99,"value":1}',
    ],
    ids=lambda line: line[:20].decode(errors="replace"),
)
def test_a_line_that_is_no_answer_is_counted_and_the_operation_is_open(line: bytes) -> None:
    answers, client, problems = asyncio.run(told(line + b"\n"))
    assert answers == [DISCONNECTED] and client.problems == 1
    assert problems[0]["kind"] == "answers" and problems[0]["node"] == 1


def test_an_answer_after_its_question_was_given_up_is_no_offence() -> None:
    """A node that was paused answers late; it must not be called broken for that."""

    async def body() -> None:
        client = JsonLinesClient(1, "127.0.0.1", 1, {})
        client._transport = cast(asyncio.Transport, SimpleNamespace(write=lambda _: None))
        assert await client.ask("status", 0.01) is None
        client.line(b'{"id":1}')
        assert client.problems == 0
        client.line(b'{"id":1}')  # twice is one too many
        assert client.problems == 1

    asyncio.run(body())


@pytest.mark.parametrize(
    ("fields", "response"),
    [
        ({"error": [1]}, Response("bad-answer")),
        ({"error": {"a": 1}}, Response("bad-answer")),
        ({"error": "\x1b[2J"}, Response("\\x1b[2J")),
        ({"value": 5, "leader": 99}, Response(None, 5)),
        ({"value": 5, "leader": "n1"}, Response(None, 5)),
        ({"value": 5, "leader": 2}, Response(None, 5, 2)),
        ({"error": "mismatch", "value": 3}, Response("mismatch", 3, definite=True)),
    ],
)
def test_an_answer_has_the_types_that_others_rely_on(
    fields: dict[str, Any], response: Response
) -> None:
    answers, _, _ = asyncio.run(told(json.dumps({"id": 1} | fields).encode() + b"\n"))
    assert answers == [response]


def test_a_line_without_end_costs_no_more_than_its_bound() -> None:
    piece = b"x" * (1 << 16)
    answers, client, _ = asyncio.run(told(*[piece] * (LINE_MAX // len(piece) + 2)))
    assert answers == [DISCONNECTED] and client.problems >= 1


def test_lines_in_small_pieces_take_linear_time() -> None:
    splitter = LineSplitter(1 << 22)
    began = time.process_time()
    for _ in range(1 << 20):
        assert splitter.lines(b"abc") == []
    assert splitter.lines(b"\nnext") == [b"abc" * (1 << 20)]
    assert time.process_time() - began < 5
    with pytest.raises(Malformed):
        splitter.lines(b"x" * (1 << 22) + b"\n")


# ------------------------------------------------------------------------------- agents


async def an_agent(
    frames: bytes, ask: Callable[[Agent], Any] = lambda agent: agent.call("status")
) -> tuple[Agent, Any]:
    """An agent whose stream is these bytes, and what came of asking it."""
    agent = Agent(1, "0123456789ab")
    agent._hello = asyncio.get_running_loop().create_future()
    agent._reader, agent._writer = asyncio.StreamReader(), _Writer()  # type: ignore[assignment]
    reading = asyncio.ensure_future(agent._read())
    asked = asyncio.ensure_future(ask(agent))
    await asyncio.sleep(0)
    agent._reader.feed_data(frames)
    agent._reader.feed_eof()
    await reading
    return agent, (await asyncio.gather(asked, return_exceptions=True))[0]


def frame(data: bytes, stream: int = 1) -> bytes:
    return HEADER.pack(stream, len(data)) + data


@pytest.mark.parametrize(
    "line",
    [
        *(b"5", b'{"id":[1]}', b'{"id":{}}', b"[" * 200_000, b'{"id":1,"ok":NaN}'),
        b'{"id":1,"n":' + b"9" * 30 + b"}",
    ],
    ids=["5", "list", "object", "brackets", "nan", "number"],
)
def test_a_line_of_an_agent_that_is_no_answer_is_left_out(line: bytes) -> None:
    good = frame(b'{"id":1,"ok":true,"done_ns":7}\n')
    agent, result = asyncio.run(an_agent(frame(line + b"\n") + good))
    assert result == {"id": 1, "ok": True, "done_ns": 7} and agent.problems == 1


def test_a_frame_of_gigabytes_is_not_waited_for_in_memory() -> None:
    endless = HEADER.pack(1, (1 << 32) - 1) + b"x" * (5 << 20)
    agent, result = asyncio.run(an_agent(endless))
    assert isinstance(result, AgentError) and "longer than" in str(agent.lost)


def test_the_last_words_of_an_agent_are_fit_for_a_terminal() -> None:
    agent, result = asyncio.run(an_agent(frame(b"\x1b[2Jdying\n", stream=2)))
    assert agent.lost == "\\x1b[2Jdying" and "\x1b" not in str(result)


@pytest.mark.parametrize("can", [5, [1], {"clock": 1}, {"clock": [True]}])
def test_a_greeting_of_another_form_is_none(can: Any) -> None:
    data = frame(json.dumps(HELLO | {"can": can}).encode() + b"\n")
    _, result = asyncio.run(an_agent(data, lambda agent: agent.hello()))
    assert isinstance(result, StartError)


def test_an_agent_that_does_not_say_the_time_does_not_start() -> None:
    data = frame(b'{"id":1,"ok":true,"done_ns":"now"}\n')
    _, result = asyncio.run(an_agent(data, lambda agent: agent.clock_offset_ns()))
    assert isinstance(result, StartError) and "what time it is" in result.message


@pytest.mark.parametrize("error", [KeyError("done_ns"), TypeError("x"), OverflowError("y")])
def test_an_answer_that_an_injector_cannot_use_leaves_the_fault_unproven(error: Exception) -> None:
    async def breaks(_: Any) -> FaultReport:
        raise error

    injector = FaultInjector(SimpleNamespace(), {}, {}, None, lambda: 0)  # type: ignore[arg-type]
    injector.handlers = {Kill: Handler(breaks, breaks)}
    fault = Kill(id="f", start_us=0, duration_us=1, nodes=(1,))
    report = asyncio.run(injector.inject(fault))
    assert not report.verified and "an answer of an agent" in (report.problem or "")
