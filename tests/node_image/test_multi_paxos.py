"""Multi-Paxos as a cluster: elections, proposals, reads, and catching up."""

from __future__ import annotations

from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Checkpoint, Command, Persist
from node_image.protocols.multi_paxos import WINDOW_SLOTS
from node_image.protocols.proposal_queue import EAGER_SLOTS
from node_image.protocols.slot_log import Vote
from tests.node_image.cluster import Network, World
from tests.node_image.single_node import Driven, put

MULTI_PAXOS = protocol_class("multi-paxos")


def world(nodes: int = 5, seed: int = 1, **config: Any) -> World:
    made = World(MULTI_PAXOS, nodes=nodes, seed=seed, **config)
    made.run_until(lambda: agreed_leader(made) is not None)
    return made


def agreed_leader(of: World) -> int | None:
    """The leader, once a majority follows it."""
    leader = of.leader()
    believers = [s for s in of.statuses() if s is not None and s.leader == leader]
    return leader if leader and len(believers) > len(of.hosts) // 2 else None


def elections(of: World) -> int:
    return sum(note.what == "leading" for _, _, note in of.notes)


# ----------------------------------------------------------------------------- leaders


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 7])
def test_any_size_of_cluster_elects_and_answers(nodes: int) -> None:
    cluster = world(nodes)
    assert cluster.ask("write", "x", 1).error is None
    assert cluster.ask("read", "x", seq=2).value == 1


def test_a_leader_without_faults_stays() -> None:
    cluster = world()
    ballot = cluster.hosts[cluster.leader() or 0].process.status().ballot
    cluster.run(60_000_000)
    assert cluster.hosts[cluster.leader() or 0].process.status().ballot == ballot
    assert elections(cluster) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_crashed_leader_is_replaced_and_follows_when_it_returns(seed: int) -> None:
    cluster = world(seed=seed)
    cluster.ask("write", "x", 1)
    old = cluster.leader() or 0
    cluster.crash(old)
    cluster.run_until(lambda: agreed_leader(cluster) not in (None, old))
    cluster.ask("write", "x", 2, seq=2)
    cluster.boot(old)
    cluster.run(2_000_000)
    assert cluster.hosts[old].process.status().role == "follower"
    assert len({s.applied for s in cluster.statuses()}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_competing_proposers_converge(seed: int) -> None:
    """All nodes become candidates at once, repeatedly: no messages for a while, then all of
    them."""
    cluster = world(seed=seed)
    for _ in range(3):
        everybody = cluster.config.nodes
        cluster.network.cut = {(a, b) for a in everybody for b in everybody}
        cluster.run(3_000_000)
        assert cluster.leader() is None, "nobody has a quorum"
        cluster.network.cut = set()
        cluster.run_until(lambda: agreed_leader(cluster) is not None)
    assert cluster.ask("read", "x").error is None


def one_way(into: int, cluster: World) -> set[tuple[int, int]]:
    return {(other, into) for other in cluster.config.nodes if other != into}


@pytest.mark.parametrize("seed", range(3))
def test_a_follower_that_cannot_receive_does_not_depose_the_leader(seed: int) -> None:
    cluster = world(seed=seed)
    leader = cluster.leader() or 0
    deaf = next(n for n in cluster.config.nodes if n != leader)
    cluster.network.cut = one_way(deaf, cluster)
    cluster.run(20_000_000)
    assert cluster.hosts[deaf].process.counters["probes"] > 10, "it tries"
    cluster.network.cut = set()
    cluster.run(3_000_000)
    assert cluster.leader() == leader
    assert elections(cluster) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_leader_that_cannot_receive_steps_down(seed: int) -> None:
    cluster = world(seed=seed)
    deaf = cluster.leader() or 0
    cluster.network.cut = one_way(deaf, cluster)
    cluster.run_until(lambda: agreed_leader(cluster) not in (None, deaf))
    assert cluster.hosts[deaf].process.status().role != "leader"
    assert cluster.ask("write", "x", 1).error is None


@pytest.mark.parametrize("seed", range(3))
def test_a_bridge_keeps_one_leader(seed: int) -> None:
    """Two halves that see each other only through one node: the leader does not alternate."""
    cluster = world(seed=seed)
    leader = cluster.leader() or 0
    bridge, *rest = (n for n in cluster.config.nodes if n != leader)
    left, right = {leader, rest[0]}, set(rest[1:])
    assert bridge not in left | right
    cluster.network.cut = {
        (a, b) for a in left | right for b in left | right if (a in left) != (b in left)
    }
    cluster.run(20_000_000)
    assert cluster.leader() == leader
    assert elections(cluster) == 1
    assert cluster.ask("write", "x", 1).error is None


def test_a_minority_refuses_requests() -> None:
    cluster = world(3)
    old = cluster.leader() or 0
    cluster.network.cut = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if old in (a, b)}
    cluster.request(old, put(1))
    cluster.run(3_000_000)
    assert [a.error for _, a in cluster.replies[7, 1]] == ["interrupted"]
    cluster.request(old, put(2))
    assert [a.error for _, a in cluster.replies[7, 2]] == ["unavailable"]


# ----------------------------------------------------------------------------- proposing


def test_commands_share_a_slot_only_under_load() -> None:
    node = Driven(MULTI_PAXOS)
    ballot = node.lead()
    for seq in range(1, 21):
        node.request(put(seq, client=seq))
    assert node.protocol.log.last == EAGER_SLOTS, "the rest waits"
    node.receive(2, m.Accepted(ballot, 1, 1))
    (accept,) = node.sent(m.Accept)
    assert len(accept.commands) == 20 - EAGER_SLOTS


def test_full_batches_fill_the_pipeline_and_no_more() -> None:
    node = Driven(MULTI_PAXOS, batch_max=2, pipeline_max=10, pending_max=100)
    node.lead()
    for seq in range(1, 60):
        node.request(put(seq, client=seq))
    assert node.protocol.log.last == 10


def test_a_full_queue_refuses_definitely() -> None:
    node = Driven(MULTI_PAXOS, pending_max=3)
    node.lead()
    for seq in range(1, 4):
        assert node.request(put(seq, client=seq)) is not None
        assert not node.replies()
    node.request(put(4, client=4))
    assert [r.answer.error for r in node.replies()] == ["overloaded"]


def test_a_command_under_way_is_not_proposed_twice() -> None:
    node = Driven(MULTI_PAXOS)
    ballot = node.lead()
    node.request(put(1))
    node.request(put(1))
    assert not node.sent(m.Accept)
    node.receive(2, m.Accepted(ballot, 1, 1))
    assert len(node.replies()) == 1


def test_a_deposed_leader_distinguishes_queued_from_proposed_commands() -> None:
    node = Driven(MULTI_PAXOS)
    node.lead()
    for seq in range(1, EAGER_SLOTS + 2):
        node.request(put(seq, client=seq))
    node.receive(2, m.Heartbeat(Ballot(9, 2), 0, 0, 1))
    errors = [r.answer.error for r in node.replies()]
    assert errors == ["interrupted"] * EAGER_SLOTS + ["not-leader"]
    assert {r.answer.leader for r in node.replies()} == {2}


def test_proposals_leave_before_the_disk_and_votes_after_it() -> None:
    node = Driven(MULTI_PAXOS)
    node.lead()
    effects = node.request(put(1))
    accept, persist, vote = effects[:3]
    assert not accept.after_sync
    assert isinstance(persist, Persist)
    assert (vote.to, vote.after_sync) == (1, True)


def test_lost_proposals_are_sent_again_after_a_heartbeat() -> None:
    cluster = world(3)
    lost = []

    def lose_the_first(sender: int, to: int, message: Any) -> bool:
        lose = isinstance(message, m.Accept) and len(lost) < 2
        if lose:
            lost.append(message)
        return lose

    cluster.intercept = lose_the_first
    assert cluster.ask("write", "x", 1).error is None
    assert len(lost) == 2
    assert elections(cluster) == 1


def test_an_acceptor_keeps_no_vote_beyond_its_window() -> None:
    node = Driven(MULTI_PAXOS, node=2)
    node.receive(1, m.Accept(Ballot(1, 1), WINDOW_SLOTS + 1, (put(1),), 0))
    assert not node.sent(m.Accepted)
    assert not any(isinstance(e, Persist) for e in node.effects)


# ----------------------------------------------------------------------------- reads


@pytest.mark.parametrize("reads", ["log", "quorum", "lease"])
def test_reads_return_what_was_written(reads: str) -> None:
    cluster = world(3, reads=reads)
    for seq in range(1, 20, 2):
        cluster.ask("write", "x", seq, seq=seq)
        assert cluster.ask("read", "x", seq=seq + 1).value == seq


def test_only_reads_through_the_log_take_slots() -> None:
    slots = {}
    for reads in ("log", "quorum", "lease"):
        cluster = world(3, reads=reads)
        for seq in range(1, 11):
            cluster.ask("read", "x", seq=seq)
        slots[reads] = len(cluster.decided)
    assert slots == {"log": 10, "quorum": 0, "lease": 0}


def test_a_lease_answers_at_once_and_a_quorum_read_after_a_round() -> None:
    for reads, answers in (("lease", 1), ("quorum", 0)):
        node = Driven(MULTI_PAXOS, reads=reads)
        ballot = node.lead()
        (heartbeat,) = node.sent(m.Heartbeat)
        node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
        node.request(Command(7, 1, "read", "x", None))
        assert len(node.replies()) == answers
    (heartbeat,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp - 1, 0))
    assert not node.replies(), "a round from before the read says nothing"
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
    assert len(node.replies()) == 1


def test_reads_that_come_during_a_round_wait_for_the_next() -> None:
    node = Driven(MULTI_PAXOS, reads="quorum")
    ballot = node.lead()
    (first,) = node.sent(m.Heartbeat)
    node.request(Command(7, 1, "read", "x", None))
    assert not node.sent(m.Heartbeat), "one round at a time"
    node.receive(2, m.HeartbeatAck(ballot, first.stamp, 0))
    assert not node.replies()
    (second,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, second.stamp, 0))
    assert len(node.replies()) == 1


def test_an_expired_lease_falls_back_on_a_quorum() -> None:
    node = Driven(MULTI_PAXOS, reads="lease")
    ballot = node.lead()
    (heartbeat,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
    node.now += node.config.lease_us - node.config.clock_drift_max_us
    node.request(Command(7, 1, "read", "x", None))
    assert not node.replies()
    assert node.sent(m.Heartbeat)


def test_after_a_crash_an_acceptor_waits_for_the_lease_it_may_have_granted() -> None:
    node = Driven(MULTI_PAXOS, node=2, reads="lease")
    prepare = m.Prepare(Ballot(5, 3), 1)
    node.receive(3, prepare)
    assert not node.sent(m.Promise)
    node.now += node.config.lease_us
    node.receive(3, prepare)
    assert node.sent(m.Promise)


def test_a_read_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="log, quorum, lease"):
        Driven(MULTI_PAXOS, reads="guess")


# ----------------------------------------------------------------------------- catching up


@pytest.mark.parametrize("snapshot_every", [10, 2_000])
def test_a_node_that_was_down_catches_up(snapshot_every: int) -> None:
    cluster = world(3, snapshot_every=snapshot_every)
    away = next(n for n in cluster.config.nodes if n != cluster.leader())
    cluster.crash(away)
    for seq in range(1, 600):
        cluster.request(cluster.leader() or 0, put(seq))
        cluster.run(2_000)
    cluster.boot(away)
    cluster.run(2_000_000)
    assert len({s.applied for s in cluster.statuses()}) == 1
    installed = any(n.what == "snapshot-installed" for _, node, n in cluster.notes if node == away)
    assert installed == (snapshot_every == 10)


def test_a_candidate_that_is_behind_catches_up_before_it_proposes() -> None:
    node = Driven(MULTI_PAXOS, nodes=5)
    ballot = node.become_candidate()
    node.promise(2, ballot)
    node.promise(3, ballot, upto=2)
    assert node.status.role == "candidate"
    assert node.sent(m.CatchUp, to=3)
    votes = tuple(Vote(Ballot(1, 3), slot, (put(slot),), 0) for slot in (1, 2))
    node.receive(3, m.Entries(2, votes))
    assert node.status.role == "leader"
    assert node.status.applied == 2
    assert not node.sent(m.Accept), "nothing was open"


def test_learners_follow_and_catch_up_from_nothing() -> None:
    cluster = world(5, learners=(4, 5), snapshot_every=20)
    cluster.crash(5)
    for seq in range(1, 100):
        cluster.ask("append", "x", seq, seq=seq)
    cluster.hosts[5].durable.clear()
    cluster.boot(5)
    cluster.run(2_000_000)
    assert {s.role for s in cluster.statuses()} == {"leader", "follower", "learner"}
    assert len({s.applied for s in cluster.statuses()}) == 1
    assert cluster.hosts[5].process.context.machine.snapshot()["values"]["x"] == list(range(1, 100))


def test_learners_do_not_replace_voters() -> None:
    cluster = world(5, learners=(4, 5))
    first, second, *_ = (n for n in (1, 2, 3) if n != cluster.leader())
    cluster.crash(first)
    cluster.crash(second)
    cluster.run(3_000_000)
    assert cluster.leader() is None


def test_snapshots_bound_memory_and_disk() -> None:
    cluster = world(3, snapshot_every=50)
    for seq in range(1, 1_000):
        cluster.request(cluster.leader() or 0, put(seq))
        cluster.run(2_000)
    for host in cluster.hosts.values():
        assert len(host.durable) <= 2 * 50
        assert len(host.process.log.entries) <= 2 * 50
        assert host.process.counters["snapshots"] >= 10


def test_everything_is_recovered_when_all_crash_at_once() -> None:
    cluster = world(3)
    for seq in range(1, 50):
        assert cluster.ask("append", "x", seq, seq=seq).error is None
    for node in cluster.config.nodes:
        cluster.crash(node, keep=0)
    for node in cluster.config.nodes:
        cluster.boot(node)
    assert cluster.ask("read", "x", seq=50).value == list(range(1, 50))


def test_recovery_repeats_what_was_known_to_be_decided() -> None:
    ballot = Ballot(1, 1)
    disk = [
        m.Promised(ballot),
        Vote(ballot, 1, (put(1),), 0),
        Vote(ballot, 2, (put(2),), 1),
        m.Chosen(2, (Vote(Ballot(2, 3), 3, (put(3),), 2),)),
        Vote(Ballot(2, 3), 5, (put(5),), 3),
    ]
    node = Driven(MULTI_PAXOS, node=2, disk=disk)
    assert [d.slot for d in node.decided()] == [1, 2, 3]
    assert node.status.ballot == (2, 3)
    assert [d.commands for d in node.protocol.decided_log(2)] == [(put(2),), (put(3),)]


def test_a_checkpoint_keeps_promises_and_open_votes() -> None:
    node = Driven(MULTI_PAXOS, node=2, snapshot_every=1)
    ballot = Ballot(3, 1)
    node.receive(1, m.Accept(ballot, 1, (put(1),), 0))
    node.receive(1, m.Accept(ballot, 2, (put(2),), 1))
    (checkpoint,) = [e for e in node.effects if isinstance(e, Checkpoint)]
    again = Driven(MULTI_PAXOS, node=2, disk=checkpoint.records)
    assert again.status.applied == 1
    again.receive(3, m.Prepare(Ballot(2, 3), 1))
    assert again.sent(m.Nack)
    again.receive(3, m.Prepare(Ballot(4, 3), 2))
    (promise,) = again.sent(m.Promise)
    assert [vote.commands for vote in promise.entries] == [(put(2),)]


# ----------------------------------------------------------------------------- flexible quorums


@pytest.mark.parametrize("options", [{"q1": 4, "q2": 2}, {"q2": 2, "thrifty": True}])
def test_flexible_quorums_decide_with_two_and_elect_with_four(options: dict[str, Any]) -> None:
    cluster = World(protocol_class("flexible-paxos"), nodes=5, seed=2, options=options)
    cluster.run_until(lambda: cluster.leader() is not None)
    leader = cluster.leader() or 0
    others = [n for n in cluster.config.nodes if n != leader]
    for node in others[:3]:
        cluster.crash(node)
    assert cluster.ask("write", "x", 1).error is None, "two are enough to decide"
    cluster.crash(leader)
    cluster.boot(leader)
    cluster.run(3_000_000)
    assert cluster.leader() is None, "and not to elect"
    cluster.boot(others[0])
    cluster.boot(others[1])
    assert cluster.ask("read", "x", seq=2).value == 1


def test_a_grid_elects_by_rows_and_decides_by_columns() -> None:
    cluster = World(protocol_class("flexible-paxos"), nodes=6, seed=2, options={"grid_rows": 2})
    cluster.run_until(lambda: cluster.leader() is not None)
    assert cluster.ask("write", "x", 1).error is None


def test_thrifty_proposals_cost_fewer_messages() -> None:
    sent = {}
    for thrifty in (False, True):
        options = {"q1": 4, "q2": 2, "thrifty": thrifty}
        cluster = World(
            protocol_class("flexible-paxos"),
            nodes=5,
            seed=2,
            options=options,
            network=Network(delay_us=(200, 500)),
        )
        cluster.run_until(lambda cluster=cluster: cluster.leader() is not None)
        for seq in range(1, 101):
            cluster.ask("write", "x", seq, seq=seq)
        sent[thrifty] = cluster.sent["Accept"]
    assert sent[False] >= 4 * 100
    assert 100 <= sent[True] <= 150
