"""The driver's rule: no message or reply leaves before the state it depends on is durable."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

from node_image.protocols.interface import (
    Answer,
    Broadcast,
    CancelTimer,
    Checkpoint,
    Command,
    Decided,
    Persist,
    Reply,
    Send,
    SetTimer,
    Status,
)
from node_image.server.driver import Driver
from node_image.server.node_log import DecisionLog, NodeLog


class Word(NamedTuple):
    """A message, and a record."""

    text: str


class Script:
    """A protocol that follows a script: each event returns the next list of effects."""

    name = "script"
    messages = (Word,)
    records = (Word,)

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.events: list[tuple[Any, ...]] = []
        self.next: list[list[Any]] = []

    def _event(self, *event: Any) -> list[Any]:
        self.events.append(event)
        return self.next.pop(0) if self.next else []

    def start(self, disk: Any, now_us: int) -> list[Any]:
        return self._event("start", list(disk))

    def receive(self, sender: int, message: Any, now_us: int) -> list[Any]:
        return self._event("receive", sender, message)

    def request(self, command: Command, now_us: int) -> list[Any]:
        return self._event("request", command)

    def wake(self, timer: str, now_us: int) -> list[Any]:
        return self._event("wake", timer)

    def status(self) -> Status:
        return Status("script", None, (0, 0), 0, 0)

    def decided_log(self, start: int = 0) -> list[Any]:
        return []


class Disk:
    """A fake of the log: records are kept, and synced when the test says so."""

    syncs = bytes_written = 0

    def __init__(self) -> None:
        self.gathered: list[bytes] = []

    def append(self, payload: bytes) -> None:
        self.gathered.append(payload)

    def replace(self, payloads: list[bytes]) -> None:
        self.gathered.append(b"|".join(payloads))

    def commit(self) -> None:
        pass

    def synced(self) -> None:
        pass


class Outside:
    """Peers and clients: records what was sent, in order."""

    def __init__(self) -> None:
        self.links = {2: None, 3: None}
        self.left: list[Any] = []

    def send(self, to: int, frame: bytes) -> None:
        self.left.append((to, frame[4:].decode()))

    def broadcast(self, frame: bytes) -> None:
        self.left.append(("all", frame[4:].decode()))

    def reply(self, client: int, seq: int, answer: Answer) -> None:
        self.left.append((client, seq, answer))

    def flush(self) -> None:
        pass


class Scene:
    def __init__(self, tmp_path: Path) -> None:
        self.script, self.disk, self.outside = Script(), Disk(), Outside()
        self.failures: list[BaseException] = []
        self.driver = Driver(
            self.script,  # type: ignore[arg-type]
            1,
            wal=self.disk,  # type: ignore[arg-type]
            node_log=NodeLog(1),
            account=DecisionLog(tmp_path),
            fail=self.failures.append,
        )
        self.driver.attach(self.outside, self.outside)  # type: ignore[arg-type]

    def does(self, *effects: Any) -> None:
        self.script.next = [list(effects)]
        self.driver.deliver(2, Word("go"))


def word(text: str) -> str:
    return f'["Word","{text}"]'


def scene(tmp_path: Path, act: Any) -> Scene:
    async def run() -> Scene:
        made = Scene(tmp_path)
        act(made)
        await asyncio.sleep(0)
        return made

    return asyncio.run(run())


def test_effects_wait_for_the_disk_in_order(tmp_path: Path) -> None:
    def act(s: Scene) -> None:
        s.does(
            Send(2, Word("before")),
            Persist(Word("vote")),
            Send(2, Word("promise")),
            Broadcast(Word("news"), after_sync=False),
            Reply(7, 1, Answer()),
            Broadcast(Word("more")),
        )
        assert s.outside.left == [(2, word("before")), ("all", word("news"))]
        s.driver.synced(1)
        assert s.outside.left[2:] == [(2, word("promise")), (7, 1, Answer()), ("all", word("more"))]

    scene(tmp_path, act)


def test_the_barrier_applies_to_later_steps_and_is_lifted_per_persist(tmp_path: Path) -> None:
    def act(s: Scene) -> None:
        s.does(Persist(Word("a")))
        s.does(Send(2, Word("needs a")))
        s.does(Checkpoint((Word("b"), Word("c"))), Send(3, Word("needs b")))
        s.driver.synced(1)
        assert s.outside.left == [(2, word("needs a"))]
        s.driver.synced(1)
        assert s.outside.left[1:] == [(3, word("needs b"))]
        s.does(Send(2, Word("free")))
        assert s.outside.left[2:] == [(2, word("free"))]
        assert s.disk.gathered == [word("a").encode(), f"{word('b')}|{word('c')}".encode()]

    scene(tmp_path, act)


def test_a_message_to_oneself_is_delivered_when_it_is_durable(tmp_path: Path) -> None:
    def act(s: Scene) -> None:
        s.does(Persist(Word("vote")), Send(1, Word("my vote")))
        assert ("receive", 1, Word("my vote")) not in s.script.events
        s.driver.synced(1)
        assert s.script.events[-1] == ("receive", 1, Word("my vote"))
        s.does(Send(1, Word("at once")))
        assert s.script.events[-1] == ("receive", 1, Word("at once"))
        assert s.outside.left == []

    scene(tmp_path, act)


def test_timers_fire_move_and_are_cancelled(tmp_path: Path) -> None:
    async def run() -> list[Any]:
        s = Scene(tmp_path)
        s.does(
            SetTimer("late", 3_600_000_000),
            SetTimer("moved", 3_600_000_000),
            SetTimer("moved", 1_000),
            SetTimer("cancelled", 500),
            CancelTimer("cancelled"),
            CancelTimer("never set"),
        )
        async with asyncio.timeout(20):
            while ("wake", "moved") not in s.script.events:
                await asyncio.sleep(0.001)
        s.driver.stop()
        return s.script.events

    events = asyncio.run(run())
    assert [e for e in events if e[0] == "wake"] == [("wake", "moved")]


def test_an_exception_in_the_protocol_stops_the_node_and_is_not_swallowed(tmp_path: Path) -> None:
    def act(s: Scene) -> None:
        s.does("no effect")
        assert [type(error) for error in s.failures] == [KeyError]

    scene(tmp_path, act)


def test_a_halted_node_sends_nothing_more(tmp_path: Path) -> None:
    def act(s: Scene) -> None:
        s.does(Persist(Word("vote")), Send(2, Word("promise")))
        s.driver.halt()
        s.driver.synced(1)
        s.does(Send(2, Word("more")))
        assert s.outside.left == []
        assert len(s.script.events) == 1

    scene(tmp_path, act)


def test_the_decided_file_loses_only_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "decided.jsonl"
    path.write_bytes(b'{"slot":1}\n{"slot":2}\n{"sl')
    DecisionLog(tmp_path).close()
    assert path.read_bytes() == b'{"slot":1}\n{"slot":2}\n'
    path.write_bytes(b"x" * 200_000)
    DecisionLog(tmp_path).close()
    assert path.read_bytes() == b""
    path.write_bytes(b'{"slot":1}\n' + b"x" * 200_000)
    DecisionLog(tmp_path).close()
    assert path.read_bytes() == b'{"slot":1}\n'


def test_the_decided_file_records_the_life(tmp_path: Path) -> None:
    for slots in ((1, 2), (), (3,)):
        file = DecisionLog(tmp_path)
        for slot in slots:
            file.decided(Decided(slot, (1, 1), (Command(1, slot, "write", "x", "v" * 100_000),)))
        file.close()
    lines = [json.loads(line) for line in (tmp_path / "decided.jsonl").read_text().splitlines()]
    assert [(line["life"], line["slot"]) for line in lines] == [(1, 1), (1, 2), (2, 3)]
