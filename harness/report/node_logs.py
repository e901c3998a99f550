"""What the nodes themselves said, on the run's clock: log lines, leaders, restarts.

A simulated node's log has the run's own times. A container's log has the host's monotonic clock;
`nodes/clock.json` says what that clock showed at the run's start. A folder without it is aligned by
what both sides recorded: a command is decided after it was invoked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.report.columns import Encoded, Names, Texts, encode_numbers
from harness.report.fault_bands import FaultBand
from histories.events import NEMESIS, Event, Json
from histories.folder import RunFolder

LINES_MAX: Final = 200_000
"""Of all nodes together; a node in a loop of errors must not make the page too large to open."""
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
        """What deserves a mark: {at_us, node, kind, text}."""
        found = []
        for (at_us, node, event, text), _ in zip(self.lines, self.abouts, strict=True):
            kind = MARKS.get(event)
            if kind is None or (kind == "restart" and at_us == 0):
                continue
            found.append({"at_us": at_us, "node": node, "kind": kind, "text": text})
        return found

    def leaders(self, bands: Sequence[FaultBand] = ()) -> list[dict[str, Json]]:
        """Who said that it leads, and since when: {at_us, node, term}; node 0 where the leader
        stepped down, was taken down by one of the faults or started again, and nobody has
        followed yet."""
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


def node_logs(folder: RunFolder, events: list[Event]) -> NodeLogs:
    """The logs of all nodes, merged by time."""
    logs = NodeLogs()
    zero_ns = _zero_ns(folder, events)
    logs.is_aligned = zero_ns is not None
    logs.zero_ns = zero_ns or 0
    found: list[tuple[int, int, str, str, dict[str, Json]]] = []
    for node, path in _log_files(folder):
        for line in _lines(path, logs):
            time_ns = line.get("time")
            at_us = (time_ns - logs.zero_ns) // 1000 if isinstance(time_ns, int) else 0
            event = str(line.get("event", "?"))
            about = {k: v for k, v in line.items() if k not in ("time", "node", "event")}
            found.append((max(0, at_us), node, event, _words(about), about))
    found.sort(key=lambda line: line[0])
    logs.left_out = max(0, len(found) - LINES_MAX)
    logs.lines = [line[:4] for line in found[:LINES_MAX]]
    logs.abouts = [line[4] for line in found[:LINES_MAX]]
    return logs


def _log_files(folder: RunFolder) -> Iterator[tuple[int, Path]]:
    found = []
    for path in folder.nodes.glob("n*.log.jsonl"):
        number = path.name[1 : -len(".log.jsonl")]
        if number.isdecimal() and path.is_file():
            found.append((int(number), path))
    yield from sorted(found)


def _lines(path: Path, logs: NodeLogs) -> Iterator[dict[str, Json]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if isinstance(line, dict):
                yield line
            else:  # not JSON: a traceback on standard output, a torn line
                logs.unreadable += 1
                yield {"event": "text", "line": text.rstrip("\n")}


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


def _zero_ns(folder: RunFolder, events: list[Event]) -> int | None:
    """What the clock of the nodes' logs showed at the run's start; None where nobody knows."""
    document: Any = None
    if (folder.nodes / CLOCK).is_file():
        try:
            document = json.loads((folder.nodes / CLOCK).read_bytes())
        except (OSError, ValueError):
            document = None
    if isinstance(document, dict) and isinstance(document.get("zero_ns"), int):
        return int(document["zero_ns"])
    first_ns = _first_time_ns(folder)
    last_ns = events[-1].time if events else 0
    if first_ns is None or first_ns <= last_ns:
        return 0  # simulated: the nodes have the run's clock
    return _aligned_zero_ns(folder, events)


def _first_time_ns(folder: RunFolder) -> int | None:
    for _, path in _log_files(folder):
        for line in _lines(path, NodeLogs()):
            if isinstance(line.get("time"), int):
                return int(line["time"])
    return None


def _aligned_zero_ns(folder: RunFolder, events: list[Event]) -> int | None:
    """The latest start of the run for which no command was decided before it was invoked."""
    called: dict[tuple[Any, Any], int] = {}
    for event in events:
        if event.type == "invoke" and event.process != NEMESIS and event.extra:
            called[event.extra.get("client"), event.extra.get("seq")] = event.time
    zeros = [
        line["time"] - called[command[0], command[1]]
        for _, path in folder.decided_files()
        for line in _lines(path, NodeLogs())
        if isinstance(line.get("time"), int)
        for command in line.get("commands", ())
        if isinstance(command, list) and len(command) > 1 and (command[0], command[1]) in called
    ]
    return min(zeros, default=None)
