"""Elections come to an end although the votes for some nodes are always late: the rules of
`node_image.protocols.election_timing`, each in every protocol that has a leader."""

from __future__ import annotations

from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import paxos_messages as m
from node_image.protocols import raft_messages as r
from node_image.protocols.ballots import Ballot
from tests.node_image.single_node import Driven

PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")


class Election:
    """One node of a protocol with a leader, whatever it calls its messages."""

    def __init__(self, protocol: str, node: int = 3, nodes: int = 3) -> None:
        self.driven = Driven(protocol_class(protocol), node=node, nodes=nodes)
        self.raft = protocol == "raft"

    def ask(self, round_: int, sender: int = 1) -> list[Any]:
        """A candidate asks this node for its promise or vote; what it answers."""
        if self.raft:
            self.driven.receive(sender, r.RequestVote(round_, 0, 0))
            return self.driven.sent(r.VoteGranted)
        self.driven.receive(sender, m.Prepare(Ballot(round_, sender), 1))
        return self.driven.sent(m.Promise)

    def ask_first(self, round_: int, sender: int) -> list[Any]:
        """Another asks whether it should become a candidate."""
        if self.raft:
            self.driven.receive(sender, r.PreVote(round_, 0, 0))
            return self.driven.sent(r.PreVoteGranted)
        self.driven.receive(sender, m.Probe(Ballot(round_, sender)))
        return self.driven.sent(m.ProbeGranted)

    def become_candidate(self) -> None:
        protocol = self.driven.protocol
        protocol.context.out = []
        if self.raft:
            protocol.election.stand(self.driven.now)
        else:
            protocol.election.new_candidacy()
            protocol.election.begin_phase1(self.driven.now)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_timeout_is_drawn_anew_for_every_election(protocol: str) -> None:
    """Found by sweeps: where the votes for two nodes were always late, these were the first
    candidates in every election, because the others kept their longer timeouts; and nobody was
    elected."""
    voter, timeouts = Election(protocol), set()
    for round_ in range(1, 9):
        assert voter.ask(round_)
        timeouts.add(voter.driven.protocol.leadership.timing.timeout_us)
    assert len(timeouts) > 4
    candidate, timeouts = Election(protocol), set()
    for _ in range(8):
        candidate.become_candidate()
        timeouts.add(candidate.driven.protocol.leadership.timing.give_up_us)
    assert len(timeouts) > 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_candidate_that_asks_again_gets_no_more_time(protocol: str) -> None:
    """Found by the same seeds: it kept its voters waiting for as long as it asked."""
    voter = Election(protocol)
    voter.ask(1)
    voter.driven.now += voter.driven.config.election_min_us
    assert voter.ask(1), "it may have missed the first answer"
    assert voter.ask_first(2, sender=2), "nobody leads yet, and it has waited long enough"


def lead_and_step_down(election: Election, deposed: bool = False) -> int:
    """Lead, and step down, deposed or for want of a quorum; the timeout with which the node then
    waits."""
    protocol, config = election.driven.protocol, election.driven.config
    protocol.context.out = []
    protocol.leadership.begin(election.driven.now)
    protocol.leadership.begin_round(election.driven.now)
    if deposed:
        protocol.election.step_down("promised a higher ballot", election.driven.now)
    else:
        election.driven.wake("heartbeat", config.election_max_us + 1)
    assert protocol.context.role == "follower"
    return int(protocol.leadership.timing.timeout_us)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_loses_its_quorum_waits_longer_the_next_time(protocol: str) -> None:
    """Found by sweeps. Of Raft: three nodes that heard every acknowledgement too late led in turn,
    and the one node that a quorum could have followed was never the first candidate. Of
    Multi-Paxos: one such node led thirty times in a row; the others still heard its late
    heartbeats while it became a candidate again."""
    node = Election(protocol)
    longest = node.driven.config.election_max_us
    shortest = node.driven.config.election_min_us
    assert lead_and_step_down(node, deposed=True) <= longest
    for times in (2, 3, 4, 4):
        timeout_us = lead_and_step_down(node)
        assert times * shortest <= timeout_us <= times * longest
    assert lead_and_step_down(node, deposed=True) <= longest, "somebody could be followed"
