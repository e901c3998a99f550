"""An owner's statements remain true after a restart: a fast decision is on disk before it is
announced."""

from __future__ import annotations

from typing import Any

import pytest

from harness.run.simulation import simulate_and_judge
from harness.search.swarm import SweepPlan, draw
from node_image.mutants import protocol_class
from node_image.protocols import epaxos_messages as m
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Broadcast, Checkpoint, Send
from tests.node_image.epaxos_node import NONE, OLDER, five, persisted
from tests.node_image.single_node import put

CORRECT = protocol_class("epaxos")
OWN = InstanceId(1, 1)


def decided_but_not_on_disk() -> tuple[Any, list[Any], list[Any]]:
    """An owner whose fast quorum has answered while its disk is stalled; its records up to the
    beginning of the instance, and those of the decision."""
    node = five(CORRECT)
    begun = persisted(node.request(put(1)))
    node.disk_stuck = True
    decided = []
    for other in (2, 3):
        decided += persisted(node.receive(other, m.PreAccepted(OWN, NONE)))
    return node, begun, decided


def test_a_fast_decision_is_not_announced_before_it_is_on_disk() -> None:
    node, _, decided = decided_but_not_on_disk()
    told = [e for e in node.effects if isinstance(e, Send | Broadcast)]
    assert told
    assert all(effect.after_sync for effect in told)
    assert [type(record) for record in decided] == [m.Settled]
    assert node.decided() == []
    assert node.replies() == []
    node.receive(1, m.Commit(OWN, (0, 0), False, (put(1),), NONE))  # its own, once it is synced
    assert [d.slot for d in node.decided()] == ["1.1"]
    assert node.replies()


def test_meanwhile_it_promises_nothing_to_other_nodes() -> None:
    node, _, _ = decided_but_not_on_disk()
    node.receive(3, m.Prepare(OLDER, OWN))
    assert node.sent(m.Promise) == []
    node.receive(3, m.Nack(OWN, OLDER))
    node.wake("beat", 10 * node.config.election_max_us)
    assert node.sent(m.Prepare) == []
    node.receive(1, m.Commit(OWN, (0, 0), False, (put(1),), NONE))
    node.receive(3, m.Prepare(OLDER, OWN))
    assert [commit.id for commit in node.sent(m.Commit)] == [OWN]


def test_a_restart_before_that_denies_and_one_after_that_knows_the_decision() -> None:
    _, begun, decided = decided_but_not_on_disk()
    before = five(CORRECT, disk=begun)
    before.receive(3, m.Prepare(OLDER, OWN))
    assert [promise.leads for promise in before.sent(m.Promise)] == [True]
    after = five(CORRECT, disk=begun + decided)
    after.receive(3, m.Prepare(OLDER, OWN))
    assert [commit.id for commit in after.sent(m.Commit)] == [OWN]


def test_a_checkpoint_meanwhile_keeps_the_decision() -> None:
    node, _, _ = decided_but_not_on_disk()
    node.protocol.context.out = []
    node.protocol.store.checkpoint()
    disk = next(e for e in node.protocol.context.out if isinstance(e, Checkpoint)).records
    after = five(CORRECT, disk=disk)
    after.receive(3, m.Prepare(OLDER, OWN))
    assert [commit.id for commit in after.sent(m.Commit)] == [OWN]


@pytest.mark.parametrize("seed", [500491, 500586, 600147, 603092])
def test_restarted_owners_and_a_bare_majority_decide(seed: int) -> None:
    """Two owners restarted with open instances that interfere, and the spare acceptors were down:
    it could never be determined whether a fast path had been taken. (In the last case recoveries
    that took longer than all timeouts kept overtaking one another.)"""
    run = simulate_and_judge(*draw(SweepPlan(protocol="epaxos", fixed={}), seed))
    assert run.outcome == "valid", run.sentence
