"""Properties of Raft that must hold in every run: those of Figure 3 of the paper, and the clients'.

Two ways to get runs: Hypothesis chooses every single step, or every timed run is drawn from a seed
(as in `test_multi_paxos_properties`).
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from node_image.protocols.raft_log import Entry
from tests.node_image.cluster import Network, World
from tests.node_image.interleaving import Interleaving, random_steps
from tests.node_image.random_faults import run_heal_and_compare

STEPS = (
    ("deliver",) * 8
    + ("sync",) * 6
    + ("ask",) * 3
    + ("fire",) * 3
    + ("run", "drop", "double", "crash")
)
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(1, 12))


class Steps(Interleaving):
    """Checks after every step:

    election safety    a term has at most one leader
    append-only        a leader's log only grows in its term
    log matching       equal index and term: equal logs up to there
    completeness       what was committed in an earlier term is in every leader's log
    """

    def __init__(self, protocol: type[Any], nodes: int, **config: Any) -> None:
        self.leaders: dict[int, int] = {}
        self.entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        super().__init__(protocol, nodes, **config)

    def run(self, which: int, count: int) -> None:
        """Deliver and sync everything in flight: then there is a leader."""
        for _ in range(count):
            for node in self.config.nodes:
                self.sync(node - 1, 0)
            self.deliver(0, len(self.flying))

    def _check_promise(self, node: int) -> None:
        process = self.process[node]
        log = process.log
        assert process.storage.term >= getattr(process, "_term_in_test", 0), "the term went back"
        process._term_in_test = process.storage.term
        if process.context.role == "leader":
            first = self.leaders.setdefault(process.storage.term, node)
            assert first == node, f"term {process.storage.term} is led by {first} and {node}"
            self._check_completeness(process)
        for entry in log.held(log.base + 1, log.last):
            before = log.term_at(entry.slot - 1)
            known = self.entries.setdefault((entry.term, entry.slot), (entry, before))
            assert known == (entry, before), f"{known} and {(entry, before)}"

    def _check_completeness(self, leader: Any) -> None:
        log = leader.log
        if getattr(leader, "_checked_term", None) == leader.storage.term:
            return
        leader._checked_term = leader.storage.term
        for slot, commands in self.decided.items():
            if slot > log.base:
                assert slot <= log.last, f"the leader of term {leader.storage.term} lacks {slot}"
                assert log.at(slot).commands == commands


def interleave(protocol: type[Any], steps: list[tuple[str, int, int]], nodes: int) -> Steps:
    world = Steps(protocol, nodes, snapshot_every=3)
    world.fire(0, 0)
    world.fire(0, 0)
    world.run(0, 5)
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.sampled_from([1, 2, 3, 5]))
def test_the_papers_invariants_under_any_interleaving(
    steps: list[tuple[str, int, int]], nodes: int
) -> None:
    interleave(protocol_class("raft"), steps, nodes)


def test_interleavings_make_progress() -> None:
    """The properties above would hold of a protocol that does nothing."""
    random = Random(4)
    worlds = [
        interleave(protocol_class("raft"), random_steps(random, 120, names=STEPS), 3)
        for _ in range(30)
    ]
    assert sum(len(world.decided) for world in worlds) > 200
    assert sum(len(world.leaders) for world in worlds) > 60


@pytest.mark.parametrize("mutant", ["B6", "B8", "M3", "R2", "R8", "R9", "R10"])
def test_interleavings_break_a_mutant(mutant: str) -> None:
    random = Random(5)

    def breaks() -> bool:
        try:
            interleave(protocol_class("raft", mutant), random_steps(random, 120, names=STEPS), 3)
        except AssertionError:
            return True
        return False

    assert any(breaks() for _ in range(400))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes=st.sampled_from([3, 4, 5]),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    duplication=st.sampled_from([0.0, 0.3]),
    slowest_us=st.sampled_from([1_000, 20_000, 150_000]),
    reads=st.sampled_from(["log", "quorum", "lease"]),
    snapshot_every=st.sampled_from([10, 2_000]),
    learner=st.booleans(),
)
def test_what_clients_saw_was_possible_and_the_cluster_recovers(
    seed: int,
    nodes: int,
    loss: float,
    duplication: float,
    slowest_us: int,
    reads: str,
    snapshot_every: int,
    learner: bool,
) -> None:
    world = World(
        protocol_class("raft"),
        nodes=nodes,
        seed=seed,
        network=Network(loss=loss, duplication=duplication, delay_us=(200, slowest_us)),
        reads=reads,
        snapshot_every=snapshot_every,
        learners=(nodes,) if learner and nodes > 3 else (),
    )
    run_heal_and_compare(world, seed)
