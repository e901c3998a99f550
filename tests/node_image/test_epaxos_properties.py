"""Properties of EPaxos that must hold in every run: step by step, of the graph alone, and timed."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import protocol_class
from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import ZERO
from node_image.protocols.epaxos_instances import (
    COMMITTED,
    EXECUTED,
    Instance,
    Interference,
    footprint,
)
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Command, Decided
from tests.node_image.cluster import Network, World
from tests.node_image.epaxos_steps import STEPS, play
from tests.node_image.interleaving import random_steps as draw_steps
from tests.node_image.random_faults import Chaos
from tests.node_image.single_node import Driven, put

EPAXOS = protocol_class("epaxos")

# ----------------------------------------------------------------------------- every single step

step = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(1, 12))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(step, min_size=20, max_size=100),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 3),
)
def test_the_papers_invariants_under_any_interleaving(
    steps: list[tuple[str, int, int]], nodes: int, keys: int
) -> None:
    play(EPAXOS, steps, nodes, keys=keys)


def random_steps(seed: int) -> tuple[list[tuple[str, int, int]], int]:
    random = Random(seed)
    length = random.randrange(100, 300)
    steps = draw_steps(random, length, names=STEPS)
    return steps, random.choice([3, 4, 5, 7])


def test_interleavings_reach_every_path() -> None:
    """The property above would hold of a protocol that does nothing."""
    seen: dict[str, int] = {}
    for seed in range(60):
        world = play(EPAXOS, *random_steps(seed))
        for process in world.process.values():
            for counter, count in process.counters.items():
                seen[counter] = seen.get(counter, 0) + count
    paths = ("fast_path", "slow_path", "components", "snapshots", "usurped")
    kinds = ("Validated", "Forgotten", "Snapshot", "Nack", "Promise", "Entries")
    for name in (*paths, *(f"received.{kind}" for kind in kinds)):
        assert seen.get(name, 0) > 0, name


@pytest.mark.parametrize(
    ("mutant", "first"),
    [(mutant, 0) for mutant in ("E2", "E3", "E4", "E6", "E8", "B6", "B7")]
    + [("E11", 1390)],  # rarer: one in a thousand
)
def test_interleavings_find(mutant: str, first: int) -> None:
    with pytest.raises(AssertionError):
        for seed in range(first, first + 200):
            play(protocol_class("epaxos", mutant), *random_steps(seed))


# ----------------------------------------------------------------------------- the graph alone


def random_decisions(random: Random, count: int) -> list[m.Commit]:
    """Decisions of three owners with arbitrary dependencies, including cycles, such that of two
    that interfere one depends on the other, and of the same owner the later on the earlier."""
    identities = [InstanceId(1 + i % 3, 1 + i // 3) for i in range(count)]
    most = [sum(identity.owner == owner for identity in identities) for owner in (1, 2, 3)]
    commits: list[m.Commit] = []
    for i, identity in enumerate(identities):
        key = random.choice("xyz")
        f = random.choice(("write", "write", "read"))
        deps = [random.randrange(0, top + 1) if random.random() < 0.3 else 0 for top in most]
        own = identity.owner - 1
        deps[own] = min(deps[own], identity.number - 1)
        command = Command(i + 1, 1, f, key, i)
        for earlier in commits:
            if footprint((command,)).interferes(footprint(earlier.commands)):
                place, number = earlier.id.owner - 1, earlier.id.number
                if earlier.deps[identity.owner - 1] < identity.number:
                    deps[place] = max(deps[place], number)
        noop = random.random() < 0.1
        commits.append(m.Commit(identity, ZERO, noop, () if noop else (command,), tuple(deps)))
    return commits


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_execution_does_not_depend_on_the_order_of_decisions(seed: int, count: int) -> None:
    random = Random(seed)
    commits = random_decisions(random, count)
    footprints = {
        f"{c.id.owner}.{c.id.number}": footprint(c.commands) for c in commits if not c.noop
    }
    orders = []
    for _ in range(3):
        random.shuffle(commits)
        node = Driven(EPAXOS, nodes=3)
        found = [node.receive(2, commit) for commit in commits]
        slots = [e.slot for effects in found for e in effects if isinstance(e, Decided)]
        assert len(slots) == count, "everything is executed, once"
        orders.append({slot: place for place, slot in enumerate(slots)})
    for one, other in itertools.combinations(footprints, 2):
        if footprints[one].interferes(footprints[other]):
            assert len({order[one] < order[other] for order in orders}) == 1, (one, other)


class AllEdges(EPAXOS):  # type: ignore[misc,valid-type]
    """Edges by the definition: to everything that an instance depends on and interferes with."""

    def _edges(self, instance: Instance) -> Any:
        if instance.noop or instance.marks is None:
            return []
        found = []
        for place, upto in enumerate(instance.deps):
            for number in range(self._table.done[place] + 1, upto + 1):
                other = self._table.rows[place].get(number)
                if other is None:
                    return InstanceId(self._table.nodes[place], number)
                if other.phase == EXECUTED or other.noop_is_final():
                    continue
                if other.marks is None:
                    return other.id
                if other.interferes(instance.marks):
                    if other.phase != COMMITTED:
                        return other.id
                    found.append(other)
        return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_an_edge_to_the_last_is_equivalent_to_edges_to_all(seed: int, count: int) -> None:
    """After every decision, and every message with an instance's commands, the same instances have
    been executed, and those that interfere in the same order."""
    random = Random(seed)
    commits = random_decisions(random, count)
    news: list[Any] = [m.PreAccept(c.id, c.commands, c.deps) for c in commits if c.commands]
    news += commits
    random.shuffle(news)
    nodes = Driven(EPAXOS, nodes=3), Driven(AllEdges, nodes=3)
    executed: tuple[list[Any], list[Any]] = [], []
    for one in news:
        for node, slots in zip(nodes, executed, strict=True):
            slots += [e.slot for e in node.receive(2, one) if isinstance(e, Decided)]
        assert set(executed[0]) == set(executed[1])
    assert len(executed[0]) == count
    footprints = {f"{c.id.owner}.{c.id.number}": footprint(c.commands) for c in commits}
    places = [{slot: place for place, slot in enumerate(slots)} for slots in executed]
    for one, other in itertools.combinations(footprints, 2):
        if footprints[one].interferes(footprints[other]):
            assert len({order[one] < order[other] for order in places}) == 1, (one, other)


def test_a_long_chain_is_executed_without_recursion() -> None:
    node = Driven(EPAXOS, nodes=3)
    count = 3_000
    for number in range(count, 0, -1):
        commit = m.Commit(InstanceId(2, number), ZERO, False, (put(1),), (0, number - 1, 0))
        node.receive(2, commit)
    assert node.status.applied == count


def test_what_does_not_interfere_is_not_waited_for() -> None:
    node = Driven(EPAXOS, nodes=3)
    node.receive(2, m.PreAccept(InstanceId(2, 1), (put(1, key="y"),), (0, 0, 0)))
    node.receive(2, m.Commit(InstanceId(2, 2), ZERO, False, (put(2, client=8),), (0, 1, 0)))
    assert [decided.slot for decided in node.decided()] == ["2.2"]


def test_reads_interfere_with_writes_only() -> None:
    index = Interference(3)
    read, write = (footprint((Command(7, 1, f, "x", 1),)) for f in ("read", "write"))
    index.note(read, 0, 5)
    assert index.before(read, (0, 0, 0)) == [0, 0, 0]
    assert index.before(write, (0, 0, 0)) == [5, 0, 0]
    index.note(write, 1, 3)
    assert index.before(read, (0, 0, 9)) == [0, 3, 9]
    assert index.before(footprint((put(1, client=8, key="z"),)), (0, 0, 0)) == [0, 0, 0]


def test_an_index_round_trips_as_json() -> None:
    index = Interference(2)
    index.note(footprint((put(1),)), 1, 4)
    again = Interference.from_json(2, *index.to_json())
    assert again.to_json() == index.to_json()
    again.drop_up_to((0, 4))
    assert len(again) == 0 and len(index) == 2


# ----------------------------------------------------------------------------- timed runs


class OrderedWorld(World):
    """Also records the order in which each node executed, in its current life."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.order: dict[int, list[Decided]] = {}
        super().__init__(*args, **kwargs)

    def boot(self, node: int) -> None:
        self.order[node] = []
        super().boot(node)

    def _record(self, node: int, effect: Any) -> None:
        self.order[node].append(effect)
        super()._record(node, effect)

    def values(self) -> list[Any]:
        return [
            host.process.context.machine.snapshot()["values"]
            for host in self.hosts.values()
            if host.process is not None
        ]


class OrderedChaos(Chaos):
    """Clients send to any node; writes are ordered as by the node that executed most."""

    def _write_order(self) -> dict[int, int]:
        order: dict[int, int] = {}
        sessions: dict[int, int] = {}
        for decided in max(self.world.order.values(), key=len):  # type: ignore[attr-defined]
            for command in decided.commands:
                if command.f == "write" and command.seq > sessions.get(command.client, 0):
                    sessions[command.client] = command.seq
                    order[command.value] = len(order)
        return order


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes=st.sampled_from([3, 4, 5]),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    duplication=st.sampled_from([0.0, 0.3]),
    slowest_us=st.sampled_from([1_000, 20_000, 150_000]),
)
def test_what_clients_saw_was_possible_and_all_replicas_agree(
    seed: int, nodes: int, loss: float, duplication: float, slowest_us: int
) -> None:
    network = Network(loss=loss, duplication=duplication, delay_us=(200, slowest_us))
    world = OrderedWorld(EPAXOS, nodes=nodes, seed=seed, network=network)
    chaos = OrderedChaos(world, seed)
    chaos.run(3_000_000)
    chaos.heal()
    assert not chaos.check()
    assert world.values().count(world.values()[0]) == nodes, "all replicas hold the same"
    assert world.ask("read", "x", client=999).error is None


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    learners=st.sampled_from([(), (5,)]),
    fast_quorum=st.sampled_from([None, 4]),
)
def test_snapshots_learners_and_larger_fast_quorums(
    seed: int, learners: tuple[int, ...], fast_quorum: int | None
) -> None:
    options = {} if fast_quorum is None else {"fast_quorum": fast_quorum}
    network = Network(loss=0.02, delay_us=(200, 20_000))
    world = OrderedWorld(
        EPAXOS,
        nodes=5,
        seed=seed,
        network=network,
        learners=learners,
        snapshot_every=10,
        options=options,
    )
    chaos = OrderedChaos(world, seed)
    chaos.run(3_000_000)
    chaos.heal()
    assert not world.conflicts
    assert world.values().count(world.values()[0]) == 5
    assert world.ask("read", "x", client=999).error is None


def write(world: World, node: int, client: int, count: int) -> None:
    for seq in range(1, count + 1):
        world.request(node, Command(client, seq, "write", f"k{seq % 5}", seq))
        world.run_until(lambda seq=seq: (client, seq) in world.replies)


def test_disk_and_memory_are_bounded() -> None:
    world = World(EPAXOS, nodes=3, snapshot_every=20)
    write(world, 1, 7, 400)
    world.run(500_000)
    for host in world.hosts.values():
        assert len(host.durable) + len(host.pending) < 100
        assert sum(map(len, host.process.table.rows)) < 40
        assert host.process.status().applied == 400


def test_keys_that_all_disks_have_executed_are_dropped() -> None:
    world = World(EPAXOS, nodes=3, snapshot_every=20)
    for client in range(1, 301):
        world.request(1, Command(client, 1, "write", f"k{client}", 1))
        world.run_until(lambda client=client: (client, 1) in world.replies)
    world.run(500_000)
    for host in world.hosts.values():
        assert len(host.process.table.seen) < 200, "of 600 tokens"
    world.crash(3)
    for client in range(301, 501):
        world.request(1, Command(client, 1, "write", f"k{client}", 1))
        world.run_until(lambda client=client: (client, 1) in world.replies)
    assert len(world.hosts[1].process.table.seen) > 390, "node 3 has yet to order these"


def test_a_node_that_was_down_catches_up_by_snapshot() -> None:
    world = World(EPAXOS, nodes=5, snapshot_every=20)
    write(world, 1, 7, 10)
    world.crash(5)
    write(world, 2, 8, 200)
    world.boot(5)
    world.run_until(lambda: world.hosts[5].process.context.machine._values.get("k4") == 199)
    assert any(note.what == "snapshot-installed" for _, node, note in world.notes if node == 5)
    write(world, 5, 9, 3)
    world.run(500_000)
    snapshots = [host.process.context.machine.snapshot()["values"] for host in world.hosts.values()]
    assert snapshots.count(snapshots[0]) == 5


def test_a_node_that_was_down_briefly_catches_up_by_entries() -> None:
    world = World(EPAXOS, nodes=5)
    write(world, 1, 7, 10)
    world.crash(5)
    write(world, 2, 8, 600)
    world.boot(5)
    world.run_until(lambda: world.hosts[5].process.status().applied == 610)
    assert world.sent.get("Snapshot", 0) == 0
    assert world.hosts[5].process.counters["caught_up"] >= 3, "in pieces"


@pytest.mark.parametrize("lost", ["PreAccept", "PreAccepted", "Commit"])
def test_a_dead_owners_command_does_not_stop_the_others(lost: str) -> None:
    """However many of its messages arrived: clients whose commands interfere are answered within
    seconds."""
    world = World(EPAXOS, nodes=5, seed=3)
    world.intercept = lambda sender, to, message: (
        type(message).__name__ == lost and 1 in (sender, to) and to > (2 if sender == 1 else 0)
    )
    world.request(1, Command(7, 1, "write", "x", 1))
    world.run(20_000)
    world.crash(1)
    world.request(2, Command(8, 1, "write", "x", 2))
    world.run_until(lambda: (8, 1) in world.replies, 5_000_000)
    world.run(3_000_000)
    for node in (2, 3, 4, 5):
        process = world.hosts[node].process
        assert not process.execution.waiters, "nothing waits any more"
        assert process.context.machine._values["x"] in (1, 2)
    assert not world.conflicts
