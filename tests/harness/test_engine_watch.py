"""The engine's events, against an engine whose stream ends before the run does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from docker.errors import DockerException, StreamParseError
from urllib3.exceptions import ProtocolError

from harness.errors import EngineError
from harness.run.node_findings import NODE_FINDING, node_findings
from harness.runtimes.docker import watch as watch_module
from harness.runtimes.docker.engine import LABEL_NODE, LABEL_ROLE, engine_errors
from harness.runtimes.docker.event_findings import EventFindings
from harness.runtimes.docker.watch import ContainerEvent, EngineWatch
from histories.events import NEMESIS, Event
from tests.harness.fake_engine import EngineHandler, EngineServer, serving

START_S = 1_800_000_000
START_NS = START_S * 10**9
LIMIT_S = 20.0


def event(at_ns: int, node: int, action: str = "die", **more: str) -> bytes:
    """As the engine has it, `at_ns` after the start."""
    attributes = {LABEL_ROLE: "node", LABEL_NODE: str(node), **more}
    document = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": f"id{node}", "Attributes": attributes},
        "time": (START_NS + at_ns) // 10**9,
        "timeNano": START_NS + at_ns,
    }
    return json.dumps(document).encode() + b"\n"


class StreamingEngine(EngineServer):
    """Serves one list of pieces after the other, and closes the connection after each, without the
    protocol's end of the stream if `is_cut`; `hold` keeps the last one open. Without any left, it
    answers with an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.streams: list[list[bytes]] = []
        self.hold = True
        self.is_cut = False
        self.asked: list[dict[str, list[str]]] = []
        self.over = threading.Event()


class _Handler(EngineHandler):
    server: StreamingEngine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802
        url = urlsplit(self.path)
        if not url.path.endswith("/events"):
            self.answer(200, {"ApiVersion": "1.43", "Version": "24.0.7"})
            return
        self.server.asked.append(parse_qs(url.query))
        if not self.server.streams:
            self.send_error(500)
            return
        stream = self.server.streams.pop(0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in filter(None, stream):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if not self.server.streams and self.server.hold:
            self.server.over.wait(LIMIT_S)
        elif not self.server.is_cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamingEngine]:
    with serving(StreamingEngine(tmp_path / "engine.sock"), monkeypatch) as made:
        yield made
        made.over.set()


class Told:
    """What a watch tells, until `enough` events."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self.events: list[ContainerEvent] = []
        self.all_came = threading.Event()
        self.lost = threading.Event()

    def __call__(self, event: ContainerEvent) -> None:
        self.events.append(event)
        if len(self.events) == self._enough:
            self.all_came.set()

    def watch(self, again_s: float = LIMIT_S) -> EngineWatch:
        return EngineWatch("a run", self, self.lost.set, since_s=START_S, again_s=again_s)


CUTS: list[Callable[[bytes], bytes]] = [lambda _: b"", lambda more: more[:25], lambda _: b"}{\n"]


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("cut", CUTS, ids=["between events", "within one", "with nonsense"])
def test_a_stream_that_ends_is_followed_again_from_its_last_event_on(
    engine: StreamingEngine, cut: Callable[[bytes], bytes], is_cut: bool
) -> None:
    engine.is_cut = is_cut
    one, two, three = event(5, 1), event(7, 2, exitCode="137"), event(9, 3, "pause")
    same_time = event(7, 3, "kill")
    engine.streams = [[one, two, cut(three)], [two, same_time, three]]
    told = Told(enough=4)
    watch = told.watch()
    try:
        assert told.all_came.wait(LIMIT_S), told.events
    finally:
        watch.stop()
    assert told.events == [
        ContainerEvent("node", 1, "die", None),
        ContainerEvent("node", 2, "die", 137),
        ContainerEvent("node", 3, "kill", None),
        ContainerEvent("node", 3, "pause", None),
    ]
    assert [asked["since"] for asked in engine.asked] == [
        [f"{START_S}.000000000"],
        [f"{START_S}.000000007"],
    ]
    assert not told.lost.is_set()


def test_the_same_event_at_another_time_is_told(engine: StreamingEngine) -> None:
    engine.streams = [[event(5, 1), event(6, 1), event(6, 1)]]
    told = Told(enough=2)
    watch = told.watch()
    try:
        assert told.all_came.wait(LIMIT_S)
    finally:
        watch.stop()
    assert len(told.events) == 2


def test_a_stream_that_cannot_be_followed_again_is_told_once(engine: StreamingEngine) -> None:
    engine.streams, engine.hold = [[event(5, 1)]], False
    told = Told(enough=1)
    watch = told.watch(again_s=0.5)
    try:
        assert told.lost.wait(LIMIT_S) and told.all_came.is_set()
        assert watch.is_complete(), "it has been told"
    finally:
        watch.stop()
    assert len(engine.asked) > 1


def test_a_watch_whose_stream_is_being_opened_again_is_not_complete(
    engine: StreamingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "EVERY_S", 30.0)
    engine.streams, engine.hold = [[event(5, 1)]], False
    told = Told(enough=1)
    watch = told.watch(again_s=0.3)
    try:
        assert told.all_came.wait(LIMIT_S)
        while watch._settled.is_set():
            time.sleep(0.01)
        assert not watch.is_complete()
    finally:
        watch.stop()


def test_an_engine_that_refuses_its_events_is_an_error(engine: StreamingEngine) -> None:
    """As a proxy does that lets only some requests through: the run would be watched by nobody."""
    with pytest.raises(EngineError, match="following the engine's events: "):
        Told(enough=1).watch()


CUT_STREAMS: list[Exception] = [
    StreamParseError(ValueError("half a document")),
    ProtocolError("Connection broken"),
    ConnectionResetError("by peer"),
    DockerException("closed"),
]


@pytest.mark.parametrize("error", CUT_STREAMS, ids=lambda error: type(error).__name__)
def test_a_stream_that_is_cut_is_an_error_of_the_engine(error: Exception) -> None:
    with (
        pytest.raises(EngineError, match="building an image: "),
        engine_errors("building an image"),
    ):
        raise error


def test_a_watch_that_is_stopped_has_lost_nothing(engine: StreamingEngine) -> None:
    engine.streams = [[event(5, 1)]]
    told = Told(enough=1)
    watch = told.watch(again_s=0.2)
    assert told.all_came.wait(LIMIT_S) and watch.is_complete()
    watch.stop()
    assert not told.lost.wait(1.0) and len(engine.asked) == 1


def test_lost_events_make_a_run_unknown() -> None:
    found: list[dict[str, Any]] = []
    nothing: Any = None
    EventFindings(nothing, start_ended=nothing, tell=found.append, spawn=nothing).lost()
    (finding,) = node_findings([Event(0, 7 * 10**9, NEMESIS, "info", NODE_FINDING, value=found[0])])
    assert not finding.by_itself and not finding.explained
    assert finding.sentence == "the engine did not deliver its events any longer at 7.000 s"
