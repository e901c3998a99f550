"""Properties of Basic Paxos that must hold in every run, step by step and under timed chaos."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from node_image.protocols.basic_paxos import BasicPaxos
from node_image.protocols.interface import Command
from tests.node_image.cluster import Network, World
from tests.node_image.interleaving import STEPS, Steps, random_steps, step
from tests.node_image.paxos_invariants import BookedInterleaving, VoteBook
from tests.node_image.random_faults import Chaos


class BasicInterleaving(BookedInterleaving):
    """A majority decides in every round, and no round is fast."""

    def __init__(self, protocol: type[Any], nodes: int) -> None:
        self.book = VoteBook(lambda _: nodes // 2 + 1, lambda _: False)
        super().__init__(protocol, nodes, snapshot_every=3)


def interleave(protocol: type[Any], steps: Steps, nodes: int) -> BasicInterleaving:
    world = BasicInterleaving(protocol, nodes)
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world


@settings(max_examples=120, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.sampled_from([1, 2, 3, 5]))
def test_invariants_of_the_synod_under_any_interleaving(steps: Steps, nodes: int) -> None:
    interleave(BasicPaxos, steps, nodes)


MANY_DELIVERED = (*STEPS, *("deliver",) * 8)


def long_run(seed: int) -> Steps:
    return random_steps(Random(seed), 250, names=MANY_DELIVERED, count_max=20)


def test_interleavings_make_progress() -> None:
    """The property above would hold of a protocol that does nothing."""
    worlds = [interleave(BasicPaxos, long_run(seed), 3) for seed in range(30)]
    assert sum(len(world.decided) for world in worlds) > 30
    assert sum(len(votes) > 1 for w in worlds for votes in w.book.votes.values()) > 10, "duels"


@pytest.mark.parametrize("mutant", ["B1", "B6", "B8", "B10"])
def test_interleavings_find_the_mutants(mutant: str) -> None:
    """Nor would it be worth much if these passed it."""
    protocol = protocol_class("basic-paxos", mutant)

    def fails(seed: int) -> bool:
        try:
            interleave(protocol, long_run(seed), 3)
        except AssertionError:
            return True
        return False

    assert any(fails(seed) for seed in range(60))


@pytest.mark.parametrize("seed", range(6))
def test_all_nodes_agree_after_random_faults(seed: int) -> None:
    network = Network(loss=0.05, duplication=0.1, delay_us=(200, 8_000))
    world = World(BasicPaxos, nodes=5, seed=seed, network=network, snapshot_every=25)
    chaos = Chaos(world, seed)
    chaos.run(3_000_000)
    chaos.heal()
    assert chaos.check() == []
    assert len({host.process.status().applied for host in world.hosts.values()}) == 1
    assert write(world, 1, client=9_000)


def write(world: World, node: int, *, client: int, limit_us: int = 3_000_000) -> bool:
    """A new write is answered at this node, within the limit."""
    world.request(node, Command(client, 1, "write", "y", 1))
    world.run_until(lambda: (client, 1) in world.replies, limit_us)
    return world.replies[client, 1][-1][1].error is None


def load(world: World, commands: int, *, gap_us: int = 1_000) -> None:
    """Send to every node in turn, one command every `gap_us`."""
    nodes = world.config.nodes
    for i in range(commands):
        world.request(nodes[i % len(nodes)], Command(100 + i, 1, "write", "x", i))
        world.run(gap_us)


def answered(world: World) -> int:
    return sum(answers[-1][1].error is None for answers in world.replies.values())


def test_all_proposers_at_once_make_progress() -> None:
    world = World(BasicPaxos, nodes=5, seed=1)
    load(world, 50)
    world.run(2_000_000)
    assert answered(world) == 50
    assert world.conflicts == []


def test_without_back_off_competing_proposers_livelock() -> None:
    """The livelock that the paper avoids by choosing a distinguished proposer; safety holds."""
    network = Network(delay_us=(500, 500), sync_us=(100, 100))
    world = World(BasicPaxos, nodes=5, seed=1, network=network, options={"backoff": False})
    load(world, 5, gap_us=300)
    world.run(2_000_000)
    duelling = answered(world)
    assert world.conflicts == []
    again = World(BasicPaxos, nodes=5, seed=1, network=network)
    load(again, 5, gap_us=300)
    again.run(2_000_000)
    assert duelling < 5 == answered(again)


def test_disk_and_memory_stay_bounded() -> None:
    world = World(BasicPaxos, nodes=3, seed=2, snapshot_every=20)
    load(world, 300, gap_us=8_000)
    world.run(500_000)
    assert answered(world) == 300
    for host in world.hosts.values():
        assert len(host.durable) < 100
        assert len(host.process.log.entries) <= 40
        assert len(host.process.promises.ballots) <= 2
        assert not host.process.clients.waiting


def test_a_node_that_was_down_catches_up_from_log_and_from_snapshot() -> None:
    for snapshot_every in (1_000, 20):
        world = World(BasicPaxos, nodes=3, seed=3, snapshot_every=snapshot_every)
        world.crash(3)
        load(world, 90, gap_us=8_000)
        world.boot(3)
        world.run(1_000_000)
        applied = {host.process.status().applied for host in world.hosts.values()}
        assert len(applied) == 1
        assert write(world, 3, client=9_000)
        assert world.conflicts == []


def test_a_minority_waits_and_continues_when_it_is_healed() -> None:
    world = World(BasicPaxos, nodes=5, seed=4)
    world.network.cut = {(a, b) for a in (1, 2) for b in (3, 4, 5)}
    world.network.cut |= {(b, a) for a, b in world.network.cut}
    assert write(world, 4, client=1)
    world.request(1, Command(2, 1, "write", "y", 2))
    world.run(500_000)
    assert (2, 1) not in world.replies
    world.network.cut = set()
    world.run_until(lambda: (2, 1) in world.replies, 3_000_000)
    assert world.replies[2, 1][-1][1].error is None


def test_learner_follows_from_scratch() -> None:
    world = World(BasicPaxos, nodes=4, seed=5, learners=(4,), snapshot_every=20)
    for i in range(60):
        assert write(world, 1 + i % 3, client=10 + i)
    world.run(1_000_000)
    assert world.hosts[4].process.status().applied == world.hosts[1].process.status().applied
    assert world.hosts[4].process.status().role == "learner"
