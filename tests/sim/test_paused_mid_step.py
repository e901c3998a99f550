"""A process that is paused in the middle of a step finishes it before it does anything else."""

from __future__ import annotations

from heapq import heappop

from harness.run.config import RunConfig
from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.event_queue import EFFECTS
from harness.runtimes.sim.world import World


def test_the_rest_of_a_step_precedes_events_due_at_the_same_time() -> None:
    """Messages that were queued behind a slow one arrive in the same microsecond, in the order in
    which they were sent. (Found in a sweep of Raft: a node seemed to apply slot 1148 after slot
    1155.)"""
    world = World(RunConfig.of(target="raft", nodes=3, on="sim"), WorldConfig())
    node, processes, entries = world.nodes[2], world.processes, world.queue.entries
    entries.clear()
    early = world.queue.sequence()
    world.time.now_us = 700
    node.up, node.paused, node.running = True, True, False
    processes.interrupt_step(node, [])
    processes.stash[2].append((700, early, 1, node, ("a message",), 0))
    world.time.now_us = 900
    processes.resume(node)
    assert [heappop(entries)[2] for _ in range(2)] == [EFFECTS, 1]
