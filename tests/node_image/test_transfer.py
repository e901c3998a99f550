"""Handing leadership over: when the leader tells its successor, and what becomes of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols import raft_messages as r
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import TRANSFER, Answer, Command
from tests.node_image.cluster import World
from tests.node_image.processes import Cluster, until
from tests.node_image.single_node import Driven, put

PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")


def world(protocol: str, **changes: Any) -> tuple[World, int]:
    """Five nodes, one of which leads and is followed."""
    cluster = World(protocol_class(protocol), nodes=5, **changes)
    cluster.run_until(lambda: cluster.leader() is not None)
    assert cluster.ask("write", "x", 1).error is None
    cluster.run(2 * cluster.config.heartbeat_us)
    leader = cluster.leader()
    assert leader is not None
    return cluster, leader


def transfer(cluster: World, node: int, to: Any, seq: int = 1) -> Answer:
    cluster.request(node, Command(99, seq, TRANSFER, "", to))
    cluster.run_until(lambda: (99, seq) in cluster.replies)
    return cluster.replies[99, seq][-1][1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_successor_leads_within_a_few_round_trips(protocol: str) -> None:
    cluster, leader = world(protocol)
    for turn, successor in enumerate([n for n in range(1, 6) if n != leader], 1):
        asked_us = cluster.now
        assert transfer(cluster, leader, successor, turn).error is None
        cluster.run_until(lambda to=successor: cluster.leader() == to)  # type: ignore[misc]
        assert cluster.now - asked_us < cluster.config.heartbeat_us, "no timeout was waited for"
        assert cluster.ask("write", "x", turn, seq=turn + 1).error is None
        cluster.run(2 * cluster.config.heartbeat_us)
        leader = successor
    assert not cluster.conflicts


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_under_leases_the_successor_waits_for_the_last_one_to_end(protocol: str) -> None:
    cluster, leader = world(protocol, reads="lease")
    successor = leader % 5 + 1
    asked_us = cluster.now
    assert transfer(cluster, leader, successor).error is None
    cluster.run_until(lambda: cluster.leader() == successor)
    config = cluster.config
    assert cluster.now - asked_us <= config.lease_us + 3 * config.heartbeat_us


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_a_leader_hands_over_and_only_to_a_voter(protocol: str) -> None:
    cluster, leader = world(protocol)
    refused = transfer(cluster, leader % 5 + 1, leader)
    assert (refused.error, refused.leader) == ("not-leader", leader)
    for seq, to, error in [(2, 9, "unsupported"), (3, None, "unsupported"), (4, leader, None)]:
        assert transfer(cluster, leader, to, seq).error == error
    cluster.run(cluster.config.election_max_us)
    assert cluster.leader() == leader


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_successor_that_does_not_answer_leaves_the_leader_in_place(protocol: str) -> None:
    cluster, leader = world(protocol)
    successor = leader % 5 + 1
    cluster.crash(successor)
    cluster.request(leader, Command(99, 1, TRANSFER, "", successor))
    cluster.run(2 * cluster.config.election_max_us)
    assert (99, 1) in cluster.replies
    assert cluster.leader() == leader
    assert cluster.ask("write", "x", 2, seq=2).error is None


def leading(protocol: str) -> Driven:
    driven = Driven(protocol_class(protocol), node=1, nodes=3)
    if protocol == "raft":
        driven.wake("election", 2 * driven.config.election_max_us)
        driven.receive(2, r.PreVoteGranted(1))
        driven.receive(2, r.VoteGranted(1))
        driven.receive(2, r.Appended(1, True, 1, 0))
    else:
        driven.lead()
    assert driven.status.role == "leader"
    return driven


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_open_commands_are_decided_first_and_later_ones_sent_to_the_successor(
    protocol: str,
) -> None:
    driven, raft = leading(protocol), protocol == "raft"
    offer: type[Any] = r.TimeoutNow if raft else m.TimeoutNow
    driven.request(put(1))
    driven.request(Command(99, 1, TRANSFER, "", 2))
    assert not driven.sent(offer) and not driven.replies(), "a command is open"
    driven.request(put(2))
    assert not driven.sent(r.Append if raft else m.Accept), "nothing new is proposed"
    if raft:
        driven.receive(3, r.Appended(1, True, 2, 0))
        assert driven.decided() and not driven.sent(offer), "the successor lacks an entry"
        driven.receive(2, r.Appended(1, True, 2, 0))
    else:
        driven.receive(3, m.Accepted(Ballot(*driven.status.ballot), 1, 1))
        assert driven.decided()
    assert driven.sent(offer, to=2)
    assert [(x.client, x.answer.error) for x in driven.replies()][-1] == (99, None)
    if raft:
        driven.receive(2, r.RequestVote(2, 2, 1))
    else:
        driven.receive(2, m.Prepare(Ballot(9, 2), 2))
    (told,) = driven.replies()
    assert (told.seq, told.answer) == (2, Answer("not-leader", None, 2))


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_what_waited_is_proposed_when_the_successor_does_not_take_over(protocol: str) -> None:
    driven, raft = leading(protocol), protocol == "raft"
    driven.request(Command(99, 1, TRANSFER, "", 3))
    driven.request(put(1))
    driven.wake("transfer", driven.config.election_min_us)
    assert driven.status.role == "leader"
    assert driven.sent(r.Append if raft else m.Accept)
    assert driven.sent(r.Append if raft else m.Heartbeat)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_offer_from_a_node_that_does_not_lead_is_ignored(protocol: str) -> None:
    driven = Driven(protocol_class(protocol), node=3, nodes=3)
    if protocol == "raft":
        driven.receive(2, r.Append(5, 0, 0, (), 0, 1))
        driven.receive(1, r.TimeoutNow(5))
        driven.receive(2, r.TimeoutNow(4))
    else:
        driven.receive(2, m.Heartbeat(Ballot(5, 2), 0, 0, 1))
        driven.receive(1, m.TimeoutNow(Ballot(5, 2)))
        driven.receive(2, m.TimeoutNow(Ballot(4, 2)))
    assert driven.status.role == "follower"


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_processes_hand_over_when_a_client_asks(tmp_path: Path, protocol: str) -> None:
    """Long before any timeout, and without an election that another node began."""
    slow = {"heartbeat_us": 200_000, "election_min_us": 4_000_000, "election_max_us": 8_000_000}
    with Cluster(tmp_path, protocol=protocol, cluster=slow) as cluster:
        leader = cluster.leader()
        assert cluster.do(1, 1, "write", "x", 9)["error"] is None
        successor = leader % 3 + 1
        request = {"id": 4, "client": 9, "seq": 1, "f": TRANSFER, "value": successor}
        with cluster.connect(leader) as client:
            assert client.ask(request)["error"] is None
        until(lambda: cluster.status(successor)["role"] == "leader", "it leads", limit_s=3)
        assert cluster.do(1, 2, "read", "x")["value"] == 9
        assert "transfer" in cluster.events(leader)
        assert "leading" in cluster.events(successor)


def test_protocols_without_a_leader_refuse(tmp_path: Path) -> None:
    with Cluster(tmp_path, protocol="epaxos") as cluster, cluster.connect(1) as client:
        request = {"id": 4, "client": 9, "seq": 1, "f": TRANSFER, "value": 2}
        assert client.ask(request)["error"] == "unsupported"
