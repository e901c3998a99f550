"""Cell 7: what each protocol survives.

Nodes are killed one after another, and after each crash clients ask the remaining nodes, for the
time of several elections. In one variant the leader is killed first (`any`), in the other it is
spared until the end (`spared`). No node is restarted. Then the node that was asked (the leader, if
there is one) crashes during a write, when its messages are in flight, and the time until that key
is served again is measured.
"""

from __future__ import annotations

from typing import Final

from harness.bench.compare.clusters import (
    FSYNC_US,
    election_us,
    operation_timeout_us,
    read,
    settle,
    write,
)
from harness.bench.compare.columns import Column
from harness.bench.compare.containers import perform
from harness.bench.compare.cuts import killed
from harness.bench.compare.result import Figure, Row, Section
from harness.bench.compare.script import (
    Answered,
    Ask,
    Program,
    Script,
    ask_until,
    put,
)
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected

CLIENT: Final = 2
ELECTIONS: Final = 12

TEXT: Final = (
    "How many nodes may be dead? They are killed one at a time, none comes back, and clients ask "
    "the others. In the first line of each pair it is always the leader that dies, in the second "
    "the leader is spared.",
    "A cluster survives the loss of any minority. Flexible Paxos with a small "
    "Phase 2 quorum survives more deaths as long as its leader lives, and fewer once a leader "
    "has to be elected. Two-phase commit stops writing with the first death, and every node that "
    "is left may still be read: its state cannot change.",
    "The last line is the difference that consensus makes. The node that was asked dies in the "
    "middle of a write. In every variant of Paxos, and in Raft, a majority of the others can "
    "find out what may have been decided, and goes on after an election (or at once, where "
    "no leader has to be elected). In two-phase commit the decision is on one disk: those that "
    "voted yes may neither commit nor abort, and hold their locks for as long as the coordinator "
    "is away.",
)


def measure(settings: Settings) -> Section:
    """The cell."""
    deaths = {
        (column.target, spared): deaths_survived(settings, column, spared=spared)
        for column in settings.columns
        for spared in (False, True)
    }
    rows = [
        Row(
            id=f"survival.{what}-{'spared' if spared else 'any'}",
            label=f"{what}s, {'leader spared' if spared else 'any node dies'}",
            unit="dead nodes",
            digits=0,
            figures={
                column.target: Figure(
                    measured=deaths[column.target, spared][what == "read"],
                    expected=expected(
                        f"survival.{what}-{'spared' if spared else 'any'}",
                        column.target,
                        settings.nodes,
                    ),
                )
                for column in settings.columns
            },
        )
        for what in ("write", "read")
        for spared in (False, True)
    ]
    return Section(
        id="survival",
        title="What each survives",
        text=TEXT,
        rows=[*rows, _mid_write(settings)],
    )


def deaths_survived(settings: Settings, column: Column, *, spared: bool) -> tuple[int, int]:
    """After how many crashes writes, and reads, were still answered."""
    link_us = settings.delay_us
    cluster = list(range(1, settings.nodes + 1))
    found = {"write": 0, "read": 0}

    def client(script: Script) -> Program:
        settled: Answered = yield from settle(script, settings, column, link_us)
        alive, alive_for = list(cluster), {"write": True, "read": True}
        leader = script.world.leader() or settled.node
        for dead in range(1, settings.nodes):
            victim = next(n for n in alive if (n == leader) != spared)
            yield from put(killed(f"k{dead}", victim))
            alive.remove(victim)
            for what, operation in (("write", write("k", dead)), ("read", read("warm-up"))):
                if alive_for[what]:
                    ask = Ask(CLIENT, alive[0], operation, operation_timeout_us(settings, link_us))
                    limit_us = ELECTIONS * election_us(settings, link_us)
                    answer = yield from ask_until(script, ask, alive, within_us=limit_us)
                    alive_for[what] = answer.ok
                    found[what] += answer.ok
                    leader = _leader(script, alive, answer, leader)
            if not any(alive_for.values()):
                return

    perform(settings, column, client, link_us=link_us, delayed=False)
    return found["write"], found["read"]


def _leader(script: Script, alive: list[int], answer: Answered, before: int) -> int:
    """The next node to kill: the leader, or the node that answered last, or any living one."""
    for node in (script.world.leader(), answer.node if answer.ok else None, before):
        if node in alive:
            return node
    return alive[0]


def _mid_write(settings: Settings) -> Row:
    figures = {
        column.target: Figure(
            measured=interruption(settings, column),
            expected=expected("survival.mid-write", column.target, settings.nodes),
            tolerance=1.0,
        )
        for column in settings.columns
    }
    return Row(
        id="survival.mid-write",
        label="back after mid-write",
        title="recovery after a crash during a write, in election timeouts",
        unit="election timeouts",
        figures=figures,
    )


def interruption(settings: Settings, column: Column) -> float | None:
    """How long, in election timeouts, the key of a write was not served after the death of the
    node that had just asked the others for it; None: for as long as was waited."""
    link_us = settings.delay_us
    found: list[float] = []

    def client(script: Script) -> Program:
        settled: Answered = yield from settle(script, settings, column, link_us)
        yield Ask(CLIENT, settled.node, write("k", 1), FSYNC_US + link_us + link_us // 2)
        yield from put(killed("dead", settled.node))
        died_us = script.now_us
        others = [n for n in range(1, settings.nodes + 1) if n != settled.node]
        served_us = died_us
        for operation in (read("k"), write("k", 2)):
            ask = Ask(CLIENT + 1, others[0], operation, operation_timeout_us(settings, link_us))
            limit_us = ELECTIONS * election_us(settings, link_us)
            answer = yield from ask_until(script, ask, others, within_us=limit_us)
            if not answer.ok:
                return
            served_us = script.now_us
        found.append((served_us - died_us) / election_us(settings, link_us))

    perform(settings, column, client, link_us=link_us)
    return round(found[0], 2) if found else None
