"""Cell 1: the latency of an idle client, in one-way message delays.

Each operation is timed under three delays of the links. A straight line through latency over delay
has as its slope the number of one-way delays on the operation's critical path; what does not depend
on the delay, processing and fsyncs, is in its intercept and cancels. In the simulator an fsync
takes the same time always, so the intercept counts the fsyncs that the client waits for in a row.

There is one client, which sends the next request only when the cluster is idle. Its own links are
delayed as well: in the first placement it is one delay from every node, in the second it is
at one that does not lead, and is one delay from all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from harness.bench.compare.clusters import (
    FSYNC_US,
    heartbeat_us,
    operation_timeout_us,
    settle,
)
from harness.bench.compare.columns import Column
from harness.bench.compare.containers import perform
from harness.bench.compare.operations import Kind, fresh_write, same_read
from harness.bench.compare.result import Figure, Row, Section
from harness.bench.compare.script import Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected

REPEATS: Final = 5
DELAYS: Final = (0.5, 1, 2)
"""In units of the requested delay."""
CLIENT: Final = 2
TOLERANCE_DELAYS: Final = 0.25

TEXT: Final = (
    "How many message delays in a row does a client wait for? An operation is timed with three "
    "delays of all links, the client's included, and a line is fitted: its slope is the number "
    "of one-way delays, and processing and disk time are in the intercept. A round trip is two "
    "delays.",
    "Basic Paxos asks for promises before it asks for votes, every time: two round trips between "
    "nodes, and one between the client and its node. A leader that has run Phase 1 once for all "
    "(Multi-Paxos, Flexible Paxos, Raft) needs one. Seen from a client that is as far from every "
    "node, Fast Paxos and EPaxos save nothing. The second line shows what they are for: a client "
    "beside a node that does not lead reaches a decision in one round trip through that node, "
    "where the others have to go to the leader first.",
    "A read through the log costs what a write does. Confirming the leader by a quorum takes the "
    "same time, but no disk; a lease saves the round trip, and trusts the clocks. In two-phase "
    "commit every node that is not in doubt has every committed value.",
    "The last line counts the fsyncs that a client waits for one after another.",
)


class Line(NamedTuple):
    """`slope`: one-way delays. `intercept_us`: what does not depend on the delay."""

    slope: float
    intercept_us: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line through (delay, latency)."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )
    return Line(slope, mean_y - slope * mean_x)


def delays_of(settings: Settings) -> tuple[int, int, int]:
    """The three one-way delays, in microseconds: half, once and twice the requested one."""
    half, once, twice = (int(times * settings.delay_us) for times in DELAYS)
    return half, once, twice


KINDS: Final = (
    Kind(row="latency.write", label="write, client 1 away", operation=fresh_write),
    Kind(
        row="latency.write-beside", label="write, beside a node", operation=fresh_write, beside=True
    ),
    Kind(row="latency.read-log", label="read, by the log", operation=same_read),
    Kind(row="latency.read-quorum", label="read, by quorum", operation=same_read, reads="quorum"),
    Kind(row="latency.read-lease", label="read, by lease", operation=same_read, reads="lease"),
    Kind(row="latency.read-local", label="read, own copy", operation=same_read),
)


def measure(settings: Settings) -> Section:
    """The cell."""
    lines = {
        (kind.row, column.target): line
        for column in settings.columns
        for group in groups(column)
        for kind, line in lines_of(settings, column, group).items()
    }
    rows = [_row(settings, kind, lines) for kind in KINDS]
    if settings.on == "sim":
        rows.append(_fsyncs(settings, lines))
    return Section(
        id="latency",
        title="Latency in one-way delays",
        text=TEXT,
        rows=[row for row in rows if row.figures],
    )


def groups(column: Column) -> list[list[Kind]]:
    """The kinds of operations of this protocol, by what can be timed on one cluster: with the same
    reads, and clients' links alike."""
    found: dict[tuple[str, bool], list[Kind]] = {}
    for kind in KINDS:
        if kind.applies(column):
            found.setdefault((kind.reads, _is_away(column, kind)), []).append(kind)
    return list(found.values())


def _is_away(column: Column, kind: Kind) -> bool:
    """Whether the client is one delay away from the node that it asks: it is never next to the
    leader."""
    return column.leads or not kind.beside


def lines_of(settings: Settings, column: Column, group: list[Kind]) -> dict[Kind, Line | None]:
    """Latency over delay, for each kind of a group; None for a kind without an answer at some
    delay."""
    points: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in group}
    for link_us in delays_of(settings):
        for kind, latency_us in latencies_us(settings, column, group, link_us).items():
            points[kind].append((float(link_us), latency_us))
    return {kind: fit(p) if len(p) == len(DELAYS) else None for kind, p in points.items()}


def latencies_us(
    settings: Settings, column: Column, group: list[Kind], link_us: int
) -> dict[Kind, int]:
    """The minimum latency of each kind at one delay, that is, of an undisturbed operation. A kind
    without an answer is missing."""
    found: dict[Kind, list[int]] = {kind: [] for kind in group}
    away = _is_away(column, group[0])
    distance_us = link_us if away else 0

    def client(script: Script) -> Program:
        settled = yield from settle(script, settings, column, link_us)
        for number in range(REPEATS):
            for kind in group:
                answer = yield Ask(
                    CLIENT,
                    settled.node,
                    kind.operation(number),
                    operation_timeout_us(settings, link_us),
                    distance_us,
                    delayed=settings.on != "sim",
                )
                if answer.ok:
                    found[kind].append(answer.latency_us)
                yield Sleep(_pause_us(settings, number, link_us))

    perform(settings, column, client, link_us=link_us, clients=away, reads=group[0].reads)
    return {kind: min(latencies) for kind, latencies in found.items() if latencies}


def _pause_us(settings: Settings, number: int, link_us: int) -> int:
    """Until the next operation: at another moment between two heartbeats every time, since a read
    by quorum that comes while a round of heartbeats is under way waits for the next one."""
    beat_us = heartbeat_us(settings, link_us)
    return 5 * beat_us + (2 * number + 1) * beat_us // (2 * REPEATS)


def _row(settings: Settings, kind: Kind, lines: dict[tuple[str, str], Line | None]) -> Row:
    figures = {
        target: Figure(
            measured=None if line is None else round(line.slope, 2),
            expected=expected(kind.row, target, settings.nodes),
            tolerance=TOLERANCE_DELAYS,
        )
        for (row, target), line in lines.items()
        if row == kind.row
    }
    return Row(id=kind.row, label=kind.label, unit="one-way delays", figures=figures, digits=1)


def _fsyncs(settings: Settings, lines: dict[tuple[str, str], Line | None]) -> Row:
    """The intercept of a write, in fsyncs: in the simulator nothing else is in it."""
    figures = {
        target: Figure(
            measured=None if line is None else round(line.intercept_us / FSYNC_US, 2),
            expected=expected("latency.fsyncs", target, settings.nodes),
            tolerance=TOLERANCE_DELAYS,
        )
        for (row, target), line in lines.items()
        if row == "latency.write"
    }
    label = "fsyncs in a row, write"
    return Row(id="latency.fsyncs", label=label, unit="fsyncs", figures=figures, digits=1)
