"""EPaxos' safeguards, one scenario each: correct with the safeguard, and wrong without it.

Node 1 of five is driven event by event; the others' messages are constructed here. A fast quorum is
three of five, so e, the number of acceptors that it can do without, is two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import mutants_of, protocol_class
from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import ZERO
from node_image.protocols.epaxos_instances import ACCEPTED, PRE_ACCEPTED
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Broadcast, Command, Persist, Send
from tests.node_image.epaxos_node import (
    IMPATIENT_US,
    NONE,
    OLD,
    OLDER,
    OPEN_SUSPECT,
    A,
    B,
    begun,
    committed,
    five,
    persisted,
    promise,
    recover,
    slots,
    suspicious,
    unheard,
    validated,
)
from tests.node_image.single_node import Driven, put

Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


# ----------------------------------------------------------------------------- ballots


@scenario("B2", [(put(2),)])
def highest_vote_is_taken(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    ballot = recover(node, A)
    vote = {"phase": ACCEPTED, "deps": NONE, "init": NONE}
    node.receive(2, promise(ballot, A, voted=OLDER, commands=(put(1),), **vote))
    node.receive(3, promise(ballot, A, voted=OLD, commands=(put(2),), **vote))
    return [accept.commands for accept in node.sent(m.Accept)]


@scenario("B3", 0)
def replies_to_an_earlier_ballot(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    first = recover(node, A)
    assert recover(node, A) > first
    sent = []
    for other in (3, 4, 5):
        node.receive(other, promise(first, A))
        sent += node.sent(m.Validate) + node.sent(m.Accept)
    return len(sent)


@scenario("B5", [True])
def record_before_the_answer(protocol: type[Any]) -> Any:
    node = five(protocol)
    effects = node.receive(2, m.PreAccept(A, (put(1),), NONE))
    return [e.after_sync for e in effects if isinstance(e, Send)]


@scenario("B6", PRE_ACCEPTED)
def record_survives_a_restart(protocol: type[Any]) -> Any:
    node = five(protocol)
    disk = persisted(node.receive(2, m.PreAccept(A, (put(1),), NONE)))
    node = five(protocol, disk=disk)
    node.receive(3, m.Prepare(OLDER, A))
    return node.sent(m.Promise)[0].phase


@scenario("B7", 2)
def numbers_are_not_used_again(protocol: type[Any]) -> Any:
    node = five(protocol)
    disk = persisted(node.request(put(1)))
    node = five(protocol, disk=disk)
    node.request(put(2))
    return node.sent(m.PreAccept)[0].id.number


@scenario("B8", True)
def ballots_of_two_nodes_differ(protocol: type[Any]) -> Any:
    ballots = []
    for number in (1, 5):
        node = Driven(protocol, node=number, nodes=5)
        node.receive(2, m.PreAccept(A, (put(1),), NONE))
        ballots.append(recover(node, A))
    return ballots[0] != ballots[1]


@scenario("B9", 0)
def a_duplicate_is_no_second_vote(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.request(put(1))
    answer = m.PreAccepted(InstanceId(1, 1), NONE)
    node.receive(2, answer)
    node.receive(2, answer)
    return len(node.sent(m.Commit))


@scenario("B10", 0)
def below_the_promise_nothing_is_recorded(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(3, m.Prepare(OLDER, A))
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    return len(node.sent(m.PreAccepted))


@scenario("E1", ZERO)
def a_promise_is_no_vote(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.Accept(ZERO, A, False, (put(1),), NONE, NONE))
    node.receive(3, m.Prepare(OLD, A))
    return node.sent(m.Promise)[0].voted


# ----------------------------------------------------------------------------- the owner


def _answers_with_a_dependency(protocol: type[Any]) -> Driven:
    node = five(protocol)
    node.request(put(1))
    for other in (2, 3):
        node.receive(other, m.PreAccepted(InstanceId(1, 1), (0, 0, 0, 7, 0)))
    return node


@scenario("E2", (0, 1))
def answers_that_differ_from_the_question(protocol: type[Any]) -> Any:
    node = _answers_with_a_dependency(protocol)
    return len(node.sent(m.Commit)), len(node.sent(m.Accept))


@scenario("E4", [(0, 0, 0, 7, 0)])
def slow_path_takes_the_union(protocol: type[Any]) -> Any:
    return [accept.deps for accept in _answers_with_a_dependency(protocol).sent(m.Accept)]


@scenario("E11", [])
def a_restarted_owner_knows_what_it_decided(protocol: type[Any]) -> Any:
    own = InstanceId(1, 1)
    node = five(protocol)
    disk = persisted(node.request(put(1)))
    for other in (2, 3):
        disk += persisted(node.receive(other, m.PreAccepted(own, NONE)))
    assert node.sent(m.Commit), "the Commits have been sent"
    node = five(protocol, disk=disk)
    node.receive(3, m.Prepare(OLDER, own))
    return [promise.leads for promise in node.sent(m.Promise)]


# ----------------------------------------------------------------------------- interference


@scenario("E13", (0, 1, 0, 0, 0))
def one_client_is_one_session(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1, key="x"),), NONE))
    node.request(put(2, key="y"))
    return node.sent(m.PreAccept)[0].deps


@scenario("E14", (0, 1, 0, 0, 0))
def a_read_depends_on_writes(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    node.request(Command(8, 1, "read", "x", None))
    return node.sent(m.PreAccept)[0].deps


# ----------------------------------------------------------------------------- execution


@scenario("E6", [[], ["2.1", "3.1"]])
@scenario("E8", [[], ["2.1", "3.1"]])
def dependencies_come_first(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    node.receive(3, committed(B, put(2, client=8), (0, 1, 0, 0, 0)))
    before = slots(node)
    node.receive(2, committed(A, put(1), NONE))
    return [before, slots(node)]


@scenario("E7", 1)
def a_cycle_has_one_order(protocol: type[Any]) -> Any:
    commits = [
        committed(A, put(1, client=1), (0, 0, 1, 0, 0)),
        committed(B, put(2, client=2), (0, 1, 0, 0, 0)),
    ]
    orders = set()
    for order in (commits, commits[::-1]):
        node = five(protocol)
        for commit in order:
            node.receive(2, commit)
        orders.add(tuple(slots(node)))
    return len(orders)


@scenario("M8", [1])
def a_command_decided_twice_is_applied_once(protocol: type[Any]) -> Any:
    node = five(protocol)
    append = Command(7, 1, "append", "x", 1)
    node.receive(2, committed(A, append, NONE))
    node.receive(3, committed(B, append, (0, 1, 0, 0, 0)))
    return node.machine._values["x"]


@scenario("M7", [1])
def a_snapshot_brings_its_sessions(protocol: type[Any]) -> Any:
    sender, node = five(protocol, snapshot_every=1), five(protocol, snapshot_every=1)
    append = Command(7, 1, "append", "x", 1)
    sender.receive(2, committed(A, append, NONE))
    sender.receive(4, m.CatchUp(NONE))
    (snapshot,) = sender.sent(m.Snapshot)
    node.receive(4, snapshot)
    assert node.machine._values["x"] == [1]
    node.machine.apply(append)
    return node.machine._values["x"]


@scenario("M2", (1, 0))
def forgotten_instance_is_not_reported_unknown(protocol: type[Any]) -> Any:
    node = five(protocol, snapshot_every=4)
    for number in range(1, 9):
        deps = (0, number - 1, 0, 0, 0)
        node.receive(2, committed(InstanceId(2, number), put(number), deps))
    node.receive(3, m.Prepare(OLDER, A))
    return len(node.sent(m.Forgotten)), len(node.sent(m.Promise))


# ----------------------------------------------------------------------------- recovery


@scenario("E9", 1)
def an_open_instance_is_recovered(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(2, m.PreAccept(A, (put(1),), NONE))
    node.wake("beat")
    node.wake("beat", IMPATIENT_US)
    return len(node.sent(m.Prepare))


@scenario("E5", (1, 0))
def what_others_know_is_recovered(protocol: type[Any]) -> Any:
    node, ballot = unheard(protocol)
    node.receive(3, begun(ballot, A, put(1), deps=(0, 0, 5, 0, 0)))
    node.receive(4, promise(ballot, A))
    commands = {message.commands for message in node.sent(m.Validate)}
    return len(commands), len(node.sent(m.Accept))


@scenario("E3", [(0, 0, 5, 0, 0)])
def dependencies_reported_are_merged(protocol: type[Any]) -> Any:
    node, ballot = unheard(protocol)
    node.receive(2, begun(ballot, A, put(1), leads=True))
    node.receive(4, promise(ballot, A))
    for other in (2, 4):
        node.receive(other, validated(ballot, A, deps=(0, 0, 5, 0, 0)))
    return [accept.deps for accept in node.sent(m.Accept)]


@scenario("E10", [m.Suspect(B, False)])
def suspects_are_reported(protocol: type[Any]) -> Any:
    node = five(protocol)
    node.receive(3, m.PreAccept(B, (put(2, client=8),), NONE))
    node.receive(4, m.Prepare(OLDER, A))
    node.receive(4, m.Validate(OLDER, A, (put(1),), NONE))
    return list(node.sent(m.Validated)[0].suspects)


@scenario("E12", [])
def an_open_suspect_is_waited_for(protocol: type[Any]) -> Any:
    node, _ = suspicious(protocol, OPEN_SUSPECT)
    return node.sent(m.Accept)


@scenario("E15", [(0, 2, 0, 0, 0), (0, 4, 0, 0, 0)])
def what_is_dropped_still_interferes(protocol: type[Any]) -> Any:
    """The node's answer as an acceptor, and its own next dependencies, after it has dropped an
    instance of owner 2 that wrote the same key."""
    node = five(protocol, snapshot_every=4)
    node.receive(2, committed(InstanceId(2, 1), put(1, client=21, key="old"), NONE))
    for number in range(2, 10):
        command = put(number, client=20 + number, key=f"new{number}")
        node.receive(2, committed(InstanceId(2, number), command, NONE))
        for other in (2, 3, 4, 5):
            node.receive(other, m.Stable((0, 4, 0, 0, 0)))
    assert node.protocol.table.base[1] > 4
    node.receive(3, m.PreAccept(InstanceId(3, 1), (put(2, client=31, key="old"),), NONE))
    answers = [answer.deps for answer in node.sent(m.PreAccepted)]
    node.request(put(3, client=41, key="older"))
    return answers + [begin.deps for begin in node.sent(m.PreAccept)]


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_the_mutant_fails_and_the_correct_protocol_passes(mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(protocol_class("epaxos")) == expected
    assert run(protocol_class("epaxos", mutant)) != expected


def test_every_mutant_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("epaxos")} == set(SCENARIOS)


# ----------------------------------------------------------------------------- besides

CORRECT = protocol_class("epaxos")


def test_a_recovered_noop_is_begun_again_for_a_client_that_waits() -> None:
    node = five(CORRECT)
    node.request(put(1))
    node.receive(3, m.Commit(InstanceId(1, 1), OLD, True, (), NONE))
    assert [(p.id.number, p.commands) for p in node.sent(m.PreAccept)] == [(2, (put(1),))]


def test_a_nack_stops_the_recovery() -> None:
    node = five(CORRECT)
    node.request(put(1))
    identity = InstanceId(1, 1)
    node.receive(3, m.Nack(identity, OLD))
    for other in (2, 4, 5):
        node.receive(other, m.PreAccepted(identity, NONE))
        assert not node.sent(m.Commit)


def test_an_owners_first_vote_waits_for_its_disk() -> None:
    effects = five(CORRECT).request(put(1))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Broadcast)
    assert all(e.after_sync for e in effects if isinstance(e, Broadcast))


@pytest.mark.parametrize(
    ("nodes", "size"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 5), (9, 6)]
)
def test_the_default_fast_quorums_are_the_smallest_safe_ones(nodes: int, size: int) -> None:
    node = Driven(CORRECT, nodes=nodes)
    assert node.protocol.fast_quorums.q2 == size
    assert node.protocol.recovery.spare == nodes - size


def test_fast_quorums_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="from 3 to 5"):
        five(CORRECT, options={"fast_quorum": 2})
    assert five(CORRECT, options={"fast_quorum": 4}).protocol.recovery.spare == 1
