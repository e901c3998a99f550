"""Elections succeed although the votes for some nodes are always late: the rules of
`node_image.protocols.election_timing`, each in every protocol that has a leader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols import raft_messages as r
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import ClusterConfig
from tests.node_image.single_node import Driven

PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")


class Election:
    """One node of a protocol with a leader, independent of the names of its messages."""

    def __init__(self, protocol: str, node: int = 3, nodes: int = 3, **config: Any) -> None:
        self.driven = Driven(protocol_class(protocol), node=node, nodes=nodes, **config)
        self.raft = protocol == "raft"

    def ask(self, round_: int, sender: int = 1) -> list[Any]:
        """A candidate asks this node for its promise or vote; returns the answer."""
        if self.raft:
            self.driven.receive(sender, r.RequestVote(round_, 0, 0))
            return self.driven.sent(r.VoteGranted)
        self.driven.receive(sender, m.Prepare(Ballot(round_, sender), 1))
        return self.driven.sent(m.Promise)

    def ask_first(self, round_: int, sender: int) -> list[Any]:
        """Another node sends a probe or asks for a pre-vote."""
        if self.raft:
            self.driven.receive(sender, r.PreVote(round_, 0, 0))
            return self.driven.sent(r.PreVoteGranted)
        self.driven.receive(sender, m.Probe(Ballot(round_, sender)))
        return self.driven.sent(m.ProbeGranted)

    def become_candidate(self) -> None:
        protocol = self.driven.protocol
        protocol.context.out = []
        if self.raft:
            protocol.election.campaign(self.driven.now)
        else:
            protocol.election.new_candidacy()
            protocol.election.begin_phase1(self.driven.now)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_timeout_is_drawn_anew_for_every_election(protocol: str) -> None:
    """Found by sweeps: where the votes for two nodes were always late, these were the first
    candidates in every election, because the others kept their longer timeouts; and no node was
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
def test_a_repeated_request_of_a_candidate_does_not_extend_the_timeout(protocol: str) -> None:
    """Found by the same seeds: its voters waited for as long as it repeated its request."""
    voter = Election(protocol)
    voter.ask(1)
    voter.driven.now += voter.driven.config.election_min_us
    assert voter.ask(1), "it may have missed the first answer"
    assert voter.ask_first(2, sender=2), "there is no leader yet, and it has waited long enough"


def lead_and_step_down(election: Election, deposed: bool = False) -> int:
    """Lead, and step down, deposed or without a quorum; returns the node's next timeout."""
    protocol, config = election.driven.protocol, election.driven.config
    protocol.context.out = []
    protocol.leadership.begin(election.driven.now)
    protocol.leadership.begin_round(election.driven.now)
    if deposed:
        protocol.election.step_down("promised a higher ballot", election.driven.now)
    else:
        for _ in range(config.election_max_us // config.heartbeat_us + 1):
            election.driven.wake("heartbeat", config.heartbeat_us)
    assert protocol.context.role == "follower"
    return int(protocol.leadership.timing.timeout_us)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_that_lost_its_quorum_waits_longer_the_next_time(protocol: str) -> None:
    """Found by sweeps. In Raft, three nodes that received every acknowledgement too late led in
    turn, and the one node that a quorum could have followed was never the first candidate. In
    Multi-Paxos, one such node led thirty times in a row; the others still received its late
    heartbeats while it became a candidate again."""
    node = Election(protocol)
    longest = node.driven.config.election_max_us
    shortest = node.driven.config.election_min_us
    assert lead_and_step_down(node, deposed=True) <= longest
    for times in (2, 3, 4, 4):
        timeout_us = lead_and_step_down(node)
        assert times * shortest <= timeout_us <= times * longest
    assert lead_and_step_down(node, deposed=True) <= longest, "another node could be followed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_that_stalled_itself_does_not_wait_longer(protocol: str) -> None:
    """Found by pausing leaders: they waited twice as long, once resumed, though no link failed."""
    node = Election(protocol)
    config, driven = node.driven.config, node.driven
    driven.protocol.context.out = []
    driven.protocol.leadership.begin(driven.now)
    driven.protocol.leadership.begin_round(driven.now)
    driven.wake("heartbeat", config.heartbeat_us)
    driven.wake("heartbeat", 5 * config.election_max_us)
    assert driven.status.role == "follower"
    assert driven.protocol.leadership.timing.timeout_us <= config.election_max_us


# ---------------------------------------------------------------------- measured heartbeats


class Adaptive(Election):
    """A follower of node 2, with a floor of 300 ms under a timeout of 400 to 800 ms."""

    floor_us = 300_000

    def __init__(self, protocol: str, **config: Any) -> None:
        super().__init__(protocol, nodes=5, election_floor_us=self.floor_us, **config)
        self.stamp = 0

    def beat(self, gap_us: int, leader: int = 2, term: int | None = None) -> None:
        """`term`: of Raft, or the round of the ballot; as the leader's number where not said."""
        self.driven.now += gap_us
        self.stamp += 1
        term = leader if term is None else term
        if self.raft:
            self.driven.receive(leader, r.Append(term, 0, 0, (), 0, self.stamp))
        else:
            self.driven.receive(leader, m.Heartbeat(Ballot(term, leader), 0, 0, self.stamp))

    def beats(self, gap_us: int = 100_000, times: int = 60, leader: int = 2) -> None:
        for _ in range(times):
            self.beat(gap_us, leader)

    def tolerated_us(self) -> int:
        """The shortest silence after which it would welcome another leader."""
        heard_us = self.driven.now
        for silence_us in range(0, 900_000, 10_000):
            self.driven.now = heard_us + silence_us
            if self.ask_first(9, sender=4):
                self.driven.now = heard_us
                return silence_us
        raise AssertionError("it would welcome no leader")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_time_outs_shrink_to_the_floor_where_heartbeats_come_regularly(protocol: str) -> None:
    node = Adaptive(protocol)
    node.beats(times=20)
    assert node.tolerated_us() == 400_000, "it has not measured enough"
    node.beats()
    assert node.tolerated_us() == 300_000
    node.driven.protocol.context.out = []
    node.driven.protocol.leadership.timing.wait_for_leader(400_000, 800_000)
    node.driven.wake("election", 299_000)
    asks: Any = r.PreVote if node.raft else m.Probe
    assert not node.driven.sent(asks), "the drawn timeout is from 300 to 600 ms"
    node.driven.wake("election", 301_001)
    assert node.driven.sent(asks)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_long_gap_is_remembered_and_an_election_is_no_gap(protocol: str) -> None:
    node = Adaptive(protocol)
    node.beats()
    node.beats(leader=3, gap_us=100_000, times=1)
    node.beat(1_000_000, leader=4)
    node.beats(leader=4)
    assert node.tolerated_us() == 300_000
    node.beat(120_000, leader=4)
    assert node.tolerated_us() == 360_000
    node.beat(390_000, leader=4)
    node.beats(leader=4, times=30)
    assert node.tolerated_us() == 400_000, "never more than is configured"
    node.beats(leader=4, times=120)
    assert node.tolerated_us() == 300_000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_time_until_the_same_node_leads_again_is_no_gap(protocol: str) -> None:
    """Found by failures of one leader after the other: the node that had led in between waited for
    the whole timeout from then on."""
    node = Adaptive(protocol)
    node.beats()
    node.beat(3_000_000, leader=2, term=5)
    for _ in range(10):
        node.beat(100_000, leader=2, term=5)
    assert node.tolerated_us() == 300_000


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_a_lease_is_respected_to_its_end(protocol: str) -> None:
    node = Adaptive(protocol, reads="lease", lease_us=350_000)
    node.beats()
    assert node.tolerated_us() == 350_000


def test_without_a_floor_nothing_adapts() -> None:
    node = Adaptive("multi-paxos")
    node.driven.protocol.context.config = replace(node.driven.config, election_floor_us=0)
    node.beats()
    assert node.tolerated_us() == 400_000


@pytest.mark.parametrize("floor_us", [-1, 1, 199_999, 400_001])
def test_floors_that_cannot_work_are_refused(floor_us: int) -> None:
    with pytest.raises(ValueError, match="election_floor_us"):
        ClusterConfig(nodes=(1, 2, 3), election_floor_us=floor_us)
