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
    """What the protocols call the same things by."""

    def __init__(self, protocol: str) -> None:
        self.driven = Driven(protocol_class(protocol), node=3)
        self.raft = protocol == "raft"

    def ask(self, round_: int, sender: int = 1) -> list[Any]:
        """A candidate asks this node for its promise or vote; what it answers."""
        if self.raft:
            self.driven.receive(sender, r.RequestVote(round_, 0, 0))
            return self.driven.sent(r.VoteGranted)
        self.driven.receive(sender, m.Prepare(Ballot(round_, sender), 1))
        return self.driven.sent(m.Promise)

    def sound_out(self, round_: int, sender: int) -> list[Any]:
        """Another asks whether it should stand."""
        if self.raft:
            self.driven.receive(sender, r.PreVote(round_, 0, 0))
            return self.driven.sent(r.PreVoteGranted)
        self.driven.receive(sender, m.Probe(Ballot(round_, sender)))
        return self.driven.sent(m.ProbeGranted)

    def stand(self) -> None:
        protocol = self.driven.protocol
        protocol._out = []
        if self.raft:
            protocol._stand(self.driven.now)
        else:
            protocol.ballot = protocol._new_ballot()
            protocol._begin_phase1(self.driven.now)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_patience_is_drawn_anew_for_every_election(protocol: str) -> None:
    """Found by sweeps: where the votes for two nodes were always late, they stood first in every
    election, because the others, once patient, stayed so; and nobody was elected."""
    voter, patience = Election(protocol), set()
    for round_ in range(1, 9):
        assert voter.ask(round_)
        patience.add(voter.driven.protocol._patience_us)
    assert len(patience) > 4
    candidate, patience = Election(protocol), set()
    for _ in range(8):
        candidate.stand()
        patience.add(candidate.driven.protocol._give_up_us)
    assert len(patience) > 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_candidate_that_asks_again_gets_no_more_time(protocol: str) -> None:
    """Found by the same seeds: it kept its voters waiting for as long as it stood."""
    voter = Election(protocol)
    voter.ask(1)
    voter.driven.now += voter.driven.config.election_min_us
    assert voter.ask(1), "it may have missed the first answer"
    assert voter.sound_out(2, sender=2), "nobody leads yet, and it has waited long enough"


def out_of_office(election: Election, deposed: bool = False) -> int:
    """Lead, and step down, deposed or for want of a quorum; the patience with which the node then
    waits."""
    protocol, config = election.driven.protocol, election.driven.config
    protocol._out = []
    protocol.role = "leader"
    protocol._reset_rounds(election.driven.now)
    protocol._begin_round(election.driven.now)
    if deposed:
        protocol._step_down("promised a higher ballot", election.driven.now)
    else:
        election.driven.wake("heartbeat", config.election_max_us + 1)
    assert protocol.role == "follower"
    return int(protocol._patience_us)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_loses_office_for_want_of_a_quorum_makes_way(protocol: str) -> None:
    """Found by sweeps. Of Raft: three nodes that heard every acknowledgement too late led in turn,
    and the one node that a quorum could have followed was never the first to lose patience. Of
    Multi-Paxos: one such node led thirty times in a row; the others still heard its late
    heartbeats while it stood again."""
    node = Election(protocol)
    longest = node.driven.config.election_max_us
    shortest = node.driven.config.election_min_us
    assert out_of_office(node, deposed=True) <= longest
    for times in (2, 3, 4, 4):
        patience_us = out_of_office(node)
        assert times * shortest <= patience_us <= times * longest
    assert out_of_office(node, deposed=True) <= longest, "somebody could be followed"
