"""Cell 5: the cost of conflicting commands in Fast Paxos and EPaxos.

Rounds of commands from clients at their nodes, over links whose delays vary by half. In some rounds
a single client sends a command; in the others two clients at different nodes send commands for the
same key at the same time. These commands conflict, and their share is the horizontal axis. Between
rounds the cluster becomes idle.

    fast path   of the values decided, those decided without a second round of votes, as the nodes
                count them: slots of Fast Paxos (a loser that is proposed again is one more), and
                instances of EPaxos
    commit      from the client's request until its command is decided: when the owner of the
                instance sends its Commit (EPaxos)
    answer      until the client is answered, which is when the command has been executed

As a control, EPaxos once more with two clients at the same moment, but on different keys.

In containers the two requests of a pair leave the controller a fraction of a millisecond apart, far
less than a link's delay; when a Commit is sent is known in the simulator only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

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
from harness.bench.compare.theory import expected
from harness.bench.stats import quantile
from harness.runtimes.sim.run_record import Message
from harness.runtimes.sim.runtime import SimRuntime

SHARES: Final = (0, 10, 25, 50, 75, 100)
"""Of the commands, in percent, how many conflict."""
COMMANDS: Final = {"sim": 400, "docker": 60}
"""Real time passes in containers."""
TARGETS: Final = ("fast-paxos", "epaxos")
REST_DELAYS: Final = 15
FIRST_CLIENT: Final = 100
"""Every command has its own client: commands of one client interfere in EPaxos."""
TAIL: Final = 95
"""The percentile that represents the tail."""
TITLE: Final = "Conflicting commands"

TEXT: Final = (
    "Fast Paxos and EPaxos leave the leader out, and pay when two commands meet. Here some "
    "commands are sent alone, and the others in pairs, from two nodes at the same moment and for "
    "the same key.",
    "In Fast Paxos two proposers race for the next slot, whatever their keys: the acceptors' "
    "votes are split, and where no value can reach three quarters any more the coordinator "
    "starts a classic round. The loser is proposed again in a later slot, alone, so the share of "
    "fast slots does not fall to nothing; the loser's client waits for some seven delays. (When "
    "more than 40 of a hundred slots collide, which pairs do not reach here, the coordinator "
    "closes the fast rounds for a while, and everything goes through it as in Multi-Paxos.)",
    "In EPaxos only commands that interfere meet. Each is still decided in one round trip if its "
    "quorum saw it first, and in two if not; but a client is answered when its command is "
    "executed, and one that depends on another waits until that one is decided as well. So the "
    "commit of a conflicting command is later by a round trip at most, and its answer by more. "
    "On different keys two commands at the same moment cost nothing.",
)


@dataclass(kw_only=True)
class Run:
    """The result for one share of conflicting commands. Times in microseconds."""

    fast: int = 0
    slow: int = 0
    answers_us: list[int] = field(default_factory=list)
    commits_us: list[int] = field(default_factory=list)
    missing: int = 0

    @property
    def fast_share(self) -> float | None:
        paths = self.fast + self.slow
        return 100 * self.fast / paths if paths else None


def measure(settings: Settings, *, commands: int | None = None) -> Section:
    """The cell; only its text if neither protocol is requested."""
    commands = COMMANDS[settings.on] if commands is None else commands
    columns = [c for c in settings.columns if c.target in TARGETS]
    runs = {
        (column.target, share): run_of(settings, column, share, commands=commands)
        for column in columns
        for share in SHARES
    }
    control = {
        share: run_of(settings, column, share, commands=commands, same_key=False)
        for column in columns
        if column.target == "epaxos"
        for share in SHARES
    }
    if not columns:
        return Section(id="collisions", title=TITLE, text=TEXT)
    lines = {column.title: [runs[column.target, share] for share in SHARES] for column in columns}
    if control:
        lines["EPaxos, two keys"] = [control[share] for share in SHARES]
    details = [_curve(settings, measure, lines) for measure in MEASURES]
    if "EPaxos" in lines and settings.on == "sim":
        details.append(_commit_and_answer(settings, lines["EPaxos"]))
    rows = _rows(settings, columns, runs)
    return Section(id="collisions", title=TITLE, text=TEXT, rows=rows, details=details)


# ------------------------------------------------------------------------------- one run


def run_of(
    settings: Settings, column: Column, share: int, *, commands: int, same_key: bool = True
) -> Run:
    """Run this many commands, this share of them in pairs."""
    link_us = settings.delay_us
    found = Run()
    timeout_us = operation_timeout_us(settings, link_us)
    asked: dict[tuple[int, int], int] = {}
    """When each command was asked, by its client and value."""

    def settled(script: Script) -> Program:
        yield from settle(script, settings, column, link_us)

    def rounds(script: Script) -> Program:
        random = Random(f"{settings.seed}:{column.target}:{share}:{same_key}")
        sent = 0
        while sent < commands:
            pair = random.random() < share / (200 - share)
            nodes = random.sample(range(1, settings.nodes + 1), 2 if pair else 1)
            for place, node in enumerate(nodes):
                key = "contested" if same_key or not place else "another"
                client = FIRST_CLIENT + 2 * sent + place
                ask = Ask(client, node, write(f"{key}{sent}", sent), timeout_us)
                script.spawn(_asking(ask, found, asked))
            sent += len(nodes)
            yield Sleep(REST_DELAYS * link_us + random.randrange(heartbeat_us(settings, link_us)))

    if settings.on == "sim":
        paths, record = _simulated(settings, column, settled, rounds)
        if column.target == "epaxos":
            found.commits_us = _commits_us(record, asked)
    else:
        paths = _in_containers(settings, column, settled, rounds)
    found.fast, found.slow = (paths[name] for name in PATHS[column.target])
    return found


Make: TypeAlias = Callable[[Script], Program]


def _simulated(
    settings: Settings, column: Column, settled: Make, rounds: Make
) -> tuple[Counter[str], Sequence[Message]]:
    """What the nodes counted during the rounds, and the messages that were sent."""
    link_us = settings.delay_us
    clusters: list[SimRuntime] = []
    counted: list[Counter[str]] = []

    def both(script: Script) -> Program:
        yield from settled(script)
        counted.append(_counters(clusters[0]))
        yield from rounds(script)
        counted.append(_counters(clusters[0]))

    runtime = simulate(
        settings,
        column,
        both,
        link_us=link_us,
        traced=column.target == "epaxos",
        world=fixed_world(link_us) | {"link_min_us": link_us // 2, "link_max_us": 3 * link_us // 2},
        before=clusters.append,
    )
    return counted[1] - counted[0], runtime.record.messages if runtime.record else ()


def _in_containers(settings: Settings, column: Column, settled: Make, rounds: Make) -> Counter[str]:
    """What the nodes counted during the rounds."""
    link_us = settings.delay_us
    with containers(settings, column, link_us=link_us) as cluster:
        cluster.delay(link_us // 2, jitter_us=link_us)
        cluster.drive(settled)
        before = cluster.counters()
        cluster.drive(rounds)
        return cluster.counters() - before


def _asking(ask: Ask, found: Run, asked: dict[tuple[int, int], int]) -> Callable[[Script], Program]:
    """One command with its own client; notes the time of the request, and the result."""

    def program(script: Script) -> Program:
        asked[ask.client, ask.operation.value] = script.now_us
        answer: Answered = yield ask
        if answer.ok:
            found.answers_us.append(answer.latency_us)
        else:
            found.missing += 1

    return program


PATHS: Final = {
    "fast-paxos": ("path.fast", "path.classic"),
    "epaxos": ("fast_path", "slow_path"),
}
"""The nodes' counters of values decided fast, and of those that were not."""


def _counters(runtime: SimRuntime) -> Counter[str]:
    """What all nodes have counted so far, together."""
    found: Counter[str] = Counter()
    for node in runtime.world.nodes.values():
        if node.protocol:
            found.update(node.protocol.counters)
    return found


def _commits_us(messages: Sequence[Message], asked: dict[tuple[int, int], int]) -> list[int]:
    """How long each command took until the owner of its instance sent the first Commit."""
    commands: dict[Any, list[Any]] = {}
    found: list[int] = []
    for sent in messages:
        name = type(sent.message).__name__
        if name == "PreAccept" and sent.message[0] not in commands:
            commands[sent.message[0]] = list(sent.message[1])
        elif name == "Commit":
            for command in commands.pop(sent.message[0], ()):
                began_us = asked.get((command.client, command.value))
                if began_us is not None:
                    found.append(sent.sent_us - began_us)
    return found


# ------------------------------------------------------------------------------- what is shown


def _in_delays(values_us: Sequence[int], percent: float, settings: Settings) -> float | None:
    if not values_us:
        return None
    return round(quantile(sorted(values_us), percent) / settings.delay_us, 1)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One curve over the share of conflicting commands."""

    id: str
    title: str
    of: Callable[[Run, Settings], float | None]


def _fast(run: Run, _: Settings) -> float | None:
    return None if run.fast_share is None else round(run.fast_share)


MEASURES: Final = (
    Measure(id="collisions.fast", title="Decided on the fast path, %", of=_fast),
    Measure(
        id="collisions.median",
        title="Median time until the answer, in one-way delays",
        of=lambda run, settings: _in_delays(run.answers_us, 50, settings),
    ),
    Measure(
        id="collisions.tail",
        title=f"{TAIL}th percentile latency, in one-way delays",
        of=lambda run, settings: _in_delays(run.answers_us, TAIL, settings),
    ),
)


def _curve(settings: Settings, measure: Measure, lines: dict[str, list[Run]]) -> Detail:
    rows: list[list[str | float | None]] = [
        [share, *(measure.of(runs[i], settings) for runs in lines.values())]
        for i, share in enumerate(SHARES)
    ]
    head = ("conflicting %", *lines)
    return Detail(id=measure.id, title=measure.title, head=head, rows=rows, curve="linear")


def _commit_and_answer(settings: Settings, runs: list[Run]) -> Detail:
    rows: list[list[str | float | None]] = [
        [
            share,
            _in_delays(run.commits_us, 50, settings),
            _in_delays(run.commits_us, TAIL, settings),
            _in_delays(run.answers_us, 50, settings),
            _in_delays(run.answers_us, TAIL, settings),
        ]
        for share, run in zip(SHARES, runs, strict=True)
    ]
    head = ("conflicting %", "commit p50", f"commit p{TAIL}", "answer p50", f"answer p{TAIL}")
    title = "EPaxos: committed and answered, in one-way delays"
    return Detail(id="collisions.commit", title=title, head=head, rows=rows, curve="linear")


def _rows(
    settings: Settings, columns: Sequence[Column], runs: dict[tuple[str, int], Run]
) -> list[Row]:
    shown = (
        ("collisions.alone", "fast path, no conflict", "%", SHARES[0], _fast),
        ("collisions.all", "fast path, all conflict", "%", SHARES[-1], _fast),
    )
    return [
        Row(
            id=row,
            label=label,
            unit=unit,
            digits=0,
            figures={
                column.target: Figure(
                    measured=of(runs[column.target, share], settings),
                    expected=expected(row, column.target, settings.nodes),
                )
                for column in columns
            },
        )
        for row, label, unit, share, of in shown
    ]
