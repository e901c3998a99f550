"""Properties of Fast Paxos that must hold in every run, step by step and under timed chaos."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from node_image.protocols import fast_paxos_messages as f
from node_image.protocols.fast_paxos import FastPaxos
from node_image.protocols.fast_paxos_rounds import is_fast
from node_image.protocols.interface import Command
from node_image.protocols.quorums import FastMajority
from tests.node_image.cluster import Network, World
from tests.node_image.interleaving import STEPS, Steps, random_steps, step
from tests.node_image.paxos_invariants import BookedInterleaving, VoteBook
from tests.node_image.random_faults import Chaos


class FastInterleaving(BookedInterleaving):
    """Three quarters decide in a fast round, a majority in a classic one."""

    def __init__(self, protocol: type[Any], nodes: int) -> None:
        sizes = FastMajority(tuple(range(1, nodes + 1)))
        self.book = VoteBook(lambda r: sizes.fast_size if is_fast(r) else sizes.q2, is_fast)
        super().__init__(protocol, nodes, snapshot_every=5)

    def settle(self) -> None:
        """Deliver everything, in order, until a coordinator has opened its fast rounds."""
        self.fire(0, 0)
        for _ in range(60):
            if any(process.slots.any.ballot.round > 0 for process in self.process.values()):
                break
            for node in self.config.nodes:
                self.sync(node - 1, 0)
            self.deliver(0, len(self.flying))


def interleave(protocol: type[Any], steps: Steps, nodes: int) -> FastInterleaving:
    world = FastInterleaving(protocol, nodes)
    world.settle()
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world


@settings(max_examples=120, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.sampled_from([1, 3, 4, 5]))
def test_invariants_of_both_rounds_under_any_interleaving(steps: Steps, nodes: int) -> None:
    interleave(FastPaxos, steps, nodes)


MANY_DELIVERED = (*STEPS, *("deliver",) * 8)


def long_run(seed: int) -> Steps:
    return random_steps(Random(seed), 250, names=MANY_DELIVERED, count_max=20)


def test_interleavings_make_progress() -> None:
    """The property above would hold of a protocol that does nothing."""
    worlds = [interleave(FastPaxos, long_run(seed), 4) for seed in range(30)]
    rounds = [votes for world in worlds for votes in world.book.votes.values()]
    assert sum(len(world.decided) for world in worlds) > 100
    assert sum(any(is_fast(r) for r in votes) for votes in rounds) > 100
    assert sum(len(votes) > 1 for votes in rounds) > 100, "recoveries"


@pytest.mark.parametrize("mutant", ["Q1", "Q2", "Q4", "Q5", "Q6", "B1", "B6"])
def test_interleavings_find_the_mutants(mutant: str) -> None:
    """Nor would it be worth much if these passed it."""
    protocol = protocol_class("fast-paxos", mutant)

    def fails(seed: int) -> bool:
        try:
            interleave(protocol, long_run(seed), 5)
        except AssertionError:
            return True
        return False

    assert any(fails(seed) for seed in range(100))


@pytest.mark.parametrize("seed", range(6))
def test_all_nodes_agree_after_random_faults(seed: int) -> None:
    network = Network(loss=0.05, duplication=0.1, delay_us=(200, 8_000))
    world = World(FastPaxos, nodes=5, seed=seed, network=network, snapshot_every=25)
    chaos = Chaos(world, seed)
    chaos.run(3_000_000)
    chaos.heal()
    assert chaos.check() == []
    assert len({host.process.status().applied for host in world.hosts.values()}) == 1
    assert write(world, 1, client=9_000)


def counted(world: World, what: str) -> int:
    alive = [host.process for host in world.hosts.values() if host.process is not None]
    return sum(process.counters.get(what, 0) for process in alive)


def fast_world(**more: Any) -> World:
    """A cluster with a coordinator, whose fast rounds are open everywhere."""
    world = World(FastPaxos, **more)
    world.run_until(
        lambda: all(host.process.slots.any.ballot.round > 0 for host in world.hosts.values())
    )
    return world


def write(world: World, node: int, *, client: int, limit_us: int = 3_000_000) -> bool:
    """A new write is answered at this node, within the limit."""
    world.request(node, Command(client, 1, "write", "y", 1))
    world.run_until(lambda: (client, 1) in world.replies, limit_us)
    return world.replies[client, 1][-1][1].error is None


def load(world: World, commands: int, *, gap_us: int) -> None:
    nodes = world.config.voters
    for i in range(commands):
        world.request(nodes[i % len(nodes)], Command(100 + i, 1, "write", "x", i))
        world.run(gap_us)


def answered(world: World) -> int:
    return sum(answers[-1][1].error is None for answers in world.replies.values())


def test_one_command_at_a_time_takes_two_delays() -> None:
    """Propose, vote, done: the answer needs no third message."""
    network = Network(delay_us=(1_000, 1_000), sync_us=(100, 100))
    world = fast_world(nodes=5, seed=1, network=network)
    follower = next(n for n in world.config.nodes if n != world.leader())
    asked = world.now
    assert write(world, follower, client=1)
    assert world.now - asked == 2_100
    assert counted(world, "path.classic") == 0


def test_all_proposers_at_once_collide_recover_and_lose_nothing() -> None:
    world = fast_world(nodes=5, seed=1)
    load(world, 50, gap_us=100)
    world.run(2_000_000)
    assert answered(world) == 50
    assert world.conflicts == []
    assert counted(world, "recoveries") > 0


def test_contention_falls_back_to_classic_rounds_and_returns() -> None:
    world = fast_world(nodes=5, seed=2)
    load(world, 1_500, gap_us=200)
    assert counted(world, "fast.closed") > 0
    assert counted(world, "path.classic") > counted(world, "path.fast")
    opened = counted(world, "fast.opened")
    world.run_until(lambda: counted(world, "fast.opened") > opened, 10_000_000)
    before = counted(world, "path.fast")
    assert write(world, 3, client=9_000)
    assert counted(world, "path.fast") > before
    assert world.conflicts == []


@pytest.mark.parametrize("nodes", [3, 5])
def test_without_a_fast_quorum_classic_rounds_are_used(nodes: int) -> None:
    world = fast_world(nodes=nodes, seed=3)
    leader = world.leader()
    others = [n for n in world.config.nodes if n != leader]
    for node in others[: nodes // 2]:
        world.crash(node)
    for i in range(20):
        assert write(world, others[-1], client=10 + i)
        world.run(50_000)
    assert counted(world, "path.classic") > 0
    assert world.conflicts == []


def test_coordinator_is_replaced_and_nothing_acknowledged_is_lost() -> None:
    world = fast_world(nodes=5, seed=4)
    load(world, 20, gap_us=2_000)
    first = world.leader()
    assert first is not None
    world.crash(first)
    survivor = next(n for n in world.config.nodes if n != first)
    assert write(world, survivor, client=9_000, limit_us=5_000_000)
    acknowledged = {key for key, replies in world.replies.items() if replies[-1][1].error is None}
    world.boot(first)
    world.run(2_000_000)
    decided = {c[:2] for values in world.decided.values() for value in values for c in value}
    assert acknowledged <= decided
    assert world.conflicts == []


def test_restarted_acceptor_votes_fast_again() -> None:
    world = fast_world(nodes=3, seed=5)
    node = next(n for n in world.config.nodes if n != world.leader())
    world.crash(node)
    world.boot(node)
    world.run_until(lambda: world.hosts[node].process.slots.any.ballot.round > 0)
    before = counted(world, "path.fast")
    assert write(world, node, client=1)
    world.run(50_000)
    assert counted(world, "path.fast") > before


def test_lost_proposals_are_repaired() -> None:
    world = fast_world(nodes=5, seed=6)
    lost = []

    def lose_one_propose(sender: int, to: int, message: Any) -> bool:
        if isinstance(message, f.Propose) and len(lost) < 3:
            lost.append(to)
            return True
        return False

    world.intercept = lose_one_propose
    assert write(world, 2, client=1)
    assert len(lost) == 3
    assert world.conflicts == []


def test_disk_and_memory_stay_bounded() -> None:
    world = fast_world(nodes=5, seed=7, snapshot_every=20)
    load(world, 400, gap_us=1_000)
    world.run(1_000_000)
    assert answered(world) == 400
    for host in world.hosts.values():
        process = host.process
        assert len(host.durable) < 100
        assert len(process.log.entries) <= 40
        held = (
            process.slots.tallies,
            process.slots.in_flight,
            process.tally.votes,
            process.learned.waiting,
        )
        assert not any(held)
        assert not process.clients.waiting
        assert not process.proposer._arrivals


def test_a_node_that_was_down_catches_up_from_log_and_from_snapshot() -> None:
    for snapshot_every in (1_000, 20):
        world = fast_world(nodes=5, seed=8, snapshot_every=snapshot_every)
        away = next(n for n in world.config.nodes if n != world.leader())
        world.crash(away)
        present = [n for n in world.config.nodes if n != away]
        for i in range(60):
            assert write(world, present[i % 4], client=10 + i)
        world.boot(away)
        world.run(1_000_000)
        assert len({host.process.status().applied for host in world.hosts.values()}) == 1
        assert world.conflicts == []


def test_learner_follows_from_scratch() -> None:
    world = fast_world(nodes=4, seed=9, learners=(4,), snapshot_every=20)
    load(world, 60, gap_us=2_000)
    world.run(1_000_000)
    assert world.hosts[4].process.status().applied == world.hosts[1].process.status().applied
