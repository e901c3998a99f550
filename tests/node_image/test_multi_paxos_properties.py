"""Properties of Multi-Paxos that must hold in every run.

Two ways to get runs: Hypothesis chooses every single step (`interleaving`), or longer, timed runs
are drawn from a seed (`random_faults`)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from tests.node_image.cluster import Network, World
from tests.node_image.interleaving import Interleaving, random_steps, step
from tests.node_image.random_faults import Chaos, run_heal_and_compare

# ----------------------------------------------------------------------------- every single step


def interleave(protocol: type[Any], steps: list[tuple[str, int, int]], nodes: int) -> Interleaving:
    world = Interleaving(protocol, nodes, snapshot_every=3)
    for node in range(nodes):  # a leader to begin with, so that short runs make progress
        world.sync(node, 0)
    world.fire(0, 0)
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.sampled_from([1, 2, 3, 5]))
def test_agreement_under_any_interleaving(steps: list[tuple[str, int, int]], nodes: int) -> None:
    interleave(protocol_class("multi-paxos"), steps, nodes)


def test_interleavings_make_progress() -> None:
    """The property above would hold of a protocol that does nothing."""
    random = Random(4)
    decided = 0
    for _ in range(40):
        steps = random_steps(random, 120)
        decided += len(interleave(protocol_class("multi-paxos"), steps, 3).decided)
    assert decided > 40


# ----------------------------------------------------------------------------- timed runs


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes=st.sampled_from([3, 4, 5]),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    duplication=st.sampled_from([0.0, 0.3]),
    slowest_us=st.sampled_from([1_000, 20_000, 150_000]),
    reads=st.sampled_from(["log", "quorum", "lease"]),
    snapshot_every=st.sampled_from([10, 2_000]),
)
def test_what_clients_saw_was_possible_and_the_cluster_recovers(
    seed: int,
    nodes: int,
    loss: float,
    duplication: float,
    slowest_us: int,
    reads: str,
    snapshot_every: int,
) -> None:
    network = Network(loss=loss, duplication=duplication, delay_us=(200, slowest_us))
    world = World(
        protocol_class("multi-paxos"),
        nodes=nodes,
        seed=seed,
        network=network,
        reads=reads,
        snapshot_every=snapshot_every,
    )
    run_heal_and_compare(world, seed)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([("multi-paxos", {}), ("flexible-paxos", {"q1": 4, "q2": 2})]),
    thrifty=st.booleans(),
    learners=st.sampled_from([(), (5,)]),
)
def test_other_shapes_of_cluster(
    seed: int, shape: tuple[str, dict[str, Any]], thrifty: bool, learners: tuple[int, ...]
) -> None:
    name, options = shape
    world = World(
        protocol_class(name),
        nodes=5,
        seed=seed,
        network=Network(loss=0.02, delay_us=(200, 20_000)),
        learners=learners,
        options={} if learners else {**options, "thrifty": thrifty},
    )
    run_heal_and_compare(world, seed)


@pytest.mark.parametrize(("mutant", "reads"), [("M5", "log"), ("M8", "log")])
def test_the_checks_detect_violations(mutant: str, reads: str) -> None:
    """`Chaos.check` does not pass everything."""

    def found(name: str | None, seed: int) -> list[str]:
        world = World(
            protocol_class("multi-paxos", name),
            nodes=3,
            seed=seed,
            network=Network(delay_us=(200, 5_000)),
            reads=reads,
        )
        chaos = Chaos(world, seed)
        chaos.run(8_000_000)
        chaos.heal()
        return chaos.check() or _applied_twice(world)

    assert any(found(mutant, seed) for seed in range(60))
    assert not any(found(None, seed) for seed in range(10))


def _applied_twice(world: World) -> list[str]:
    """The sessions of the replicas are those that follow from the log."""
    expected: dict[int, int] = {}
    for slot in sorted(world.decided):
        (commands, *_) = world.decided[slot]
        for command in commands:
            if command.client and command.f == "write":
                expected[command.client] = max(command.seq, expected.get(command.client, 0))
    machine = next(h.process.context.machine for h in world.hosts.values())
    held = {client: seq for client, seq, *_ in machine.snapshot()["sessions"]}
    return [] if held == expected else [f"sessions {held}, not {expected}"]
