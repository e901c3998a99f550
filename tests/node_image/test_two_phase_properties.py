"""Properties of two-phase commit that must hold in every run.

    atomicity      no two nodes end a transaction differently, nor one node in two lives
    validity       a committed transaction had a durable yes from every node
durability     an acknowledged transaction is committed at the coordinator, durably
reads          a value that is read was committed, and is no older than an acknowledged one
progress       when all are up and messages arrive, no node stays in doubt

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
from node_image.protocols import two_phase_messages as m
from node_image.protocols.interface import Command, Decided, Reply
from node_image.protocols.two_phase_participant import slot_of
from tests.node_image.cluster import Network, World
from tests.node_image.interleaving import Interleaving, random_steps
from tests.node_image.random_faults import Chaos

STEPS = (
    ("deliver",) * 8
    + ("sync",) * 6
    + ("ask",) * 3
    + ("fire",) * 3
    + ("look",) * 2
    + ("run", "drop", "double", "crash", "crash")
)
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(1, 12))


class Steps(Interleaving):
    """Commands go to the coordinator, reads to any node; invariants are checked at every step."""

    def __init__(self, protocol: type[Any], nodes: int, **config: Any) -> None:
        self.outcomes: dict[Any, tuple[Command, ...]] = {}
        self.reads: dict[tuple[int, int], int] = {}
        self.newest = 0  # the newest value acknowledged, or read
        super().__init__(protocol, nodes, **config)

    # ---- steps

    def ask(self, which: int, count: int) -> None:
        """A client writes a value, at the coordinator, of one of two keys; values grow."""
        for _ in range(min(count, 4)):
            self.asked += 1
            key = "x" if self.asked % 3 else "y"
            command = Command(self.asked, 1, "write", key, self.asked)
            self._perform(1, self.process[1].request(command, self.now))

    def look(self, which: int, count: int) -> None:
        """A client reads x at some node."""
        node = self.config.nodes[which % len(self.config.nodes)]
        self.asked += 1
        self.reads[self.asked, 1] = self.newest
        read = Command(self.asked, 1, "read", "x", None)
        self._perform(node, self.process[node].request(read, self.now))

    def run(self, which: int, count: int) -> None:
        """Deliver and sync everything in flight."""
        for _ in range(count):
            for node in self.config.nodes:
                self.sync(node - 1, 0)
            self.deliver(0, len(self.flying))

    def settle(self) -> None:
        """Deliver everything without loss, and let all timers fire."""
        for _ in range(6):
            self.run(0, 4)
            for node in self.config.nodes:
                for _ in range(3):
                    self.fire(node - 1, 0)
        self.run(0, 4)

    # ---- effects

    def _act(self, node: int, effect: Any, *, synced: bool) -> None:
        if isinstance(effect, Decided):
            known = self.outcomes.setdefault(effect.slot, effect.commands)
            assert known == effect.commands, f"{effect.slot}: {known} and {effect.commands}"
            if effect.commands:
                self._check_votes(effect)
        elif isinstance(effect, Reply) and effect.answer.error is None:
            self._check_reply(effect)
        super()._act(node, effect, synced=synced)

    def _check_votes(self, decided: Decided) -> None:
        """Every other node has it on disk: as prepared, as committed, or in a snapshot."""
        if not hasattr(self, "disk") or 1 not in self.process:
            return
        for node in self.config.nodes[1:]:
            disk = self.disk[node]
            names = {slot_of(r.txn) for r in disk if isinstance(r, m.Prepared | m.Committed)}
            has_snapshot = any(isinstance(r, m.Snapshot) for r in disk)
            assert decided.slot in names or has_snapshot, f"node {node} never voted durably"

    def _check_reply(self, reply: Reply) -> None:
        key = (reply.client, reply.seq)
        if key not in self.reads:
            command = next(
                c for commands in self.outcomes.values() for c in commands if c[:2] == key
            )
            if command.key == "x":
                self.newest = max(self.newest, command.value)
            return
        value = reply.answer.value or 0
        assert value >= self.reads[key], f"read {value} after {self.reads[key]}"
        self.newest = max(self.newest, value)

    def _check_promise(self, node: int) -> None:
        """A node holds a lock for nothing but what it is in doubt about, or coordinates."""
        process = self.process[node]
        held = {*process.participant.in_doubt, *process._open, *process._deciding}
        assert set(process.locks.held.values()) <= held

    def check(self) -> None:
        decided = {(c.client, c.seq) for commands in self.outcomes.values() for c in commands}
        lost = [key for key in self.acknowledged if key not in decided and key not in self.reads]
        assert not lost, f"acknowledged and not decided: {lost}"


def interleave(protocol: type[Any], steps: list[tuple[str, int, int]], nodes: int) -> Steps:
    world = Steps(protocol, nodes, snapshot_every=3)
    world.run(0, 3)
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=20, max_size=120), st.sampled_from([1, 2, 3, 5]))
def test_atomicity_under_any_interleaving(steps: list[tuple[str, int, int]], nodes: int) -> None:
    world = interleave(protocol_class("two-phase-commit"), steps, nodes)
    world.settle()
    world.check()
    doubts = [txn for process in world.process.values() for txn in process.participant.in_doubt]
    assert doubts == [], "all are up, everything arrives, and a node is still in doubt"
    states = [process.context.machine.snapshot()["values"] for process in world.process.values()]
    assert all(state == states[0] for state in states)


def test_interleavings_make_progress() -> None:
    """The properties above would hold of a protocol that does nothing."""
    random = Random(4)
    worlds = [
        interleave(protocol_class("two-phase-commit"), random_steps(random, 120, names=STEPS), 3)
        for _ in range(30)
    ]
    outcomes = [bool(commands) for world in worlds for commands in world.outcomes.values()]
    assert outcomes.count(True) > 100
    assert outcomes.count(False) > 20
    assert sum(1 for world in worlds for key in world.acknowledged if key in world.reads) > 50


@pytest.mark.parametrize("mutant", ["B5", "B6", "B7", "B9", "T1", "T2", "T4", "T5", "T6"])
def test_interleavings_break_a_mutant(mutant: str) -> None:
    random = Random(5)

    def breaks() -> bool:
        try:
            interleave(
                protocol_class("two-phase-commit", mutant),
                random_steps(random, 120, names=STEPS),
                3,
            )
        except AssertionError:
            return True
        return False

    assert any(breaks() for _ in range(300))


class TransactionChaos(Chaos):
    def _write_order(self) -> dict[int, int]:
        """Transactions on one key end in the order of their names."""
        order: dict[int, int] = {}
        for slot in sorted(self.world.decided, key=lambda s: tuple(map(int, s.split(".")))):
            (commands, *_) = self.world.decided[slot]
            for command in commands:
                if command.f == "write":
                    order.setdefault(command.value, len(order))
        return order


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes=st.sampled_from([2, 3, 5]),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    duplication=st.sampled_from([0.0, 0.3]),
    slowest_us=st.sampled_from([1_000, 20_000, 150_000]),
    snapshot_every=st.sampled_from([10, 2_000]),
)
def test_what_clients_saw_was_possible_and_the_cluster_recovers(
    seed: int, nodes: int, loss: float, duplication: float, slowest_us: int, snapshot_every: int
) -> None:
    world = World(
        protocol_class("two-phase-commit"),
        nodes=nodes,
        seed=seed,
        network=Network(loss=loss, duplication=duplication, delay_us=(200, slowest_us)),
        snapshot_every=snapshot_every,
    )
    chaos = TransactionChaos(world, seed)
    chaos.run(4_000_000)
    chaos.heal()
    assert world.ask("write", "x", -1, client=10_000).error is None
    assert world.ask("read", "x", client=10_000, seq=2).value is not None
    world.run(1_000_000)
    assert chaos.check() == []
    states = [host.process.context.machine.snapshot()["values"] for host in world.hosts.values()]
    assert all(state == states[0] for state in states)
