"""Cell 6: five regions of the world, each with its clients.

One node in each of five regions of Amazon Web Services, the five of the EPaxos paper's evaluation
(section 7). The round-trip times between them are averages published in "Latency Between AWS Global
Regions", as quoted by A Computer Scientist Learns AWS, "AWS Regions", April 2017
(acomputerscientistlearnsaws.blogspot.com/2017/04/aws-regions.html), the mean of both directions,
rounded to milliseconds. Clients are at the node of their region. In a protocol with a leader they
ask the leader, which is placed in the region with the lowest average latency; otherwise they ask
their own node. Fsyncs take no time, so the results show the effect of distance only.

First one idle client in each region, without conflicts: the latency that theory expects follows
from the distances and the quorums. Then some clients in every region at once, of whose commands a
share goes to one key that all of them use: this shows at which share of conflicts EPaxos stops
being faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random
from statistics import mean, median
from typing import Any, Final, TypeAlias

from faults.description import Link
from harness.bench.compare.clusters import (
    fixed_world,
    heartbeat_us,
    operation_timeout_us,
    settle,
    simulate,
    write,
)
from harness.bench.compare.columns import Column
from harness.bench.compare.containers import containers
from harness.bench.compare.result import Detail, Figure, Row, Section
from harness.bench.compare.script import Answered, Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import Expectation, fast_quorum, majority
from harness.bench.stats import quantile
from harness.runtimes.sim.runtime import SimRuntime

REGIONS: Final = ("Virginia", "California", "Oregon", "Ireland", "Tokyo")
RTT_MS: Final = {
    ("Virginia", "California"): 72,
    ("Virginia", "Oregon"): 88,
    ("Virginia", "Ireland"): 81,
    ("Virginia", "Tokyo"): 145,
    ("California", "Oregon"): 19,
    ("California", "Ireland"): 153,
    ("California", "Tokyo"): 103,
    ("Oregon", "Ireland"): 137,
    ("Oregon", "Tokyo"): 89,
    ("Ireland", "Tokyo"): 212,
}
"""Round trips, in milliseconds."""
LINK_US: Final = 106_000
"""The longest one-way delay: timeouts are measured in it."""
TIMING: Final[dict[str, Any]] = {
    "heartbeat_us": 4 * LINK_US,
    "election_min_us": 40 * LINK_US,
    "election_max_us": 80 * LINK_US,
    "retry_us": 8 * LINK_US,
}
"""As an operator would set them for such a cluster: Fast Paxos leaves its fast rounds at a
heartbeat, and proposes again at a retry what was under way then."""
REPEATS: Final = 5
CLIENTS_EACH: Final = 4
COMMANDS_EACH: Final = 30
SHARES: Final = {"sim": (0, 2, 5, 10, 20, 30, 50, 75, 100), "docker": (0, 10, 30, 100)}
"""Of the commands, in percent, how many go to the one key; fewer where real time passes."""
COMPARED: Final = ("multi-paxos", "flexible-paxos", "fast-paxos", "epaxos")
TOLERANCE_MS: Final = {"sim": 2.0, "docker": 10.0}
"""In containers nodes need time, and have disks."""
TAIL: Final = 95
TITLE: Final = "Five regions"

TEXT: Final = (
    "One node and its clients in each of five regions: Virginia, California, Oregon, Ireland and "
    "Tokyo, with round trips between 19 ms (California to Oregon) and 212 ms (Ireland to Tokyo), "
    "as published for Amazon's regions in 2017. The leader, where there is one, is where it "
    "serves all regions best. Latencies in milliseconds.",
    "With a leader, a client waits for the round trip to the leader, and the leader for the "
    "nearest nodes that make a majority with it (Flexible Paxos: for the nearest one). In EPaxos "
    "a client asks the node beside it, which waits for the nearest two: every region that does "
    "not lead gains, and most the one that is farthest away. Fast Paxos needs one node more in "
    "its quorum than EPaxos, which costs it much of that. Basic Paxos asks its own node, and "
    "pays twice. On average a leader with a small Phase 2 quorum and a near neighbour is hard to "
    "beat.",
    "With conflicts EPaxos loses its lead. Several clients in every region work at once, and a "
    "share of their commands goes to one key that all of them use. A leader is not affected. "
    "EPaxos falls behind in the tail first, then on average: who depends on a command from the "
    "other side of the world waits for it. Fast Paxos has one log for all keys, so with many "
    "clients at once everything collides whatever the share.",
)


# ------------------------------------------------------------------------------- distances


def rtt_us(one: str, other: str) -> int:
    """The round trip between two regions, in microseconds."""
    if one == other:
        return 0
    found = RTT_MS.get((one, other)) or RTT_MS[other, one]
    return 1000 * found


def nearest_us(region: str, size: int) -> int:
    """The round trip to the nearest regions that make a quorum of this size with this one."""
    return sorted(rtt_us(region, other) for other in REGIONS)[size - 1]


def best_leader(size: int) -> str:
    """Where a leader with Phase 2 quorums of this size serves all regions best, on average."""

    def total(leader: str) -> int:
        return sum(rtt_us(region, leader) for region in REGIONS) + 5 * nearest_us(leader, size)

    return min(REGIONS, key=total)


def phase2_size(column: Column) -> int:
    """How many nodes a leader, or an owner, waits for, itself included."""
    count = len(REGIONS)
    sizes = {
        "flexible-paxos": majority(count) - 1,
        "fast-paxos": -(-3 * count // 4),
        "epaxos": fast_quorum(count),
        "two-phase-commit": count,
    }
    return sizes.get(column.target, majority(count))


def leader_region(column: Column) -> str | None:
    """The region of the leader; None if clients ask the node of their region. The coordinator of a
    two-phase commit is placed as well: it is the first node."""
    return best_leader(phase2_size(column)) if column.leads else None


def expected_us(column: Column, region: str) -> int:
    """The latency expected from distances: to the leader, if there is one, and from there to a
    quorum."""
    size, leader = phase2_size(column), leader_region(column)
    if leader is None:
        phases = 2 if column.target == "basic-paxos" else 1
        return phases * nearest_us(region, size)
    return rtt_us(region, leader) + nearest_us(leader, size)


# ------------------------------------------------------------------------------- the cell


def measure(settings: Settings) -> Section:
    """The cell. It always has five nodes."""
    five = Settings(
        nodes=len(REGIONS),
        delay_us=settings.delay_us,
        protocols=settings.protocols,
        on=settings.on,
        seed=settings.seed,
    )
    shares = SHARES[settings.on]
    idle = {column.target: latencies_us(five, column) for column in five.columns}
    details = [_leaders(five)]
    compared = [column for column in five.columns if column.target in COMPARED]
    busy = {
        (column.target, share): loaded_us(five, column, share)
        for column in compared
        for share in shares
    }
    if compared:
        details += [_curve(compared, busy, shares, what) for what in ("mean", "tail")]
    rows = [_row(five, region, idle) for region in REGIONS]
    rows += _crossings(compared, busy, shares)
    return Section(id="regions", title=TITLE, text=TEXT, rows=rows, details=details)


# ------------------------------------------------------------------------------- on the map


Place = dict[int, str]
"""The region of every node."""
Work = Callable[[Script, Place, Answered], Program]


def on_map(settings: Settings, column: Column, work: Work) -> None:
    """Run `work` on a cluster of which the node in each region is as far from the others as the
    regions are. Where there is a leader it is in its region: which node a simulated cluster elects
    does not depend on where the nodes are, so one of five ways to place them is right; containers
    are placed when their leader is known."""
    wanted = leader_region(column)
    if settings.on != "sim":
        _in_containers(settings, column, wanted, work)
        return
    for place in _places():
        if _run_on(settings, column, place, wanted, work):
            return
    raise AssertionError(f"{column.target}: no leader in {wanted}")


def _places() -> list[Place]:
    """Five ways to place the nodes: each node is in each region once."""
    count = len(REGIONS)
    return [
        {node: REGIONS[(node + first) % count] for node in range(1, count + 1)}
        for first in range(count)
    ]


def _delays_us(place: Place) -> dict[Link, int]:
    """The one-way delay of every directed link."""
    return {(a, b): rtt_us(place[a], place[b]) // 2 for a, b in itertools.permutations(place, 2)}


def _in_containers(settings: Settings, column: Column, wanted: str | None, work: Work) -> None:
    settled: list[Answered] = []

    def first(script: Script) -> Program:
        settled.append((yield from settle(script, settings, column, LINK_US)))

    with containers(settings, column, link_us=LINK_US, **TIMING) as cluster:
        cluster.drive(first)
        node = settled[0].node
        place = next(p for p in _places() if wanted is None or p[node] == wanted)
        cluster.delay_links(_delays_us(place))
        cluster.drive(lambda script: work(script, place, settled[0]))


def _run_on(
    settings: Settings, column: Column, place: Place, wanted: str | None, work: Work
) -> bool:
    """Whether the leader was where it is wanted, and so `work` was done."""
    right: list[bool] = []

    def program(script: Script) -> Program:
        settled = yield from settle(script, settings, column, LINK_US)
        right.append(wanted is None or place[settled.node] == wanted)
        if right[0]:
            yield from work(script, place, settled)

    def move(runtime: SimRuntime) -> None:
        runtime.world.network.fix_delays(_delays_us(place))

    simulate(
        settings,
        column,
        program,
        link_us=LINK_US,
        world=fixed_world(LINK_US, fsync_us=0),
        before=move,
        **TIMING,
    )
    return right[0]


def _node_and_distance(column: Column, place: Place, region: str, leader: int) -> tuple[int, int]:
    """The node that a client of this region asks, and the one-way delay to it."""
    own = next(node for node, at in place.items() if at == region)
    node = leader if column.leads else own
    return node, rtt_us(region, place[node]) // 2


def latencies_us(settings: Settings, column: Column) -> dict[str, float | None]:
    """The median latency of an idle client of each region."""
    found: dict[str, list[int]] = {region: [] for region in REGIONS}

    def work(script: Script, place: Place, settled: Answered) -> Program:
        for client, region in enumerate(REGIONS, 2):
            node, distance_us = _node_and_distance(column, place, region, settled.node)
            for number in range(REPEATS):
                operation = write(f"{region}{number}", number)
                answer = yield Ask(
                    client, node, operation, operation_timeout_us(settings, LINK_US), distance_us
                )
                if answer.ok:
                    found[region].append(answer.latency_us)
                yield Sleep(heartbeat_us(settings, LINK_US))

    on_map(settings, column, work)
    return {region: median(values) if values else None for region, values in found.items()}


def loaded_us(settings: Settings, column: Column, share: int) -> list[int]:
    """The latencies of all clients; `share` percent of their commands go to one key."""
    found: list[int] = []

    def client(number: int, node: int, distance_us: int) -> Callable[[Script], Program]:
        random = Random(f"{settings.seed}:{share}:{number}")

        def program(_: Script) -> Program:
            for count in range(COMMANDS_EACH):
                hot = random.random() * 100 < share
                operation = write("hot" if hot else f"own{number}", count)
                answer = yield Ask(
                    number, node, operation, operation_timeout_us(settings, LINK_US), distance_us
                )
                if answer.ok:
                    found.append(answer.latency_us)

        return program

    def work(script: Script, place: Place, settled: Answered) -> Program:
        for number in range(CLIENTS_EACH * len(REGIONS)):
            region = REGIONS[number % len(REGIONS)]
            node, distance_us = _node_and_distance(column, place, region, settled.node)
            script.spawn(client(10 + number, node, distance_us))
            yield Sleep(7_000)

    on_map(settings, column, work)
    return sorted(found)


# ------------------------------------------------------------------------------- what is shown


def _row(settings: Settings, region: str, idle: dict[str, dict[str, float | None]]) -> Row:
    figures = {}
    for column in settings.columns:
        found = idle[column.target][region]
        source = f"from the published distances; {_says(column)}"
        figures[column.target] = Figure(
            measured=None if found is None else round(found / 1000),
            expected=Expectation(round(expected_us(column, region) / 1000), source),
            tolerance=TOLERANCE_MS[settings.on],
        )
    return Row(id=f"regions.{region.lower()}", label=region, unit="ms", digits=0, figures=figures)


def _says(column: Column) -> str:
    size, leader = phase2_size(column), leader_region(column)
    if leader is not None:
        return f"to the leader in {leader}, and from there to the nearest {size - 1}"
    twice = "twice " if column.target == "basic-paxos" else ""
    return f"{twice}to the nearest {size - 1} of the others"


def _leaders(settings: Settings) -> Detail:
    rows: list[list[str | float | None]] = [
        [
            column.title,
            leader_region(column) or "none: clients ask their own node",
            phase2_size(column),
        ]
        for column in settings.columns
    ]
    head = ("protocol", "leader in", "nodes that decide")
    return Detail(id="regions.leaders", title="Who leads where", head=head, rows=rows)


def _tail(values: Sequence[int]) -> float:
    return quantile(values, TAIL)


Busy: TypeAlias = dict[tuple[str, int], list[int]]
"""Latencies in microseconds, sorted, by target and share."""


def _curve(columns: Sequence[Column], busy: Busy, shares: Sequence[int], what: str) -> Detail:
    of: Callable[[Sequence[int]], float] = mean if what == "mean" else _tail
    rows: list[list[str | float | None]] = [
        [share, *(round(of(busy[column.target, share]) / 1000) for column in columns)]
        for share in shares
    ]
    title = "Mean latency" if what == "mean" else f"{TAIL}th percentile latency"
    return Detail(
        id=f"regions.{what}",
        title=f"{title}, ms, all regions, {CLIENTS_EACH} clients in each",
        head=("to one key %", *(column.title for column in columns)),
        rows=rows,
        curve="linear",
    )


def _crossings(columns: Sequence[Column], busy: Busy, shares: Sequence[int]) -> list[Row]:
    """With how many commands to one key EPaxos is no faster than Multi-Paxos any more."""
    if not {"epaxos", "multi-paxos"} <= {column.target for column in columns}:
        return []
    rows = []
    for what, of in (("mean", mean), ("tail", _tail)):
        crossed = crossing(
            [(share, float(of(busy["epaxos", share]))) for share in shares],
            [(share, float(of(busy["multi-paxos", share]))) for share in shares],
        )
        by = "mean" if what == "mean" else f"p{TAIL}"
        label = f"EPaxos faster, {by}, %"
        title = f"EPaxos is faster up to this share of conflicting commands, % ({by})"
        figures = {"epaxos": Figure(measured=None if crossed is None else round(crossed))}
        rows.append(
            Row(
                id=f"regions.wins-{what}",
                label=label,
                title=title,
                unit="% to one key",
                figures=figures,
            )
        )
    return rows


def crossing(
    ours: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]
) -> float | None:
    """Where the first line crosses the second from below, by linear interpolation; None:
    nowhere."""
    gaps = [(x, y - other) for (x, y), (_, other) in zip(ours, others, strict=True)]
    if gaps[0][1] >= 0:
        return gaps[0][0]
    for (x0, gap0), (x1, gap1) in itertools.pairwise(gaps):
        if gap1 >= 0:
            return x0 + (x1 - x0) * gap0 / (gap0 - gap1)
    return None
