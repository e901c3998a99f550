"""An overload ends: a command that has waited in a queue for too long is refused.

Found by sweeps: clients that give up and send new commands leave the abandoned ones in a queue. A
cluster that serves those first answers every client too late, and never recovers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import epaxos_messages as e
from node_image.protocols import fast_paxos_messages as f
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols import raft_messages as r
from node_image.protocols import two_phase_messages as t
from node_image.protocols.fast_paxos_proposer import FORWARD_RETRIES
from node_image.protocols.interface import Command
from tests.node_image.single_node import Driven, put
from tests.node_image.test_raft_mutants import lead

ONE_AT_A_TIME = {"batch_max": 1, "pipeline_max": 1}
FIRST, STALE, FRESH = (put(seq, client=seq) for seq in (1, 2, 3))
Decide = Callable[[], Any]


def leader(name: str) -> tuple[Driven, Decide]:
    """Node 1 of three, which may propose; and a function that lets its first command be decided."""
    node = Driven(protocol_class(name), **ONE_AT_A_TIME)
    if name == "raft":
        term = lead(node)
        node.receive(2, r.Appended(term, True, 1, 0))
        return node, lambda: node.receive(2, r.Appended(term, True, 2, 0))
    if name == "two-phase-commit":

        def all_say_yes() -> None:
            for participant in (2, 3):
                node.receive(participant, t.Vote(t.Txn(1, 1), True, ()))

        return node, all_say_yes
    if name == "epaxos":
        first = e.InstanceId(1, 1)
        return node, lambda: node.receive(2, e.PreAccepted(first, (0, 0, 0)))
    ballot = node.lead()
    return node, lambda: node.receive(2, m.Accepted(ballot, 1, 1))


def proposed(node: Driven) -> list[Command]:
    """The commands in the proposals sent in the last event."""
    found: list[Command] = []
    for accept in (*node.sent(m.Accept), *node.sent(t.Prepare), *node.sent(e.PreAccept)):
        found += accept.commands
    for append in node.sent(r.Append):
        found += [command for entry in append.entries for command in entry.commands]
    return found


@pytest.mark.parametrize(
    "name", ["multi-paxos", "flexible-paxos", "raft", "two-phase-commit", "epaxos"]
)
@pytest.mark.parametrize("waited_us", [-1, 1])
def test_a_command_that_waited_too_long_is_refused_not_proposed(name: str, waited_us: int) -> None:
    node, decide = leader(name)
    node.request(FIRST)
    assert proposed(node) == [FIRST]
    node.request(STALE)
    node.now += node.config.election_max_us + waited_us
    node.request(FRESH)
    assert proposed(node) == []
    decide()
    answers = {reply.client: reply.answer.error for reply in node.replies()}
    if waited_us < 0:
        assert proposed(node) == [STALE]
        assert answers == {FIRST.client: None}
    else:
        assert proposed(node) == [FRESH]
        assert answers == {FIRST.client: None, STALE.client: "overloaded"}
    assert node.protocol.counters.get("given_up", 0) == (waited_us > 0)


def test_a_coordinator_drops_commands_that_are_not_forwarded_again() -> None:
    """Fast Paxos: a client's node sends its command again while the client waits."""
    fast_paxos = protocol_class("fast-paxos")
    node = Driven(fast_paxos, options={"fast": False}, **ONE_AT_A_TIME)
    ballot = node.lead()
    node.receive(2, f.Forward((FIRST, STALE, FRESH)))
    assert proposed(node) == [FIRST]
    for _ in range(FORWARD_RETRIES * node.config.retry_us // node.config.heartbeat_us + 1):
        node.wake("heartbeat", node.config.heartbeat_us)
        (beat,) = node.sent(m.Heartbeat)
        node.receive(2, m.HeartbeatAck(ballot, beat.stamp, 0))
        node.receive(2, f.Forward((FRESH,)))
        assert proposed(node) == []
    node.receive(2, m.Accepted(ballot, 1, 1))
    assert proposed(node) == [FRESH]
