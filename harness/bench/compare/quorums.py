"""Cell 3: how many acceptors each phase needs, determined by cutting them off one at a time.

Phase 2 is tried with a leader in place: acceptors are cut off one after another, and after each cut
a client writes, until it gets no answer before an election could begin. The node that it asks and
the leader stay connected.

Phase 1 is tried on fresh clusters in which only a given number of nodes is connected from the
start: one of them must become leader. In Basic Paxos, without a leader, a proposer must reach the
point where it asks for votes. In EPaxos Phase 1 is the recovery of an instance: its owner crashes
while its PreAccepts are in flight, and a given number of the others must decide it.

Containers elect their first leader before anything can be cut. There Phase 1 is tried without that
leader: it is cut off, together with all but a given number of the others, which must serve a client
again. No protocol needs more acceptors to decide than to elect, so the limit is that of Phase 1.
The recovery of an EPaxos instance needs a crash at a certain time, and is tried in the simulator
only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from faults.kinds.partition import Partition
from harness.bench.compare.clusters import (
    FSYNC_US,
    election_us,
    heartbeat_us,
    settle,
    simulate,
    write,
)
from harness.bench.compare.columns import Column
from harness.bench.compare.containers import containers, perform
from harness.bench.compare.cuts import cut_off, killed
from harness.bench.compare.result import Figure, Row, Section
from harness.bench.compare.script import Answered, Ask, Program, Script, Sleep, ask_until, put
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected
from harness.runtimes.sim.runtime import SimRuntime

CLIENT: Final = 2
WITH_PHASE1: Final = (
    "basic-paxos",
    "multi-paxos",
    "flexible-paxos",
    "fast-paxos",
    "epaxos",
    "raft",
)
TRIES: Final = {"sim": 1, "docker": 3}
"""The number of writes for each number of acceptors, of which the fastest counts, since a real
machine does other work meanwhile."""
ELECTIONS: Final = 12
"""The number of election timeouts in which a cluster must elect a leader."""

TEXT: Final = (
    "How many acceptors must take part? They are cut off one at a time until a phase stops; the "
    "figure is the smallest set, the node that asks included, with which it still worked.",
    "To decide (Phase 2) most need a majority. Flexible Paxos needs only that every set that "
    "decides meets every set that elects, so it may decide with fewer and pay when it elects. "
    "Two-phase commit needs all. To decide at once, without another round trip, Fast Paxos "
    "needs three quarters of the acceptors, and EPaxos a set that is a majority in clusters of "
    "three and five and grows beyond it with more nodes.",
    "To elect (Phase 1) a new leader needs a set that meets every set that may have decided. "
    "There is no election in two-phase commit: its coordinator is never replaced.",
)


def measure(settings: Settings) -> Section:
    """The cell."""
    decide: dict[str, int | None] = {}
    fast: dict[str, int | None] = {}
    elect: dict[str, int | None] = {}
    for column in settings.columns:
        sizes = phase2(settings, column)
        decide[column.target] = min(sizes, default=None)
        if column.target in ("fast-paxos", "epaxos"):
            at_once = _undelayed(sizes, settings)
            fast[column.target] = min(at_once, default=None)
        if column.target in _phase1_tried(settings):
            elect[column.target] = phase1(settings, column)
    rows = (
        _row(settings, "quorums.decide", "to decide (Phase 2)", decide),
        _row(settings, "quorums.fast", "to decide at once", fast),
        _row(settings, "quorums.elect", "to elect (Phase 1)", elect),
    )
    return Section(
        id="quorums",
        title="Acceptors that each phase needs",
        text=TEXT,
        rows=[row for row in rows if row.figures],
    )


def _row(settings: Settings, row: str, label: str, sizes: dict[str, int | None]) -> Row:
    figures = {
        target: Figure(measured=size, expected=expected(row, target, settings.nodes))
        for target, size in sizes.items()
    }
    return Row(id=row, label=label, unit="acceptors", figures=figures, digits=0)


# ------------------------------------------------------------------------------- Phase 2


def phase2(settings: Settings, column: Column) -> dict[int, int]:
    """By how many acceptors were connected: the latency of a write, where it was answered."""
    link_us = settings.delay_us
    cluster = tuple(range(1, settings.nodes + 1))
    found: dict[int, int] = {}

    def client(script: Script) -> Program:
        settled: Answered = yield from settle(script, settings, column, link_us)
        stays = {settled.node, script.world.leader() or settled.node}
        goes = [node for node in cluster if node not in stays]
        for cut in range(len(cluster)):
            if cut > 0 and goes:
                yield from put(cut_off(f"c{cut}", (goes.pop(),), cluster))
            elif cut > 0:
                last = next(iter(stays - {settled.node}), None)
                if last is None:
                    return
                stays.discard(last)
                yield from put(cut_off(f"c{cut}", (last,), cluster))
            timeout_us = election_us(settings, link_us) * 3 // 4
            for _ in range(TRIES[settings.on]):
                answer = yield Ask(CLIENT, settled.node, write(f"k{cut}", cut), timeout_us)
                if not answer.ok:
                    return
                size, us = len(cluster) - cut, answer.latency_us
                found[size] = min(us, found.get(size, us))

    perform(settings, column, client, link_us=link_us)
    return found


def _undelayed(sizes: dict[int, int], settings: Settings) -> list[int]:
    """With how many acceptors a write took no longer than with all of them."""
    whole = sizes[max(sizes)]
    return [size for size, us in sizes.items() if us < whole + settings.delay_us // 2]


# ------------------------------------------------------------------------------- Phase 1


Trial: TypeAlias = Callable[[Settings, Column, int], bool]
"""Whether Phase 1 works with this many connected acceptors."""


def _phase1_tried(settings: Settings) -> dict[str, Trial]:
    """How Phase 1 is tried, by target, where it can be."""
    if settings.on == "sim":
        special: dict[str, Trial] = {"basic-paxos": _asks_for_votes, "epaxos": _recovers}
        return {name: special.get(name, _elects) for name in WITH_PHASE1}
    found: dict[str, Trial] = {name: _replaces_leader for name in WITH_PHASE1 if name != "epaxos"}
    return found | {"basic-paxos": _asks_for_votes_in_containers}


def phase1(settings: Settings, column: Column) -> int | None:
    """The smallest number of connected nodes of which one gets through Phase 1."""
    works = _phase1_tried(settings)[column.target]
    without_one = column.target == "epaxos" or works is _replaces_leader
    most = settings.nodes - 1 if without_one else settings.nodes
    smallest = None
    for size in range(most, 0, -1):
        if not works(settings, column, size):
            break
        smallest = size
    return smallest


def _elects(settings: Settings, column: Column, size: int) -> bool:
    """Whether a leader is elected among `size` connected nodes."""
    link_us = settings.delay_us
    leaders: list[int | None] = []

    def watch(script: Script) -> Program:
        yield from put(_all_but_the_first(settings, size))
        for _ in range(10 * ELECTIONS):
            yield Sleep(heartbeat_us(settings, link_us))
            leaders.append(script.world.leader())
            if leaders[-1] is not None:
                return

    simulate(settings, column, watch, link_us=link_us)
    return leaders[-1] is not None


def _asks_for_votes(settings: Settings, column: Column, size: int) -> bool:
    """Whether a proposer sends an Accept, with `size` acceptors connected."""

    def client(script: Script) -> Program:
        yield from put(_all_but_the_first(settings, size))
        yield Ask(CLIENT, 1, write("k", 1), election_us(settings, settings.delay_us) * 3 // 4)

    runtime = simulate(settings, column, client, link_us=settings.delay_us, traced=True)
    return bool(_sent_by(runtime, 1, "Accept"))


def _recovers(settings: Settings, column: Column, size: int) -> bool:
    """Whether others finish an instance whose owner died, with `size` of them connected."""
    link_us, owner = settings.delay_us, settings.nodes
    cluster = tuple(range(1, settings.nodes + 1))

    def client(script: Script) -> Program:
        yield Sleep(FSYNC_US + link_us // 2)
        yield from put(killed("owner", owner))
        yield from put(cut_off("cut", cluster[size:-1], cluster))
        yield Sleep(ELECTIONS * election_us(settings, link_us))

    def asks(script: Script) -> Program:
        yield Ask(CLIENT, owner, write("k", 1), link_us)

    runtime = simulate(settings, column, asks, client, link_us=link_us, traced=True)
    return any(_sent_by(runtime, node, "Commit") for node in cluster[:size])


def _replaces_leader(settings: Settings, column: Column, size: int) -> bool:
    """Whether `size` connected nodes elect a leader when the one that there was is cut off."""
    link_us = settings.delay_us
    cluster = tuple(range(1, settings.nodes + 1))
    found: list[bool] = []

    def client(script: Script) -> Program:
        settled: Answered = yield from settle(script, settings, column, link_us)
        leader = script.world.leader() or settled.node
        stay = [node for node in cluster if node != leader][:size]
        yield from put(cut_off("cut", [n for n in cluster if n not in stay], cluster))
        ask = Ask(CLIENT, stay[0], write("k", 1), election_us(settings, link_us) // 2)
        limit_us = ELECTIONS * election_us(settings, link_us)
        answer = yield from ask_until(script, ask, stay, within_us=limit_us)
        found.append(answer.ok)

    perform(settings, column, client, link_us=link_us)
    return found == [True]


def _asks_for_votes_in_containers(settings: Settings, column: Column, size: int) -> bool:
    """As `_asks_for_votes`: by what the proposer counts."""
    link_us = settings.delay_us

    def before(script: Script) -> Program:
        yield from settle(script, settings, column, link_us)
        if size < settings.nodes:
            yield from put(_all_but_the_first(settings, size))

    def client(_: Script) -> Program:
        yield Ask(CLIENT, 1, write("k", 1), election_us(settings, link_us) * 3 // 4)

    with containers(settings, column, link_us=link_us) as cluster:
        cluster.delay(link_us, clients=False)
        cluster.drive(before)
        sent = cluster.counters()["sent.Accept"]
        cluster.drive(client)
        return cluster.counters()["sent.Accept"] > sent


def _sent_by(runtime: SimRuntime, node: int, kind: str) -> int:
    assert runtime.record is not None
    return sum(
        1
        for message in runtime.record.messages
        if message.source == node and type(message.message).__name__ == kind
    )


def _all_but_the_first(settings: Settings, size: int) -> Partition:
    """All but the first `size` nodes are cut off."""
    cluster = tuple(range(1, settings.nodes + 1))
    return cut_off("cut", cluster[size:], cluster)
