"""The nodes' logs on the run's clock: log lines, leaders, restarts.

A simulated node's log has the run's own times. A container's log has the host's monotonic clock, or
the node's wall clock (a text, as most systems write it); `nodes/clock.json` has the values of both
at the run's start. Without it, logs are aligned by the fact that a command is decided after it was
invoked. If this is not possible either, times count from the run's start, with a note. A fault that
skews a node's wall clock shifts its lines, if they have wall times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from harness.report.columns import Encoded, Names, Texts, encode_numbers
from harness.report.fault_bands import FaultBand
from histories.events import NEMESIS, Event, Json
from histories.folder import RunFolder
from histories.untrusted import Malformed, objects, read_document

LINES_MAX: Final = 200_000
"""The maximum for all nodes together: a node in an error loop must not make the page too large."""
TEXT_MAX: Final = 4_000
CLOCK: Final = "clock.json"
MARKS: Final = {
    "recovered": "restart",
    "started": "start",
    "leading": "leader",
    "step-down": "step-down",
    "snapshot": "snapshot",
    "snapshot-installed": "snapshot-installed",
    "crash": "crash",
    "bug": "crash",
    "disk-error": "crash",
    "election": "election",
}
"""Log events that become marks on the timeline."""
_FOREIGN: Final = (
    (re.compile(r"became leader at term (\d+)"), "leading"),
    (re.compile(r"became (?:pre-)?candidate at term (\d+)"), "election"),
    (re.compile(r"(\S+) lost leader \1 at term (\d+)"), "step-down"),
)
"""Messages of other systems' logs (etcd's raft), and the event that each means here."""
ENDS: Final = frozenset(("step-down", "recovered", "crash", "stopped"))
"""Log events after which a node does not lead any more."""


@dataclass
class NodeLogs:
    """Every line as (at_us, node, event, text), in the order of time; `left_out` lines more were
    there. `is_aligned`: whether the times are on the run's clock, which began at `zero_ns`."""

    lines: list[tuple[int, int, str, str]] = field(default_factory=list)
    abouts: list[dict[str, Json]] = field(default_factory=list)
    left_out: int = 0
    unreadable: int = 0
    zero_ns: int = 0
    is_aligned: bool = True

    def encode(self, texts: Texts) -> dict[str, Any]:
        names = Names()
        columns: dict[str, Encoded] = {
            "at_us": encode_numbers([line[0] for line in self.lines], rising=True),
            "node": encode_numbers([line[1] for line in self.lines]),
            "event": encode_numbers([names.number(line[2]) for line in self.lines]),
            "text": encode_numbers([texts.number(line[3]) for line in self.lines]),
        }
        return {
            "columns": columns,
            "events": names.list(),
            "left_out": self.left_out,
            "unreadable": self.unreadable,
            "is_aligned": self.is_aligned,
        }

    def marks(self) -> list[dict[str, Json]]:
        """Events to mark: {at_us, node, kind, text}."""
        found = []
        for (at_us, node, event, text), _ in zip(self.lines, self.abouts, strict=True):
            kind = MARKS.get(event)
            if kind is None or (kind == "restart" and at_us == 0):
                continue
            found.append({"at_us": at_us, "node": node, "kind": kind, "text": text})
        return found

    def leaders(self, bands: Sequence[FaultBand] = ()) -> list[dict[str, Json]]:
        """Which node reported to lead, and since when: {at_us, node, term}; node 0 after the leader
        stepped down, was taken down by a fault or restarted, until the next leader."""
        said = [
            (at_us, node, event, _term(about))
            for (at_us, node, event, _), about in zip(self.lines, self.abouts, strict=True)
            if event == "leading" or event in ENDS
        ]
        taken = [
            (band.moments_us.get(f"n{node}", band.proven_us), node, "down", "")
            for band in bands
            if band.effect == "down" and band.strikes and band.proven_us is not None
            for node in band.nodes
        ]
        found: list[dict[str, Json]] = []
        leader = 0
        for at_us, node, event, term in sorted(said + taken, key=lambda entry: entry[0]):
            if event == "leading":
                leader = node
                found.append({"at_us": at_us, "node": node, "term": term})
            elif node == leader:
                leader = 0
                found.append({"at_us": at_us, "node": 0, "term": ""})
        return found


def _term(about: dict[str, Json]) -> str:
    ballot = about.get("ballot", about.get("term", about.get("life", "")))
    return ".".join(str(part) for part in ballot) if isinstance(ballot, list) else str(ballot)


@dataclass(frozen=True)
class Clocks:
    """What the clocks of the nodes' logs showed at the run's start; None where it is unknown."""

    monotonic_ns: int | None
    wall_ns: int | None

    def at_us(self, line: dict[str, Json]) -> int | None:
        """A line's time on the run's clock."""
        time_ns = line.get("time")
        if isinstance(time_ns, int):
            return None if self.monotonic_ns is None else (time_ns - self.monotonic_ns) // 1000
        wall_ns = _wall_ns(line.get("ts"))
        if wall_ns is None or self.wall_ns is None:
            return None
        return (wall_ns - self.wall_ns) // 1000


def _wall_ns(text: Any) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round(moment.timestamp() * 1e6) * 1000


def node_logs(folder: RunFolder, events: list[Event]) -> NodeLogs:
    """The logs of all nodes, merged by time."""
    logs = NodeLogs()
    raw = [(node, line) for node, path in _log_files(folder) for line in _lines(path, logs)]
    clocks = _clocks(folder, events, raw)
    logs.zero_ns = clocks.monotonic_ns or 0
    found: list[tuple[int, int, str, str, dict[str, Json]]] = []
    last_us: dict[int, int] = {}
    for node, line in raw:
        at_us = clocks.at_us(line)
        if at_us is None:  # a line without a time: it keeps its position
            at_us = last_us.get(node, 0)
            logs.is_aligned &= "time" not in line and "ts" not in line
        last_us[node] = at_us = max(0, at_us)
        event, about = _event(line)
        found.append((at_us, node, event, _words(about), about))
    found.sort(key=lambda line: line[0])
    logs.left_out = max(0, len(found) - LINES_MAX)
    logs.lines = [line[:4] for line in found[:LINES_MAX]]
    logs.abouts = [line[4] for line in found[:LINES_MAX]]
    return logs


def _event(line: dict[str, Json]) -> tuple[str, dict[str, Json]]:
    """A line's event, and its other fields."""
    about = {k: v for k, v in line.items() if k not in ("time", "ts", "node", "event")}
    if "event" in line:
        return str(line["event"]), about
    message = line.get("msg", line.get("message"))
    for pattern, event in _FOREIGN:
        match = pattern.search(message) if isinstance(message, str) else None
        if match:
            return event, {"term": match.groups()[-1]} | about
    return str(line.get("level", "?")), about


def _log_files(folder: RunFolder) -> Iterator[tuple[int, Path]]:
    found = []
    for path in folder.nodes.glob("n*.log.jsonl"):
        number = path.name[1 : -len(".log.jsonl")]
        if number.isdecimal() and path.is_file():
            found.append((int(number), path))
    yield from sorted(found)


def _lines(path: Path, logs: NodeLogs) -> Iterator[dict[str, Json]]:
    for line, data in objects(path):
        if line is not None:
            yield line
        else:  # not JSON: a traceback on standard output, a torn line
            logs.unreadable += 1
            yield {"event": "text", "line": data[:TEXT_MAX].decode(errors="replace").rstrip("\n")}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _words(about: dict[str, Json]) -> str:
    """The fields of a log line for people."""
    words = []
    for name, value in about.items():
        if name == "traceback" and isinstance(value, list):
            shown = "".join(map(str, value))
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        words.append(f"{name} {shown}")
    return "  ".join(words)[:TEXT_MAX]


def _clocks(
    folder: RunFolder, events: list[Event], lines: list[tuple[int, dict[str, Json]]]
) -> Clocks:
    path = folder.nodes / CLOCK
    try:
        document: Any = read_document(path) if path.is_file() else None
    except (OSError, Malformed):
        document = None
    if isinstance(document, dict):
        zeros = (document.get("zero_ns"), document.get("zero_wall_ns"))
        return Clocks(*(zero if isinstance(zero, int) else None for zero in zeros))
    first_ns = next((line["time"] for _, line in lines if isinstance(line.get("time"), int)), None)
    last_ns = events[-1].time if events else 0
    if first_ns is None or first_ns <= last_ns:
        return Clocks(0, None)  # simulated: the nodes have the run's clock
    return Clocks(_aligned_zero_ns(folder, events), None)


def _aligned_zero_ns(folder: RunFolder, events: list[Event]) -> int | None:
    """The latest start of the run for which no command was decided before it was invoked."""
    called: dict[tuple[Any, Any], int] = {}
    for event in events:
        if event.type == "invoke" and event.process != NEMESIS and event.extra:
            name = (event.extra.get("client"), event.extra.get("seq"))
            if all(type(part) is int for part in name):
                called[name] = event.time
    zeros = [
        line["time"] - called[command[0], command[1]]
        for _, path in folder.decided_files()
        for line in _lines(path, NodeLogs())
        if isinstance(line.get("time"), int)
        for command in _listed(line.get("commands"))
        if isinstance(command, list)
        and len(command) > 1
        and all(type(part) is int for part in command[:2])
        and (command[0], command[1]) in called
    ]
    return min(zeros, default=None)
