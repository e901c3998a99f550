"""Reads from a run's folder what happened inside the cluster.

The files are those of any run (history, verdict, the nodes' logs and decided logs), and for a
simulated one `messages.jsonl` and `processes.jsonl` (`harness.runtimes.sim.record_files` describes
them). Everything is read and validated once, here: stories and reports get typed data of bounded
size. A folder without messages gives a shorter story.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from harness.errors import UsageError
from harness.run.recorded_verdict import verdict_of
from histories.errors import HistoryError
from histories.events import Event
from histories.folder import RunFolder
from histories.formats.native import read
from histories.untrusted import Malformed, open_regular, parse_object

LINES_MAX: Final = 2_000_000
LINE_MAX: Final = 4_000_000
"""The maximum number of lines read from a file, and of bytes in a line."""

T = TypeVar("T")


class SentMessage(NamedTuple):
    """One message between two nodes. Times are virtual microseconds. `departs_us` is None if it
    never left its node, `arrives_us` if it never arrived; `reason` states why."""

    sent_us: int
    departs_us: int | None
    arrives_us: int | None
    source: int
    target: int
    kind: str
    fields: dict[str, Any]
    reason: str | None = None


class NodeEvent(NamedTuple):
    """A line of `processes.jsonl` ("start", "crash", "pause", "resume", "role", "persist", "end"),
    or a note of a node's own log; `about` holds the other fields."""

    at_us: int
    node: int
    event: str
    about: dict[str, Any]


class DecidedSlot(NamedTuple):
    """A node applied `commands`, each (client, seq, f, key, value), as the value of `slot`."""

    at_us: int
    node: int
    slot: int | str
    ballot: tuple[int, ...]
    commands: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class RecordedRun:
    """A run as recorded in its folder. `messages` is None if they were not recorded."""

    events: tuple[Event, ...]
    verdict: dict[str, Any]
    nodes: tuple[int, ...]
    messages: tuple[SentMessage, ...] | None
    processes: tuple[NodeEvent, ...]
    notes: tuple[NodeEvent, ...]
    decided: tuple[DecidedSlot, ...]
    not_recorded: int = 0


def read_run(path: Path | str) -> RecordedRun:
    """Read the folder of a run. Raises UsageError if it is not one, or cannot be read."""
    try:
        folder = RunFolder.open(path)
        events = tuple(read(folder.history).events)
    except HistoryError as error:
        raise UsageError(str(error)) from None
    verdict = verdict_of(folder).document
    messages, not_recorded = _messages(folder.messages)
    processes = tuple(_node_events(folder.processes))
    decided = tuple(_decided(folder))
    notes = tuple(_notes(folder.nodes))
    seen = [*(e.node for e in processes), *(d.node for d in decided), *(n.node for n in notes)]
    seen += [n for e in events if (n := e.node) is not None]
    return RecordedRun(
        events,
        verdict,
        tuple(range(1, max(seen, default=0) + 1)),
        messages,
        processes,
        notes,
        decided,
        not_recorded,
    )


# ------------------------------------------------------------------------------- the files


def _messages(path: Path) -> tuple[tuple[SentMessage, ...] | None, int]:
    if not path.exists():
        return None, 0
    found: list[SentMessage] = []
    not_recorded = 0
    for line in _lines(path):
        if "not_recorded" in line:
            not_recorded = _required(line, "not_recorded", int)
            continue
        found.append(
            SentMessage(
                _required(line, "sent_us", int),
                _integer_or_none(line, "departs_us"),
                _integer_or_none(line, "arrives_us"),
                _node(line, "source"),
                _node(line, "target"),
                _required(line, "kind", str),
                _required(line, "fields", dict),
                line.get("reason"),
            )
        )
    return tuple(found), not_recorded


def _node_events(path: Path) -> Iterator[NodeEvent]:
    for line in _lines(path):
        about = {k: v for k, v in line.items() if k not in ("at_us", "node", "event")}
        at_us, event = _required(line, "at_us", int), _required(line, "event", str)
        yield NodeEvent(at_us, _node(line, "node"), event, about)


def _notes(nodes: Path) -> Iterator[NodeEvent]:
    """The nodes' logs; those of containers may have other lines, which are skipped."""
    for node, path in _per_node(nodes, ".log.jsonl"):
        for line in _lines(path, strict=False):
            time, event = line.get("time"), line.get("event")
            if isinstance(time, int) and isinstance(event, str):
                about = {k: v for k, v in line.items() if k not in ("time", "event")}
                yield NodeEvent(time // 1000, node, event, about)


def _decided(folder: RunFolder) -> Iterator[DecidedSlot]:
    for node, path in folder.decided_files():
        for line in _lines(path, strict=False):
            slot, time = line.get("slot"), line.get("time", 0)
            ballot, commands = line.get("ballot"), line.get("commands")
            if (
                isinstance(slot, int | str)
                and isinstance(time, int)
                and isinstance(ballot, list)
                and isinstance(commands, list)
                and all(_is_command(c) for c in commands)
            ):
                value = tuple(tuple(command) for command in commands)
                yield DecidedSlot(time // 1000, node, slot, tuple(ballot), value)


def _is_command(command: Any) -> bool:
    return (
        isinstance(command, list)
        and len(command) == 5
        and all(type(part) is int for part in command[:2])
    )


def _per_node(nodes: Path, ending: str) -> list[tuple[int, Path]]:
    found = [(p.name[1 : -len(ending)], p) for p in nodes.glob(f"n*{ending}")]
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def _lines(path: Path, *, strict: bool = True) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file. Other lines are an error, or (not strict) skipped; an
    incomplete last line, which an interrupted run leaves, is always skipped."""
    if not path.exists():
        return
    try:
        with open_regular(path) as file:
            for number in range(1, LINES_MAX + 1):
                data = file.readline(LINE_MAX)
                if not data.endswith(b"\n"):
                    return
                line = _object(data)
                if line is not None:
                    yield line
                elif strict:
                    raise UsageError(f"{path}, line {number}: not a JSON object")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        return parse_object(data, bounded=True)
    except Malformed:
        return None


def _required(line: dict[str, Any], name: str, kind: type[T]) -> T:
    value = line.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"a line of the run's record has {name} = {value!r:.50}")
    return value


def _integer_or_none(line: dict[str, Any], name: str) -> int | None:
    return None if line.get(name) is None else _required(line, name, int)


def _node(line: dict[str, Any], name: str) -> int:
    number = _required(line, name, int)
    if not 0 < number <= 1_000:
        raise UsageError(f"a line of the run's record has {name} = {number}")
    return number
