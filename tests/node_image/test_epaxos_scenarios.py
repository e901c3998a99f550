"""Aimed schedules. First: three recoveries of one instance in a row, with a crash in each.

Random faults hardly ever reach this state: an acceptor holds an old vote for a no-op, others hold
the later vote that was decided, and a third recovery receives both. A node that takes the old vote
for a new one (E1), or ignores which is newer (B2), decides a second value.

node 1 begins instance 1.1; only node 2 receives it. Node 1 does not return
    node 2 begins 2.1, which depends on 1.1, and crashes
    node 3 recovers 1.1 with 4 and 5: none knows it; it votes for a no-op, and crashes
    node 2 restarts; node 4 recovers 1.1 with 2 and 5: decided as begun, crash before the Commit
    node 3 restarts, and recovers 1.1 with 2 and 5

The last one was found by a sweep (seed 703079): two acceptors have dropped an old instance that
every disk holds, and decide another one on the fast path; the third has not dropped the old one
yet, recovers the other, and takes the old one as proof that there was no fast path (E15).
"""

from __future__ import annotations

from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols.epaxos_instances import ACCEPTED, EXECUTED, footprint
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Command
from tests.node_image.cluster import World

FIRST = InstanceId(1, 1)
KEEP_ALL = 1_000


def phase(world: World, node: int) -> int:
    process = world.hosts[node].process
    instance = process.table.get(FIRST)
    return 0 if instance is None else int(instance.phase)


def only(world: World, recoverer: int, *forbidden: str) -> None:
    """Only this node's recovery messages are delivered, and none of the forbidden kinds."""

    def lose(sender: int, to: int, message: Any) -> bool:
        kind = type(message).__name__
        if kind == "Prepare" and sender != to:
            return sender != recoverer
        return sender == recoverer != to and kind in forbidden

    world.intercept = lose


def begin_and_crash(world: World) -> None:
    world.intercept = lambda sender, to, message: sender == 1 and to != 2
    world.request(1, Command(7, 1, "write", "x", 1))
    world.run(20_000)
    world.crash(1, KEEP_ALL)
    world.intercept = None
    world.request(2, Command(8, 1, "write", "x", 2))
    world.run(20_000)
    world.crash(2, KEEP_ALL)


def three_recoveries(world: World) -> None:
    begin_and_crash(world)
    only(world, 3, "Accept")
    world.run_until(lambda: phase(world, 3) == ACCEPTED)
    world.run(20_000)
    world.crash(3, KEEP_ALL)
    world.boot(2)
    only(world, 4, "Commit", "Entries", "Snapshot")
    world.run_until(lambda: phase(world, 4) == EXECUTED)
    world.crash(4, KEEP_ALL)
    world.boot(3)
    only(world, 3)
    world.run_until(lambda: phase(world, 3) == EXECUTED)


def test_the_decided_value_survives_three_recoveries() -> None:
    world = World(protocol_class("epaxos"), nodes=5, seed=1)
    three_recoveries(world)
    assert not world.conflicts
    assert set(world.decided["1.1"]) == {(Command(7, 1, "write", "x", 1),)}


@pytest.mark.parametrize("mutant", ["E1", "B2"])
def test_without_the_ballot_of_the_vote_there_are_two_values(mutant: str) -> None:
    world = World(protocol_class("epaxos", mutant), nodes=5, seed=1)
    three_recoveries(world)
    assert len(world.decided["1.1"]) == 2
    assert world.conflicts


def late_promises(world: World) -> None:
    """Node 3's first recovery asks 4 and 5, whose promises, that they know nothing, are late. It is
    cut off while node 2 brings the instance to a decision with the same two. Then it tries again,
    and the late promises arrive first."""
    begin_and_crash(world)
    late: list[Any] = []

    def hold(sender: int, to: int, message: Any) -> bool:
        kind = type(message).__name__
        if kind == "Promise" and to == 3 != sender:
            late.append((to, sender, message))
        return kind in ("Prepare", "Promise") and sender != 3

    world.intercept = hold
    world.run_until(lambda: len(late) >= 2)
    world.network.cut = {(3, n) for n in (2, 4, 5)} | {(n, 3) for n in (2, 4, 5)}
    world.boot(2)
    only(world, 2, "Commit", "Entries", "Snapshot")
    world.run_until(lambda: phase(world, 2) == EXECUTED)
    world.crash(2, KEEP_ALL)
    world.network.cut = set()
    last = max(message.ballot for _, _, message in late)

    def overtake(sender: int, to: int, message: Any) -> bool:
        """Late promises are delivered in place of the current ones."""
        kind = type(message).__name__
        if kind == "Promise" and to == 3 != sender and message.ballot > last:
            for arrival in late:
                world.at(world.now, world._arrive, *arrival)
            late.clear()
            return True
        return kind == "Prepare" and sender != 3

    world.intercept = overtake
    world.run_until(lambda: not late)
    world.run(20_000)
    world.boot(2)
    only(world, 3)
    world.run_until(lambda: phase(world, 3) == EXECUTED, 30_000_000)


def test_late_promises_do_not_count_for_a_later_ballot() -> None:
    correct, mutant = (
        World(protocol_class("epaxos", name), nodes=5, seed=1) for name in (None, "B3")
    )
    late_promises(correct)
    assert not correct.conflicts and len(correct.decided["1.1"]) == 1
    late_promises(mutant)
    assert len(mutant.decided["1.1"]) == 2


OLD, NEW, NEXT = (Command(client, 1, "write", "old", client) for client in (21, 60, 61))


def recovered_by_a_node_that_has_not_dropped_it(world: World) -> list[Any]:
    """The dependencies with which 3.1 is decided, at its owner and at the recovering node 1."""
    tables = [world.hosts[node].process.table for node in (1, 2, 3)]
    world.request(2, OLD)
    world.run(20_000)
    world.intercept = lambda sender, to, message: (
        to == 1 != sender and type(message).__name__ == "Stable"
    )
    for client in range(22, 42):
        world.request(2, Command(client, 1, "write", f"k{client}", client))
        world.run(20_000)
    assert tables[0].base[1] > 1, "node 1 has executed and forgotten the old one"
    held = [table.gone.before(footprint((OLD,)), table.zero)[1] for table in tables]
    assert held == [1, 0, 0], "node 1 alone has not dropped it"
    world.intercept = lambda sender, to, message: (
        sender == 3 != to and type(message).__name__ != "PreAccept"
    )
    world.request(3, NEW)
    world.run_until(lambda: tables[2].is_executed(InstanceId(3, 1)))
    world.network.cut = {(3, 1), (3, 2), (1, 3), (2, 3)}
    only(world, 1)
    world.request(2, NEXT)
    world.run_until(lambda: tables[0].is_executed(InstanceId(3, 1)), 30_000_000)
    return [tables[at].get(InstanceId(3, 1)).deps for at in (2, 0)]


DROPPING: dict[str, Any] = {"nodes": 3, "seed": 1, "snapshot_every": 4}


def test_a_recoverer_that_has_not_dropped_it_does_not_take_it_as_proof() -> None:
    correct = World(protocol_class("epaxos"), **DROPPING)
    owners, recovered = recovered_by_a_node_that_has_not_dropped_it(correct)
    assert recovered == owners


@pytest.mark.parametrize("mutant", ["E15", "E12"])
def test_a_fast_decision_that_recovery_does_not_see_is_made_again(mutant: str) -> None:
    """E12 never asks whether there was a fast path."""
    world = World(protocol_class("epaxos", mutant), **DROPPING)
    owners, recovered = recovered_by_a_node_that_has_not_dropped_it(world)
    assert recovered != owners
