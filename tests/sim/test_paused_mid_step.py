"""A process that is paused in the middle of a step finishes it before it does anything else."""

from __future__ import annotations

from heapq import heappop

from harness.run.config import RunConfig
from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.event_queue import EFFECTS
from harness.runtimes.sim.world import World


def test_the_rest_of_a_step_comes_before_what_was_due_at_that_very_moment() -> None:
    """Messages that one slow one had held up arrive in one microsecond, with the sequence of their
    sending. (Found in a sweep of Raft: a node seemed to apply slot 1148 after slot 1155.)"""
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
