"""When replicas of a log tell a digest of their state, and of what it is."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols import raft_messages
from node_image.protocols import two_phase_messages as m2
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Checkpoint, Command, StateDigest
from node_image.protocols.state_digests import EVERY_SLOTS
from node_image.protocols.two_phase_participant import DIGEST_EVERY_COMMITS, Doubt
from node_image.state_machine import KeyValue
from tests.node_image.cluster import Network, World
from tests.node_image.random_faults import Chaos
from tests.node_image.single_node import Driven
from tests.node_image.snapshot_scenarios import digests_told, install, offered

LOGS = ["basic-paxos", "multi-paxos", "flexible-paxos", "fast-paxos", "raft"]


def machine(*commands: tuple[Any, ...], sessions_max: int = 10) -> KeyValue:
    made = KeyValue(sessions_max)
    for client, seq, f, key, value in commands:
        made.apply(Command(client, seq, f, key, value))
    return made


A, B = (1, 1, "write", "a", {"p": 1, "q": [2]}), (2, 1, "write", "b", 2)


def test_a_digest_is_of_values_sessions_and_their_order() -> None:
    one = machine(A, B)
    assert one.digest() == machine(A, B).digest()
    assert len({one.digest(), machine(A).digest(), machine(A, B, (2, 2, *B[2:])).digest()}) == 3
    assert machine(B, A).digest() != one.digest(), "another client would be forgotten next"
    assert machine(B, A).digest(in_order=False) == one.digest(in_order=False)
    assert machine(A, B, sessions_max=2).digest(in_order=False) == "", "one may be forgotten"


def test_a_digest_survives_disk_and_network() -> None:
    one, other = machine(A, B, (3, 1, "cas", "b", (1, 2))), KeyValue()
    other.restore(json.loads(json.dumps(one.snapshot())))
    assert other.digest() == one.digest() and other.size() == one.size()


def test_a_digest_tells_true_from_one() -> None:
    assert machine((1, 1, "write", "a", True)).digest() != machine((1, 1, "write", "a", 1)).digest()


def test_a_digest_is_the_same_in_every_process() -> None:
    program = (
        "from node_image.state_machine import KeyValue\n"
        "from node_image.protocols.interface import Command\n"
        "made = KeyValue()\n"
        "for client in range(9):\n"
        "    made.apply(Command(client, 1, 'write', f'k{client}', {'a': client, 'b': [1.5]}))\n"
        "print(made.digest())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(told) == 1 and len(told.pop().strip()) == 16


@pytest.mark.parametrize("protocol", LOGS)
def test_who_installs_a_snapshot_tells_the_senders_digest(protocol: str) -> None:
    node = install(protocol_class(protocol), 9)
    assert digests_told(node) == [StateDigest(9, offered().digest())]


@pytest.mark.parametrize("mutant", ["M7", "M7b"])
@pytest.mark.parametrize("protocol", LOGS)
def test_the_planted_bugs_tell_another(protocol: str, mutant: str) -> None:
    correct = StateDigest(9, offered().digest())
    (told,) = digests_told(install(protocol_class(protocol, mutant), 9))
    assert (told.slot, told.digest == correct.digest) == (
        (9, False) if mutant == "M7" else (10, True)
    )


def test_who_sends_a_snapshot_tells_of_it_and_of_the_next_slot() -> None:
    node = Driven(protocol_class("multi-paxos"), snapshot_every=70)
    ballot = node.lead()

    def decide(seq: int) -> list[int]:
        node.request(Command(7, seq, "write", "x", seq))
        node.receive(2, m.Accepted(ballot, seq, seq))
        return [digest.slot for digest in digests_told(node)]

    told = [slot for seq in range(1, 73) for slot in decide(seq)]
    assert told == [70], "the snapshot that was taken"
    node.receive(3, m.CatchUp(1))
    assert node.sent(m.SnapshotOffer)
    assert digests_told(node) == [StateDigest(72, node.machine.digest())]
    assert decide(73) == [73] and not decide(74)


def test_of_frequent_snapshots_few_are_told() -> None:
    node = Driven(protocol_class("multi-paxos"), snapshot_every=5)
    ballot = node.lead()
    told: list[int] = []
    for seq in range(1, 201):
        node.request(Command(7, seq, "write", "x", seq))
        node.receive(2, m.Accepted(ballot, seq, seq))
        told += [digest.slot for digest in digests_told(node)]
    assert node.protocol.counters["snapshots"] == 40
    assert told == [5, 70, EVERY_SLOTS, 195]


def test_raft_tells_when_it_sends_a_snapshot() -> None:
    leader = World(protocol_class("raft"), nodes=3, snapshot_every=4)
    leader.run(3_000_000)
    node = next(h.process for h in leader.hosts.values() if h.process.status().role == "leader")
    node.storage.commit_to(node.log.last)
    node.log.base = node.log.applied
    effects = node.receive(2, raft_messages.Appended(node.storage.term, False, 0, 0), leader.now)
    told = [effect for effect in effects if isinstance(effect, StateDigest)]
    assert [digest.slot for digest in told] == [node.log.applied]


def test_who_starts_from_a_snapshot_tells_what_was_told_when_it_was_taken() -> None:
    node = install(protocol_class("multi-paxos"), 9)
    (checkpoint,) = [effect for effect in node.effects if isinstance(effect, Checkpoint)]
    again = Driven(protocol_class("multi-paxos"), node=2, disk=checkpoint.records)
    assert digests_told(again) == digests_told(node)


def test_the_distance_grows_with_the_state() -> None:
    keys = 5 * EVERY_SLOTS
    node = Driven(protocol_class("multi-paxos"), snapshot_every=10**6)
    ballot = node.lead()
    told: list[int] = []
    for seq in range(1, 5 * keys):
        node.request(Command(7, seq, "write", f"k{min(seq, keys)}", seq))
        node.receive(2, m.Accepted(ballot, seq, seq))
        told += [digest.slot for digest in digests_told(node)]
    assert told[:4] == [EVERY_SLOTS << n for n in range(4)], "powers of two, while it grows"
    assert {b - a for a, b in itertools.pairwise(told[3:])} == {8 * EVERY_SLOTS}


@pytest.mark.parametrize("protocol", [*LOGS, "epaxos", "two-phase-commit"])
def test_correct_replicas_tell_one_digest_of_a_slot(protocol: str) -> None:
    """Under random kills, power cuts, losses and partitions, with a snapshot every few slots."""
    compared = 0
    for seed in range(6):
        network = Network(loss=0.05, duplication=0.2, delay_us=(200, 20_000))
        world = World(
            protocol_class(protocol), nodes=3, seed=seed, network=network, snapshot_every=5
        )
        Chaos(world, seed).run(5_000_000)
        assert all(len(digests) == 1 for digests in world.states.values())
        compared += sum(len(nodes) > 1 for told in world.states.values() for nodes in told.values())
    assert compared > 5


@pytest.mark.parametrize("mutant", ["M7", "M7b"])
def test_a_planted_bug_tells_two_digests_of_a_slot(mutant: str) -> None:
    def diverged(seed: int) -> bool:
        network = Network(loss=0.05, duplication=0.2, delay_us=(200, 20_000))
        protocol = protocol_class("multi-paxos", mutant)
        world = World(protocol, nodes=3, seed=seed, network=network, snapshot_every=5)
        Chaos(world, seed).run(5_000_000)
        return any(len(digests) > 1 for digests in world.states.values())

    assert any(diverged(seed) for seed in range(20))


def test_a_pause_of_epaxos_is_told_once_and_names_what_was_executed() -> None:
    world = World(protocol_class("epaxos"), nodes=3, seed=1)
    for node in (1, 2):
        world.request(node, Command(node, 1, "write", f"k{node}", node))
    world.run(2_000_000)
    assert {slot: len(digests) for slot, digests in world.states.items()} == {"1,1,0": 1}
    (nodes,) = world.states["1,1,0"].values()
    assert nodes == {1, 2, 3}


def test_a_participant_in_doubt_tells_nothing() -> None:
    world = World(protocol_class("two-phase-commit"), nodes=3, seed=1)
    for seq in range(1, 2 * DIGEST_EVERY_COMMITS + 2):
        world.request(1, Command(7, seq, "write", "x", seq))
        world.run(200_000)
    many = {DIGEST_EVERY_COMMITS: {1, 2, 3}, 2 * DIGEST_EVERY_COMMITS: {1, 2, 3}}
    assert {slot: nodes for slot, told in world.states.items() for nodes in told.values()} == (
        {0: {1, 2, 3}} | many
    )
    process, before = world.hosts[2].process, 2 * DIGEST_EVERY_COMMITS - 1
    process.participant.in_doubt[m2.Txn(9, 9)] = Doubt((), 0)
    out = process.context.begin_event()
    process.participant.emit_state_if_due(before)
    assert out == []
    process.participant.in_doubt.clear()
    process.participant.emit_state_if_due(before)
    assert len(out) == 1


def test_a_ballot_is_no_part_of_it() -> None:
    first, other = (Ballot(1, node) for node in (1, 3))
    told = []
    for ballot in (first, other):
        node = Driven(protocol_class("multi-paxos"), node=2)
        for slot in range(1, EVERY_SLOTS + 1):
            command = Command(7, slot, "write", "x", 1)
            node.receive(ballot.node, m.Accept(ballot, slot, (command,), 0))
        node.receive(ballot.node, m.Commit(ballot, EVERY_SLOTS))
        told += digests_told(node)
    assert len(told) == 2 and told[0] == told[1]
