"""One agent's stream: JSON lines over the container's attached standard input and output.

The engine keeps the agent's input open only while the controller is attached. So when the
controller ends, for whatever reason, the stream is closed, and the agent heals everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from typing import Any

import docker

from harness.errors import HarnessError, StartError
from harness.runtimes.docker.attached import close_attached, plain_socket
from harness.runtimes.docker.engine import engine_errors
from histories.text import one_line, quoted
from histories.untrusted import LINE_BYTES_MAX, LineSplitter, Malformed, parse_object

HEADER = struct.Struct(">BxxxL")
"""The engine's frame around the output of a container without a terminal: stream, length."""
STDOUT = 1
CALL_TIMEOUT_S = 20.0
HELLO_TIMEOUT_S = 30.0
CLOCK_ROUNDS = 5
PIECE_BYTES = 1 << 16
ERRORS_MAX = 2000
CLOCK_TOLERANCE_NS = 1_000_000


class AgentError(HarnessError):
    """An agent failed to execute a request; has the agent's message."""


class Agent:
    """Call `attach` before the container starts, then `hello`, then `call` any number of times."""

    def __init__(self, node: int, container: str) -> None:
        self.node = node
        self.container = container
        self.greeting: dict[str, Any] = {}
        self.problems = 0
        """How many lines were not answers."""
        self.lost: str | None = None
        """Why the agent no longer answers; None while it does."""
        self._printed = b""
        """The end of what it has printed on standard error."""
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._hello: asyncio.Future[dict[str, Any]]
        self._keep: Any = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def attach(self, api: docker.APIClient) -> None:
        loop = asyncio.get_running_loop()
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        with engine_errors(f"attaching to the agent of n{self.node}"):
            attached = await loop.run_in_executor(None, api.attach_socket, self.container, params)
        raw = plain_socket(attached)
        raw.setblocking(False)
        self._keep = attached  # closing it would close the stream
        self._hello = loop.create_future()
        self._reader, self._writer = await asyncio.open_connection(sock=raw)
        self._task = loop.create_task(self._read())

    async def hello(self) -> dict[str, Any]:
        """The agent's greeting. Raises StartError."""
        try:
            self.greeting = await asyncio.wait_for(asyncio.shield(self._hello), HELLO_TIMEOUT_S)
        except (TimeoutError, ConnectionError) as error:
            printed = self._printed.decode(errors="replace").strip()
            words = one_line(str(error) or printed or "(nothing)", ERRORS_MAX)
            raise StartError(
                f"the agent of n{self.node} did not start; it printed: {words}",
                remedy="nothing of the run is left; run again, and look at the machine's load",
            ) from None
        return self.greeting

    async def call(self, do: str, *, timeout_s: float = CALL_TIMEOUT_S, **what: Any) -> Any:
        """Send a request, and await the answer. Raises AgentError."""
        if self.lost is not None:
            raise AgentError(f"the agent of n{self.node} is gone: {self.lost}")
        if self._writer is None:
            raise AgentError(f"the agent of n{self.node} is not attached")
        self._count += 1
        identity = self._count
        answer = self._calls[identity] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": identity, "do": do, **what}, separators=(",", ":"))
        self._writer.write(line.encode() + b"\n")
        try:
            result = await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise AgentError(
                f"the agent of n{self.node} did not answer {do} within {timeout_s:g} s"
            ) from None
        finally:
            self._calls.pop(identity, None)
        if not result.get("ok"):
            raise AgentError(
                f"n{self.node}: {do}: {one_line(str(result.get('error', 'failed')), ERRORS_MAX)}",
                remedy=one_line(str(result.get("remedy", "")), ERRORS_MAX),
            )
        return result

    async def clock_offset_ns(self) -> tuple[int, int]:
        """By how much the agent's CLOCK_MONOTONIC is ahead of ours, and the uncertainty, in ns.

        Raises StartError if they are different clocks: then the engine is on another machine, or in
        another time namespace, and times could not be compared.
        """
        best = (0, 1 << 62)
        for _ in range(CLOCK_ROUNDS):
            asked_ns = time.monotonic_ns()
            done_ns = (await self.call("status")).get("done_ns")
            if type(done_ns) is not int:
                raise StartError(f"the agent of n{self.node} does not say what time it is")
            half_ns = (time.monotonic_ns() - asked_ns) // 2
            best = min(best, (done_ns - asked_ns - half_ns, half_ns), key=lambda b: b[1])
        offset_ns, uncertainty_ns = best
        if abs(offset_ns) > uncertainty_ns + CLOCK_TOLERANCE_NS:
            raise StartError(
                f"the monotonic clock of n{self.node}'s container is {offset_ns / 1e9:+.3f} s off "
                "this controller's: the engine is on another machine or in another time namespace, "
                "and its moments cannot be compared with ours",
                remedy="run antipaxos on the engine's machine, in its own time namespace",
            )
        return best

    async def detach(self) -> None:
        """Close the stream; the agent heals."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._keep is not None:
            close_attached(self._keep)  # the socket closes with its last reference
            self._keep = None

    async def _read(self) -> None:
        """Remove the engine's framing, and pass each line to the call that it answers."""
        splitter = LineSplitter(LINE_BYTES_MAX)
        try:
            while True:
                stream, left = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                while left:
                    data = await self._reader.readexactly(min(left, PIECE_BYTES))
                    left -= len(data)
                    if stream != STDOUT:
                        self._printed = (self._printed + data)[-ERRORS_MAX:]
                        continue
                    for line in splitter.lines(data):
                        self._answer(line)
        except Malformed as error:
            self._fail(f"it sent no answers: {error}")
        except (asyncio.IncompleteReadError, OSError):
            words = self._printed.decode(errors="replace").strip() or "its stream closed"
            self._fail(one_line(words, ERRORS_MAX))

    def _answer(self, line: bytes) -> None:
        try:
            message = parse_object(line, bounded=True)
            if "hello" in message:
                if not self._hello.done():
                    self._hello.set_result(_checked_greeting(message))
                return
        except Malformed:
            self.problems += 1
            return
        identity = message.get("id")
        waiting = self._calls.get(identity) if type(identity) is int else None
        if waiting is None:
            self.problems += 1
        elif not waiting.done():
            waiting.set_result(message)

    def _fail(self, words: str) -> None:
        self.lost = words
        if not self._hello.done():
            self._hello.set_exception(ConnectionError(words))
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_result({"ok": False, "error": f"the agent is gone: {words}"})


def _checked_greeting(message: dict[str, Any]) -> dict[str, Any]:
    """What `can` says of each capability has the form that others rely on. Raises Malformed."""
    can = message.get("can", {})
    if not isinstance(can, dict) or not all(isinstance(one, dict) for one in can.values()):
        raise Malformed(f"says that it can {quoted(can)}")
    for one in can.values():
        one["ok"] = one.get("ok") is True
        one["error"] = one_line(str(one.get("error", "")), ERRORS_MAX)
    return message
