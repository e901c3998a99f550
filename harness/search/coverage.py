"""How often a simulated run reached states in which bugs are likely.

A valid verdict means little for code that never ran. A sweep counts how often each of these states
was reached, and in how many seeds; a state that was never reached was not tested.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.world import World

NOTES: Final = {
    "leading": "leaders elected",
    "snapshot": "snapshots taken",
    "snapshot-installed": "snapshots installed",
}
RECOVERIES: Final = "recoveries of others' values"
COUNTERS: Final = {
    "received.Entries": "catch-ups",
    "repairs": "catch-ups",
    "recoveries": RECOVERIES,
    "values.adopted": RECOVERIES,
}
"""The names of the protocols' notes and counters. A newly elected leader also recovers the slots
that it finds `open`."""

DECIDED: Final = "values decided"
BATCHES: Final = "batches decided"
RESTARTS: Final = "restarts from disk"
EVICTIONS: Final = "sessions evicted"
REACHED: Final = (
    DECIDED,
    BATCHES,
    *dict.fromkeys(NOTES.values()),
    *dict.fromkeys(COUNTERS.values()),
    RESTARTS,
    EVICTIONS,
)


def reached(world: World) -> dict[str, int]:
    """How often each of `REACHED` happened in a run. Values and batches are those of the node that
    applied most; the others are summed over all nodes."""
    counts: Counter[str] = Counter()
    nodes = list(world.nodes.values())
    for node in nodes:
        counts.update(NOTES[note.what] for _, note in node.notes if note.what in NOTES)
        counts[RECOVERIES] += sum(
            note.about.get("open", 0) for _, note in node.notes if note.what == "leading"
        )
        for name, reached_by in COUNTERS.items():
            counts[reached_by] += counter_of(node, name)
    counts[RESTARTS] = sum(
        event.what == "start" and event.about.get("recovered", 0) > 0
        for event in world.processes.events
    )
    most = max(nodes, key=lambda node: len(node.decided))
    counts[DECIDED] = len(most.decided)
    counts[BATCHES] = sum(len(decided[2]) > 1 for decided in most.decided)
    clients: dict[Any, None] = {c[0]: None for decided in most.decided for c in decided[2]}
    clients.pop(0, None)
    counts[EVICTIONS] = max(0, len(clients) - world.sessions_max)
    return {name: counts[name] for name in REACHED}


def counter_of(node: SimNode, name: str) -> int:
    """A protocol's counter over all lives of the node's process."""
    now = node.protocol.counters.get(name, 0) if node.protocol is not None else 0
    return node.counters.get(name, 0) + now
