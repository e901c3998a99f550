"""Properties of Multi-Paxos that must hold in every run.

Two ways to get runs. `Interleaving` lets Hypothesis choose every single step (which message is
delivered, dropped or doubled, which disk has synced, who crashes and what survives), so a
counterexample shrinks to the few steps that matter. `Chaos` plays longer, timed runs from a seed.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from node_image.protocols.context import Context
from node_image.protocols.interface import (
    Broadcast,
    Checkpoint,
    ClusterConfig,
    Command,
    Decided,
    Persist,
    Reply,
    Send,
    SetTimer,
)
from node_image.state_machine import KeyValue
from tests.node_image.cluster import Network, World
from tests.node_image.random_faults import Chaos

# ----------------------------------------------------------------------------- every single step


class Interleaving:
    """Replicas whose every step is chosen from outside."""

    def __init__(self, protocol: type[Any], nodes: int, **config: Any) -> None:
        self.protocol = protocol
        self.config = ClusterConfig(nodes=tuple(range(1, nodes + 1)), **config)
        self.now = 0
        self.flying: list[tuple[int, int, Any]] = []
        self.disk: dict[int, list[Any]] = {n: [] for n in self.config.nodes}
        self.waiting: dict[int, list[Any]] = {n: [] for n in self.config.nodes}
        self.timers: dict[int, dict[str, None]] = {n: {} for n in self.config.nodes}
        self.process: dict[int, Any] = {}
        self.decided: dict[Any, tuple[Command, ...]] = {}
        self.promised = dict.fromkeys(self.config.nodes, (0, 0))
        self.acknowledged: list[tuple[int, int]] = []
        self.asked = 0
        for node in self.config.nodes:
            self._start(node)

    def _start(self, node: int) -> None:
        self.timers[node].clear()
        context = Context(node, self.config, KeyValue(), Random(node), lambda: self.now)
        self.process[node] = self.protocol(context)
        self._perform(node, self.process[node].start(list(self.disk[node]), self.now))

    # ---- steps

    def deliver(self, which: int, count: int) -> None:
        for _ in range(count):
            if not self.flying:
                return
            sender, to, message = self.flying.pop(which % len(self.flying))
            self.now += 100
            self._perform(to, self.process[to].receive(sender, message, self.now))

    def drop(self, which: int, count: int) -> None:
        for _ in range(min(count, len(self.flying))):
            sender, to, _ = self.flying[which % len(self.flying)]
            if sender != to:
                self.flying.pop(which % len(self.flying))

    def double(self, which: int, _: int) -> None:
        if self.flying:
            message = self.flying[which % len(self.flying)]
            if message[0] != message[1]:
                self.flying.append(message)

    def fire(self, which: int, _: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        names = list(self.timers[node])
        if names:
            name = names[which % len(names)]
            del self.timers[node][name]
            self.now += 2 * self.config.election_max_us // 3
            self._perform(node, self.process[node].wake(name, self.now))

    def ask(self, which: int, count: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        for _ in range(count):
            self.asked += 1
            command = Command(1 + self.asked, 1, "write", "x", self.asked)
            self._perform(node, self.process[node].request(command, self.now))

    def sync(self, which: int, _: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        waiting, self.waiting[node] = self.waiting[node], []
        for effect in waiting:
            self._act(node, effect, synced=True)

    def crash(self, which: int, keep: int) -> None:
        """Of what was not synced, the first `keep` records survive."""
        node = self.config.nodes[which % len(self.config.nodes)]
        records = [e for e in self.waiting[node] if isinstance(e, Persist | Checkpoint)]
        for record in records[:keep]:
            self._act(node, record, synced=True)
        self.waiting[node] = []
        self.flying = [f for f in self.flying if not f[0] == f[1] == node]
        self._start(node)

    # ---- effects

    def _perform(self, node: int, effects: list[Any]) -> None:
        for effect in effects:
            barrier = isinstance(effect, Persist | Checkpoint)
            if barrier or (self.waiting[node] and getattr(effect, "after_sync", False)):
                self.waiting[node].append(effect)
            else:
                self._act(node, effect, synced=True)
        self._check_promise(node)

    def _act(self, node: int, effect: Any, *, synced: bool) -> None:
        if isinstance(effect, Persist):
            self.disk[node].append(effect.record)
        elif isinstance(effect, Checkpoint):
            self.disk[node] = list(effect.records)
        elif isinstance(effect, Send):
            self.flying.append((node, effect.to, effect.message))
        elif isinstance(effect, Broadcast):
            for other in self.config.nodes:
                if other != node:
                    self.flying.append((node, other, effect.message))
        elif isinstance(effect, SetTimer):
            self.timers[node][effect.name] = None
        elif isinstance(effect, Decided):
            first = self.decided.setdefault(effect.slot, effect.commands)
            assert first == effect.commands, f"slot {effect.slot}: {first} and {effect.commands}"
        elif isinstance(effect, Reply) and effect.answer.error is None:
            self.acknowledged.append((effect.client, effect.seq))

    def _check_promise(self, node: int) -> None:
        """Within a life an acceptor's promise never goes back."""
        process = self.process[node]
        promised = process.log.promised
        assert promised >= getattr(process, "_seen_by_test", promised)
        process._seen_by_test = promised

    def check(self) -> None:
        decided = {(c.client, c.seq) for commands in self.decided.values() for c in commands}
        lost = [key for key in self.acknowledged if key not in decided]
        assert not lost, f"acknowledged and not decided: {lost}"


STEPS = (
    *("deliver",) * 8,
    *("sync",) * 6,
    *("ask",) * 3,
    *("fire",) * 2,
    "drop",
    "double",
    "crash",
)
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(1, 12))


def interleave(protocol: type[Any], steps: list[tuple[str, int, int]], nodes: int) -> Interleaving:
    world = Interleaving(protocol, nodes, snapshot_every=3)
    for node in range(nodes):  # a leader to begin with, so that short runs get somewhere
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


def test_interleavings_get_somewhere() -> None:
    """The property above would hold of a protocol that does nothing."""
    random = Random(4)
    decided = 0
    for _ in range(40):
        steps = [
            (random.choice(STEPS), random.randrange(31), random.randrange(1, 13))
            for _ in range(120)
        ]
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
    _run_and_judge(world, seed)


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
    _run_and_judge(world, seed)


def _run_and_judge(world: World, seed: int) -> None:
    chaos = Chaos(world, seed)
    chaos.run(4_000_000)
    chaos.heal()
    assert world.ask("write", "x", -1, client=10_000).error is None
    assert world.ask("read", "x", client=10_000, seq=2).value is not None
    world.run(1_000_000)
    assert chaos.check() == []
    assert len({status.applied for status in world.statuses()}) == 1, world.statuses()
    snapshots = [host.process.context.machine.snapshot() for host in world.hosts.values()]
    assert all(snapshot == snapshots[0] for snapshot in snapshots)


@pytest.mark.parametrize(("mutant", "reads"), [("M5", "log"), ("M8", "log")])
def test_the_judge_sees_what_clients_suffer(mutant: str, reads: str) -> None:
    """`Chaos.check` is no judge that says yes to everything."""

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
    """The sessions that the replicas keep are those that the log implies."""
    expected: dict[int, int] = {}
    for slot in sorted(world.decided):
        (commands, *_) = world.decided[slot]
        for command in commands:
            if command.client and command.f == "write":
                expected[command.client] = max(command.seq, expected.get(command.client, 0))
    machine = next(h.process.context.machine for h in world.hosts.values())
    held = {client: seq for client, seq, *_ in machine.snapshot()["sessions"]}
    return [] if held == expected else [f"sessions {held}, not {expected}"]
