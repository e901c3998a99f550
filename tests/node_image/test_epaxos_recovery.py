"""EPaxos' recovery: what is proposed after which reports, and which acceptors are counted in Q."""

from __future__ import annotations

from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.epaxos_instances import ACCEPTED
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Send
from tests.node_image.epaxos_node import (
    NONE,
    OLD,
    OPEN_SUSPECT,
    A,
    C,
    begun,
    committed,
    promise,
    slots,
    suspicious,
    unheard,
    validated,
)
from tests.node_image.single_node import Driven, put

CORRECT = protocol_class("epaxos")
INIT, MERGED = [NONE], [(0, 0, 0, 1, 1)]


def proposed(node: Driven) -> list[Any]:
    return [accept.deps for accept in node.sent(m.Accept)]


def test_a_known_decision_is_adopted() -> None:
    node, _ = unheard(CORRECT)
    node.receive(3, committed(A, put(1), NONE))
    assert "2.1" in slots(node)


def test_an_instance_unknown_to_the_quorum_becomes_a_noop() -> None:
    node, ballot = unheard(CORRECT)
    node.receive(3, promise(ballot, A))
    node.receive(4, promise(ballot, A))
    assert [accept.noop for accept in node.sent(m.Accept)] == [True]


def test_without_suspects_the_owners_dependencies_are_proposed() -> None:
    node, ballot = unheard(CORRECT)
    for other in (3, 4):
        node.receive(other, begun(ballot, A, put(1)))
    for other in (3, 4):
        node.receive(other, validated(ballot, A))
    assert proposed(node) == INIT


def test_a_suspect_committed_without_the_instance_refutes_the_fast_path() -> None:
    node, _ = suspicious(CORRECT, m.Suspect(C, True))
    assert proposed(node) == MERGED


def test_the_suspects_owner_would_be_in_the_fast_quorum() -> None:
    """Two of Q did not record A, so 2, 5 and the third must have; but 5's own instance does not
    depend on A."""
    node, _ = suspicious(CORRECT, m.Suspect(InstanceId(5, 1), False), fast=1)
    assert proposed(node) == MERGED


def test_a_suspect_whose_owner_is_in_the_quorum_has_to_be_waited_for() -> None:
    node, _ = suspicious(CORRECT, OPEN_SUSPECT, fast=1)
    assert proposed(node) == []
    assert node.sent(m.Waiting)[0].votes == 2, "acceptor 3, and the owner"


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (m.Commit(C, ZERO, False, (put(3, client=9),), (0, 1, 0, 0, 0)), INIT),
        (m.Commit(C, ZERO, False, (put(3, client=9),), NONE), MERGED),
        (m.Commit(C, OLD, True, (), NONE), INIT),
    ],
)
def test_the_decision_of_the_suspect_ends_the_wait(decision: m.Commit, outcome: Any) -> None:
    node, _ = suspicious(CORRECT, OPEN_SUSPECT)
    assert proposed(node) == []
    node.receive(4, decision)
    assert proposed(node) == outcome


@pytest.mark.parametrize(("votes", "outcome"), [(2, []), (3, MERGED)])
def test_two_recoveries_that_wait_for_each_other(votes: int, outcome: Any) -> None:
    node, _ = suspicious(CORRECT, OPEN_SUSPECT)
    node.receive(4, m.Waiting(C, NONE, votes))
    assert proposed(node) == outcome


def test_timeouts_grow_with_the_number_of_attempts() -> None:
    """Recoveries that take longer than all timeouts never ended: every node took new ballots."""
    timeouts = []
    for round_ in (1, 2, 40):
        node = Driven(CORRECT, nodes=5)
        node.receive(3, m.Prepare(Ballot(round_, 3), A))
        timeouts.append(node.protocol.table.get(A).due_us - node.now)
    low, high = node.config.election_min_us, node.config.election_max_us
    for due_us, factor in zip(timeouts, (1, 2, 3), strict=True):
        assert factor * low <= due_us <= factor * high


# ----------------------------------------------------------------------------- the quorum Q


def accepts(node: Driven) -> list[Any]:
    return [accept.deps for accept in node.sent(m.Accept)]


def silent_promise(known: int = 1) -> tuple[Driven, Ballot]:
    """Acceptors 3, 4 and this one have promised A; `known` of the first two recorded it as begun.
    Acceptor 3 then does not answer any more; acceptor 4 validates."""
    node, ballot = unheard(CORRECT)
    for other in (3, 4):
        heard = other - 3 < known
        node.receive(other, begun(ballot, A, put(1)) if heard else promise(ballot, A))
    assert node.sent(m.Validate)
    node.receive(4, validated(ballot, A, deps=(0, 0, 5, 0, 0)))
    assert not accepts(node)
    return node, ballot


def test_a_late_promise_replaces_an_acceptor_that_does_not_answer() -> None:
    """Found by a sweep: a recovery waited for just those acceptors that had promised first, one of
    them with a large delay, until another node began a new recovery; without end."""
    node, ballot = silent_promise()
    node.receive(5, promise(ballot, A))
    (validate,) = node.sent(m.Validate, 5)
    assert validate.commands == (put(1),)
    node.receive(5, validated(ballot, A, deps=(0, 0, 0, 2, 0)))
    assert accepts(node) == [(0, 0, 5, 2, 0)]


def test_a_late_vote_is_accepted() -> None:
    node, ballot = silent_promise()
    vote = {"phase": ACCEPTED, "voted": OLD, "commands": (put(1),), "init": NONE}
    node.receive(5, promise(ballot, A, deps=(0, 0, 0, 0, 3), **vote))
    assert accepts(node) == [(0, 0, 0, 0, 3)]


def test_the_rules_count_only_those_who_validated() -> None:
    """3 recorded A as begun and 4 did not: if 3 were in Q, A might be fast. But Q is 1, 4 and 5,
    and none of them did; the owner and 3 alone are no fast quorum."""
    node, ballot = silent_promise()
    node.receive(5, promise(ballot, A))
    node.receive(5, validated(ballot, A, OPEN_SUSPECT, deps=(0, 0, 0, 2, 0)))
    assert accepts(node) == [(0, 0, 5, 2, 0)]


def test_a_late_promise_of_the_owner_ends_the_wait() -> None:
    node, ballot = suspicious(CORRECT, OPEN_SUSPECT)
    assert not accepts(node)
    node.receive(2, begun(ballot, A, put(1), leads=True))
    assert node.sent(m.Validate, 2)
    node.receive(2, validated(ballot, A, deps=(0, 0, 0, 0, 2)))
    assert accepts(node) == [(0, 0, 0, 1, 2)]


def test_acceptors_that_have_not_answered_are_asked_again() -> None:
    node, ballot = silent_promise()
    node.wake("beat", node.config.retry_us)
    assert {p.ballot for p in node.sent(m.Prepare, 5)} == {ballot}
    again = [e.to for e in node.effects if isinstance(e, Send) and type(e.message) is m.Validate]
    assert again == [3]
