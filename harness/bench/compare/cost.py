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
from typing import Final, NamedTuple, TypeAlias

from harness.bench.compare.clusters import election_us, heartbeat_us, settle, simulate
from harness.bench.compare.columns import Column
from harness.bench.compare.containers import Containers, containers
from harness.bench.compare.operations import Kind, fresh_write, same_read
from harness.bench.compare.result import Detail, Figure, Row, Section
from harness.bench.compare.script import Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected
from harness.errors import HarnessError
from harness.runtimes.sim.runtime import SimRuntime

OPERATIONS: Final = 10
BEATS_EACH: Final = 5
CLIENT: Final = 2
TOLERANCE: Final = 0.5
TOLERANCE_REAL: Final = 1.0
"""In containers a heartbeat more may fall into one of the stretches."""
FSYNCS: Final = "fsyncs"
LIMIT_ELECTIONS: Final = 10
"""An operation that takes longer, in election timeouts, ends the measurement."""

TEXT: Final = (
    "What does one operation cost the cluster? Counted are the messages between nodes and the "
    "fsyncs on all their disks, for one client at a time, so that nothing is batched; under load "
    "a batch shares one set of messages and fsyncs. What an idle cluster sends anyway is "
    "measured in an equal stretch without operations, and taken off.",
    "A message to or from every other node costs n - 1. Basic Paxos pays five such rounds "
    "(prepare, promise, accept, accepted, learn). A leader pays three, and Raft two: its commit "
    "index is piggybacked on the next AppendEntries, or on a heartbeat. Fast Paxos sends every "
    "vote twice, to the proposer and to the coordinator. Two-phase commit writes twice on every "
    "disk.",
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


KINDS: Final = (
    Kind(row="cost.write", label="messages, write", operation=fresh_write),
    Kind(row="cost.read-log", label="messages, read by log", operation=same_read),
    Kind(row="cost.read-quorum", label="messages, by quorum", operation=same_read, reads="quorum"),
    Kind(row="cost.read-lease", label="messages, by lease", operation=same_read, reads="lease"),
    Kind(row="cost.read-local", label="messages, own copy", operation=same_read),
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
    count = _simulated if settings.on == "sim" else _contained
    before, between, after = count(settings, column, kind)
    busy, idle = between.counts - before.counts, after.counts - between.counts
    longer = (between.at_us - before.at_us) / (after.at_us - between.at_us)
    each = {
        name: round((busy[name] - longer * idle[name]) / OPERATIONS, 2)
        for name in sorted({*busy, *idle})
    }
    beats = (after.at_us - between.at_us) / heartbeat_us(settings, settings.delay_us)
    return Cost(
        messages={name: number for name, number in each.items() if number and name != FSYNCS},
        fsyncs=each.get(FSYNCS, 0),
        background={n: round(idle[n] / beats, 2) for n in sorted(idle) if n != FSYNCS},
    )


def _asks(settings: Settings, column: Column, kind: Kind, node: int) -> Callable[[Script], Program]:
    """The operations one after another, in a time that an idle stretch can be as long as."""

    def client(_: Script) -> Program:
        for number in range(OPERATIONS):
            link_us = settings.delay_us
            limit_us = LIMIT_ELECTIONS * election_us(settings, link_us)
            answer = yield Ask(CLIENT, node, kind.operation(number), limit_us)
            if not answer.ok:
                raise HarnessError(f"{column.target}, {kind.label}: {answer.response}")
            yield Sleep(max(1, spacing_us(settings) - answer.latency_us))

    return client


def spacing_us(settings: Settings) -> int:
    """From one operation to the next."""
    return BEATS_EACH * heartbeat_us(settings, settings.delay_us)


class Counted(NamedTuple):
    """What had been counted so far at some moment: messages by type, and FSYNCS."""

    counts: Counter[str]
    at_us: int


Counts: TypeAlias = tuple[Counted, Counted, Counted]
"""Before the operations, after them, and after as long without any (in containers about as long:
what is taken off is in proportion)."""


def _simulated(settings: Settings, column: Column, kind: Kind) -> Counts:
    link_us = settings.delay_us
    clusters: list[SimRuntime] = []
    found: list[Counted] = []

    def client(script: Script) -> Program:
        settled = yield from settle(script, settings, column, link_us)
        found.append(Counted(_counted(clusters[0]), script.now_us))
        yield from _asks(settings, column, kind, settled.node)(script)
        found.append(Counted(_counted(clusters[0]), script.now_us))
        yield Sleep(OPERATIONS * spacing_us(settings))
        found.append(Counted(_counted(clusters[0]), script.now_us))

    simulate(
        settings,
        column,
        client,
        link_us=link_us,
        traced=True,
        reads=kind.reads,
        before=clusters.append,
    )
    return found[0], found[1], found[2]


def _counted(runtime: SimRuntime) -> Counter[str]:
    """The messages between nodes that were sent so far, by type, and the fsyncs."""
    assert runtime.record is not None
    counts = Counter(type(message.message).__name__ for message in runtime.record.messages)
    counts[FSYNCS] = sum(node.disk.fsyncs for node in runtime.world.nodes.values())
    return counts


def _contained(settings: Settings, column: Column, kind: Kind) -> Counts:
    """The nodes' own counters, which they tell with their status."""
    link_us = settings.delay_us
    asked: list[int] = []

    def settling(script: Script) -> Program:
        settled = yield from settle(script, settings, column, link_us)
        asked.append(settled.node)

    def idling(_: Script) -> Program:
        yield Sleep(OPERATIONS * spacing_us(settings))

    with containers(settings, column, link_us=link_us, reads=kind.reads) as cluster:
        cluster.delay(link_us, clients=False)
        settled_us = cluster.drive(settling)
        before = Counted(_told(cluster), settled_us)
        asked_us = cluster.drive(_asks(settings, column, kind, asked[0]))
        between = Counted(_told(cluster), asked_us)
        idled_us = cluster.drive(idling)
        return before, between, Counted(_told(cluster), idled_us)


def _told(cluster: Containers) -> Counter[str]:
    told = cluster.counters()
    sent = {name.removeprefix("sent."): n for name, n in told.items() if name.startswith("sent.")}
    return Counter({**sent, FSYNCS: told["disk.syncs"]})


def _row(settings: Settings, kind: Kind, costs: dict[tuple[str, str], Cost]) -> Row:
    figures = {
        target: Figure(
            measured=round(cost.total, 2),
            expected=expected(kind.row, target, settings.nodes),
            tolerance=TOLERANCE if settings.on == "sim" else TOLERANCE_REAL,
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
            tolerance=TOLERANCE if settings.on == "sim" else TOLERANCE_REAL,
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
