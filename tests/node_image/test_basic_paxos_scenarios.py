"""Aimed schedules: the few steps that turn a missing safeguard into two decided values.

For planted bugs of Basic Paxos that random faults seldom find. Each schedule is executed by whole
replicas over the small world, and the correct protocol must pass it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import basic_paxos_messages as m
from node_image.protocols.interface import Command
from tests.node_image.cluster import Network, World

SLOW_DISK = Network(delay_us=(100, 100), sync_us=(400, 400))
EVEN = Network(delay_us=(200, 200), sync_us=(100, 100))
Link = tuple[int, int]


def world_of(protocol: type[Any], nodes: int, network: Network) -> World:
    network = Network(delay_us=network.delay_us, sync_us=network.sync_us)
    world = World(protocol, nodes=nodes, seed=1, network=network, retry_us=50_000)
    world.run(1_000)
    return world


def ask(world: World, node: int, client: int) -> None:
    world.request(node, Command(client, 1, "write", "x", client))


def lose(world: World, kind: type[Any], links: set[Link]) -> list[tuple[Link, Any]]:
    """From now on messages of this kind on these links are lost; they are kept in the list."""
    lost: list[tuple[Link, Any]] = []
    before = world.intercept

    def intercept(sender: int, to: int, message: Any) -> bool:
        if isinstance(message, kind) and (sender, to) in links:
            lost.append(((sender, to), message))
            return True
        return before is not None and before(sender, to, message)

    world.intercept = intercept
    return lost


def has_vote(world: World, node: int) -> bool:
    return bool(world.hosts[node].process.log.entries.get(1))


def ballot_used_again(world: World) -> None:
    """Node 2 votes for node 1's proposal from before its crash; node 1 knows nothing of it after
    its restart, and with node 3's promise proposes something else."""
    lose(world, m.Accept, {(1, 3)})
    ask(world, 1, client=1)
    world.run_until(lambda: has_vote(world, 2))
    world.crash(1, keep=0)
    world.run(10_000)
    world.intercept = None
    lose(world, m.Promise, {(2, 1)})
    world.boot(1)
    ask(world, 1, client=2)
    world.run(500_000)


def vote_replaced_by_a_lower_one(world: World) -> None:
    """Nodes 2, 3 and 5 choose node 3's value. Then an old Accept of node 1 reaches node 2, which
    never promised node 3's ballot but voted in it; and node 1 asks 2 and 4 again."""
    lose(world, m.Prepare, {(1, 3), (1, 5)})
    late = lose(world, m.Accept, {(1, n) for n in (2, 3, 4, 5)})
    ask(world, 1, client=1)
    world.run_until(lambda: len(late) >= 4)
    lose(world, m.Prepare, {(3, 1), (3, 2)})
    lose(world, m.Accept, {(3, 1), (3, 4)})
    lose(world, m.Learn, {(3, n) for n in (1, 2, 4, 5)})
    lose(world, m.Known, {(a, b) for a in range(1, 6) for b in range(1, 6)})
    ask(world, 3, client=3)
    world.run_until(lambda: world.hosts[3].process.status().applied == 1)
    world._arrive(2, 1, next(message for link, message in late if link == (1, 2)))
    world.run(1_000)
    world.intercept = None
    world.network.cut = {(a, b) for a in (3, 5) for b in (1, 2, 4)}
    world.network.cut |= {(b, a) for a, b in world.network.cut}
    world.run(500_000)


SCHEDULES: dict[str, tuple[Callable[[World], None], int, Network]] = {
    "B7": (ballot_used_again, 3, SLOW_DISK),
    "B12": (vote_replaced_by_a_lower_one, 5, EVEN),
}


@pytest.mark.parametrize("mutant", sorted(SCHEDULES))
def test_schedule_breaks_the_mutant_and_not_the_protocol(mutant: str) -> None:
    schedule, nodes, network = SCHEDULES[mutant]
    correct = world_of(protocol_class("basic-paxos"), nodes, network)
    schedule(correct)
    assert correct.conflicts == []
    assert correct.decided
    broken = world_of(protocol_class("basic-paxos", mutant), nodes, network)
    schedule(broken)
    assert broken.conflicts
