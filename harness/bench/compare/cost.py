"""Cell 2: messages between nodes and fsyncs for each operation, by type of message.

The same operations one after another on a cluster that is idle otherwise, then the same time
without any. What nodes send without requests (heartbeats and their answers, beats) is
counted by type in the second period and subtracted from the first. Clients' requests and answers
are not counted: they are two for every protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.bench.compare.clusters import heartbeat_us, patience_us, read, settle, simulate, write
from harness.bench.compare.columns import Column
from harness.bench.compare.result import Detail, Figure, Row, Section
from harness.bench.compare.script import Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected
from harness.runtimes.sim.runtime import SimRuntime
from harness.workloads import Operation

OPERATIONS: Final = 10
BEATS_EACH: Final = 5
CLIENT: Final = 2
TOLERANCE: Final = 0.5

TEXT: Final = (
    "What does one operation cost the cluster? Counted are the messages between nodes and the "
    "fsyncs on all their disks, for one client at a time, so that nothing is batched; under load "
    "a batch shares one set of messages and fsyncs. What an idle cluster sends anyway is "
    "measured in an equal stretch without operations, and taken off.",
    "A message to or from every other node costs n - 1. Basic Paxos pays five such rounds "
    "(prepare, promise, accept, accepted, learn). A leader pays three, and Raft two: its commit "
    "index rides on the next AppendEntries, or on a heartbeat. Fast Paxos sends every vote "
    "twice, to the proposer and to the coordinator. Two-phase commit writes twice on every disk.",
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """For one operation: messages by type without the background, fsyncs, and the background by
    type, in messages a heartbeat interval."""

    messages: dict[str, float]
    fsyncs: float
    background: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.messages.values())


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of operation whose cost is counted. `reads`: how the cluster answers reads."""

    row: str
    label: str
    operation: Callable[[int], Operation]
    reads: str = "log"

    def applies(self, column: Column) -> bool:
        local = column.target == "two-phase-commit"
        if self.row in ("cost.read-local", "cost.read-log"):
            return local == (self.row == "cost.read-local")
        return self.reads in column.reads


def _write(number: int) -> Operation:
    return write(f"k{number}", number)


def _read(_: int) -> Operation:
    return read("k0")


KINDS: Final = (
    Kind(row="cost.write", label="messages, write", operation=_write),
    Kind(row="cost.read-log", label="messages, read by log", operation=_read),
    Kind(row="cost.read-quorum", label="messages, by quorum", operation=_read, reads="quorum"),
    Kind(row="cost.read-lease", label="messages, by lease", operation=_read, reads="lease"),
    Kind(row="cost.read-local", label="messages, own copy", operation=_read),
)


def measure(settings: Settings) -> Section:
    """The cell."""
    costs = {
        (kind.row, column.target): cost_of(settings, column, kind)
        for column in settings.columns
        for kind in KINDS
        if kind.applies(column)
    }
    rows = [_row(settings, kind, costs) for kind in KINDS]
    rows.append(_fsyncs(settings, costs))
    return Section(
        id="cost",
        title="Messages and fsyncs of one operation",
        text=TEXT,
        rows=[row for row in rows if row.figures],
        details=[_by_type(settings, costs), _background(settings, costs)],
    )


def cost_of(settings: Settings, column: Column, kind: Kind) -> Cost:
    """Count one kind of operation of one protocol."""
    link_us = settings.delay_us
    spacing_us = BEATS_EACH * heartbeat_us(link_us)
    marks: list[tuple[int, int]] = []
    """When each stretch began and ended, and how many fsyncs there had been."""
    clusters: list[SimRuntime] = []

    def mark(script: Script) -> None:
        nodes = clusters[0].world.nodes.values()
        marks.append((script.now_us, sum(node.disk.fsyncs for node in nodes)))

    def client(script: Script) -> Program:
        settled = yield from settle(script, column, settings.nodes, link_us)
        mark(script)
        for number in range(OPERATIONS):
            ask = Ask(CLIENT, settled.node, kind.operation(number), patience_us(link_us))
            answer = yield ask
            assert answer.ok, f"{column.target}: {answer.response}"
            yield Sleep(spacing_us - answer.latency_us)
        mark(script)
        yield Sleep(OPERATIONS * spacing_us)
        mark(script)

    simulate(
        settings,
        column,
        client,
        link_us=link_us,
        traced=True,
        reads=kind.reads,
        before=clusters.append,
    )
    return _cost(clusters[0], marks)


def _cost(runtime: SimRuntime, marks: list[tuple[int, int]]) -> Cost:
    (begin_us, fsyncs0), (middle_us, fsyncs1), (end_us, fsyncs2) = marks
    busy, idle = _sent(runtime, begin_us, middle_us), _sent(runtime, middle_us, end_us)
    messages = {
        name: (busy[name] - idle[name]) / OPERATIONS
        for name in sorted(busy | idle)
        if busy[name] != idle[name]
    }
    fsyncs = ((fsyncs1 - fsyncs0) - (fsyncs2 - fsyncs1)) / OPERATIONS
    beats = OPERATIONS * BEATS_EACH
    background = {name: count / beats for name, count in sorted(idle.items())}
    return Cost(messages=messages, fsyncs=fsyncs, background=background)


def _sent(runtime: SimRuntime, begin_us: int, end_us: int) -> Counter[str]:
    """The messages between nodes that were sent in this time, by type."""
    assert runtime.record is not None
    return Counter(
        type(message.message).__name__
        for message in runtime.record.messages
        if begin_us <= message.sent_us < end_us
    )


def _row(settings: Settings, kind: Kind, costs: dict[tuple[str, str], Cost]) -> Row:
    figures = {
        target: Figure(
            measured=round(cost.total, 2),
            expected=expected(kind.row, target, settings.nodes),
            tolerance=TOLERANCE,
        )
        for (row, target), cost in costs.items()
        if row == kind.row
    }
    return Row(id=kind.row, label=kind.label, unit="messages", figures=figures, digits=0)


def _fsyncs(settings: Settings, costs: dict[tuple[str, str], Cost]) -> Row:
    figures = {
        target: Figure(
            measured=round(cost.fsyncs, 2),
            expected=expected("cost.fsyncs", target, settings.nodes),
            tolerance=TOLERANCE,
        )
        for (row, target), cost in costs.items()
        if row == "cost.write"
    }
    return Row(id="cost.fsyncs", label="fsyncs, write", unit="fsyncs", figures=figures, digits=0)


def _by_type(settings: Settings, costs: dict[tuple[str, str], Cost]) -> Detail:
    rows: list[list[str | float | None]] = []
    for column in settings.columns:
        for kind in KINDS:
            cost = costs.get((kind.row, column.target))
            if cost is not None:
                rows.append([column.title, kind.label, cost_in_words(cost.messages)])
    head = ("protocol", "operation", "messages by type")
    return Detail(id="cost.types", title="Messages by type", head=head, rows=rows)


def _background(settings: Settings, costs: dict[tuple[str, str], Cost]) -> Detail:
    rows: list[list[str | float | None]] = [
        [column.title, cost_in_words(costs["cost.write", column.target].background)]
        for column in settings.columns
    ]
    head = ("protocol", "messages a heartbeat interval")
    title = "What an idle cluster sends, not counted above"
    return Detail(id="cost.background", title=title, head=head, rows=rows)


def cost_in_words(messages: dict[str, float]) -> str:
    """ "4 Accept, 4 Accepted", or "none"."""
    return ", ".join(f"{count:g} {name}" for name, count in messages.items()) or "none"
