"""Raft: the log as data, repairs, snapshots, and a cluster that heals."""

from __future__ import annotations

from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import raft_messages as m
from node_image.protocols.interface import NOOP, Checkpoint, Command, Persist
from node_image.protocols.raft import PIECE_ENTRIES
from node_image.protocols.raft_log import NO_TERM, Entry, RaftLog
from tests.node_image.cluster import Network, World
from tests.node_image.single_node import Driven, put
from tests.node_image.test_raft_mutants import entry, held, lead, store

RAFT = protocol_class("raft")


def make_world(**config: Any) -> World:
    return World(RAFT, **{"nodes": 3, "seed": 1, **config})


# ----------------------------------------------------------------------------- the log


def filled(*terms: int) -> RaftLog:
    log = RaftLog()
    for slot, term in enumerate(terms, 1):
        log.put(Entry(term, slot, (NOOP,)))
    return log


def test_put_replaces_the_entry_and_all_later_ones() -> None:
    log = filled(1, 1, 1)
    log.put(Entry(2, 2, (NOOP,)))
    assert (log.last, log.last_term) == (2, 2)
    assert [log.term_at(slot) for slot in range(4)] == [0, 1, 2, NO_TERM]


def test_put_refuses_a_hole() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        filled(1).put(Entry(1, 3, (NOOP,)))


def test_forget_keeps_the_last_forgotten_term() -> None:
    log = filled(1, 2, 3)
    log.forget(2)
    assert [log.term_at(slot) for slot in range(1, 5)] == [NO_TERM, 2, 3, NO_TERM]
    assert [e.slot for e in log.held(1, 9)] == [3]


def test_jump_keeps_what_follows_the_snapshot_if_it_can() -> None:
    log = filled(1, 2, 3)
    log.jump(2, 2)
    assert (log.base, log.applied, log.last) == (2, 2, 3)
    log = filled(1, 2, 3)
    log.jump(2, 9)
    assert (log.base, log.applied, log.last, log.last_term) == (2, 2, 2, 9)


# ----------------------------------------------------------------------------- following


def test_conflicting_entries_are_replaced_and_the_disk_agrees() -> None:
    node = Driven(RAFT, node=3)
    store(node, 1, 1, (0, 0), entry(1, 1, 5), entry(1, 2, 6))
    disk = [e.record for e in node.effects if isinstance(e, Persist)]
    store(node, 2, 2, (1, 1), entry(2, 2, 7))
    disk += [e.record for e in node.effects if isinstance(e, Persist)]
    assert held(node) == [(1, 5), (2, 7)]
    again = Driven(RAFT, node=3, disk=disk)
    assert held(again) == held(node)
    assert again.protocol.storage.term == 2


def test_a_follower_names_where_the_logs_may_agree() -> None:
    """A whole term is skipped at once, and committed entries are never compared again."""
    disk = [m.Log(0, tuple(entry(t, s) for s, t in enumerate((1, 2, 2, 2), 1)))]
    node = Driven(RAFT, node=3, disk=disk)
    for prev, meeting in (((9, 3), 4), ((4, 3), 1), ((2, 3), 1)):
        store(node, 2, 3, prev)
        assert [(a.ok, a.upto) for a in node.sent(m.Appended)] == [(False, meeting)]


def test_the_commit_index_does_not_exceed_the_matching_prefix() -> None:
    node = Driven(RAFT, node=3, disk=[m.Log(0, (entry(1, 1, 5), entry(1, 2, 6)))])
    node.receive(2, m.Append(2, 1, 1, (), 2, 0))
    assert node.status.applied == 1


# ----------------------------------------------------------------------------- leading


def test_a_follower_that_is_behind_gets_the_log_in_pieces() -> None:
    entries = tuple(entry(1, slot, slot) for slot in range(1, PIECE_ENTRIES + 100))
    node = Driven(RAFT, disk=[m.TermVote(1, None), m.Log(0, entries)])
    term = lead(node)
    node.receive(3, m.Appended(term, False, 0, 0))
    (first,) = node.sent(m.Append, to=3)
    assert (first.prev_index, len(first.entries)) == (0, PIECE_ENTRIES)
    node.receive(3, m.Appended(term, False, 0, 0))
    assert node.sent(m.Append, to=3) == [], "the same mismatch again, while it is being answered"
    node.receive(3, m.Appended(term, True, PIECE_ENTRIES, 0))
    (second,) = node.sent(m.Append, to=3)
    assert second.entries[-1].slot == node.protocol.log.last
    node.now += node.config.heartbeat_us
    node.receive(3, m.Appended(term, False, PIECE_ENTRIES, 0))
    assert node.sent(m.Append, to=3) == [second], "lost, it is sent again"


def test_compacted_entries_are_sent_as_a_snapshot() -> None:
    node = Driven(RAFT, snapshot_every=4)
    term = lead(node)
    for seq in range(1, 9):
        node.request(put(seq))
        node.receive(2, m.Appended(term, True, seq + 1, 0))
    node.receive(3, m.Appended(term, False, 0, 0))
    (offer,) = node.sent(m.InstallSnapshot, to=3)
    follower = Driven(RAFT, node=3, snapshot_every=4)
    follower.receive(1, offer)
    assert follower.status.applied == offer.slot == node.status.applied
    assert follower.machine.snapshot() == node.machine.snapshot()
    (checkpoint,) = [e for e in follower.effects if isinstance(e, Checkpoint)]
    again = Driven(RAFT, node=3, disk=checkpoint.records)
    assert again.machine.snapshot() == node.machine.snapshot()
    assert [(a.ok, a.upto) for a in follower.sent(m.Appended)] == [(True, offer.slot)]


def test_learners_start_no_election_and_do_not_count() -> None:
    world = World(RAFT, nodes=4, seed=3, learners=(4,))
    assert world.ask("write", "x", 1).error is None
    world.run(500_000)
    assert world.hosts[4].process.context.machine.apply(Command(0, 0, "read", "x", None)).value == 1
    for node in (1, 2):
        world.crash(node)
    world.run(5_000_000)
    assert world.leader() is None
    assert world.hosts[4].process.context.role == "learner"


# ----------------------------------------------------------------------------- clusters


@pytest.mark.parametrize("reads", ["log", "quorum", "lease"])
def test_a_cluster_elects_writes_and_reads(reads: str) -> None:
    world = make_world(reads=reads)
    assert world.ask("write", "x", 5).error is None
    assert world.ask("read", "x", seq=2).value == 5
    assert world.ask("cas", "x", (4, 6), seq=3).error == "mismatch"
    assert world.ask("read", "y", seq=4).value is None


def test_quorum_reads_send_nothing_to_the_log() -> None:
    world = make_world(reads="quorum")
    world.ask("write", "x", 5)
    slots = len(world.decided)
    assert world.ask("read", "x", seq=2).value == 5
    assert len(world.decided) == slots


def test_the_leader_crashes_and_nothing_is_lost() -> None:
    world = make_world(nodes=5)
    for seq in range(1, 6):
        leader = world.leader()
        world.ask("write", "x", seq, seq=2 * seq)
        if leader is not None:
            world.crash(leader)
            world.run(100_000)
            world.boot(leader)
        assert world.ask("read", "x", seq=2 * seq + 1).value == seq
    assert world.conflicts == []


def test_all_nodes_restart_and_nothing_is_lost() -> None:
    world = make_world()
    world.ask("write", "x", 5)
    for node in (1, 2, 3):
        world.crash(node, keep=0)
    for node in (1, 2, 3):
        world.boot(node)
    assert world.ask("read", "x", seq=2).value == 5


def test_a_node_that_was_down_catches_up_from_a_snapshot() -> None:
    world = make_world(snapshot_every=10)
    world.ask("write", "x", 0, client=2)
    away = next(n for n in (1, 2, 3) if n != world.leader())
    world.crash(away)
    for seq in range(1, 60):
        world.ask("append", "y", seq, seq=seq)
    world.boot(away)
    world.run_until(lambda: len({status.applied for status in world.statuses()}) == 1)
    snapshots = [host.process.context.machine.snapshot() for host in world.hosts.values()]
    assert all(snapshot == snapshots[0] for snapshot in snapshots)


def test_disk_and_memory_stay_bounded() -> None:
    world = make_world(snapshot_every=20)
    for seq in range(1, 200):
        world.ask("write", "x", seq, seq=seq)
    world.run(500_000)
    for host in world.hosts.values():
        assert len(host.durable) < 60
        log = host.process.log
        assert log.last - log.base <= 20 + 20


def test_a_one_way_cut_does_not_depose_the_leader() -> None:
    """A follower that receives nothing asks for pre-votes, and gets none."""
    world = make_world(nodes=5)
    world.run_until(lambda: world.leader() is not None)
    leader = world.leader()
    deaf = next(n for n in range(1, 6) if n != leader)
    term = world.hosts[deaf].process.storage.term
    world.network.cut = {(n, deaf) for n in range(1, 6) if n != deaf}
    world.run(5_000_000)
    assert world.leader() == leader
    assert world.hosts[deaf].process.storage.term == term


def test_a_leader_that_cannot_receive_steps_down() -> None:
    world = make_world(nodes=5)
    world.run_until(lambda: world.leader() is not None)
    leader = world.leader()
    assert leader is not None
    world.network.cut = {(n, leader) for n in range(1, 6) if n != leader}
    world.run(3_000_000)
    assert world.hosts[leader].process.context.role != "leader"
    assert world.leader() not in (None, leader)


def test_lost_appends_are_repaired_by_heartbeats() -> None:
    """A follower cannot report an Append that it never received: the heartbeat's check finds it."""
    world = make_world(network=Network())
    world.ask("write", "x", 1)
    lost = []

    def lose(sender: int, to: int, message: Any) -> bool:
        if isinstance(message, m.Append) and message.entries and len(lost) < 2:
            lost.append(to)
            return True
        return False

    world.intercept = lose
    assert world.ask("write", "x", 2, seq=2).error is None
    assert len(lost) == 2


def test_an_isolated_leader_refuses_requests() -> None:
    world = make_world()
    world.ask("write", "x", 1)
    old = world.leader()
    assert old is not None
    world.network.cut = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if (a == old) != (b == old)}
    world.request(old, Command(9, 1, "write", "x", 2))
    world.run(3_000_000)
    errors = [answer.error for _, answer in world.replies[9, 1]]
    assert errors == ["interrupted"]


# ----------------------------------------------------------------------------- Figure 8


def only(world: World, *group: int) -> None:
    """From now on messages are delivered between these nodes only."""
    nodes = world.config.nodes
    world.network.cut = {
        (a, b) for a in nodes for b in nodes if a != b and not (a in group and b in group)
    }


def elected(world: World, *among: int) -> int:
    """Let the nodes among these elect a new leader."""
    only(world, *among)
    old = {node: world.hosts[node].process.storage.term for node in among}

    def leads(node: int) -> bool:
        process = world.hosts[node].process
        return process.context.role == "leader" and process.storage.term > old[node]

    world.run_until(lambda: any(leads(node) for node in among))
    return next(node for node in among if leads(node))


def figure_8(protocol: type[Any], seed: int) -> list[str]:
    """The schedule of the paper's Figure 8; returns the final disagreements of the replicas."""
    world = World(protocol, nodes=5, seed=seed)
    world.ask("write", "x", 1)
    world.run(200_000)
    s1 = world.leader()
    assert s1 is not None
    s2, *others = (n for n in world.config.nodes if n != s1)
    # (a) s1's entry reaches s2 only.
    only(world, s1, s2)
    world.request(s1, Command(2, 1, "write", "x", 2))
    world.run(50_000)
    world.crash(s1)
    # (b) Another is elected by the rest, and appends at the same index, only locally.
    s5 = elected(world, *others)
    only(world)
    world.request(s5, Command(3, 1, "write", "x", 3))
    world.run(50_000)
    world.crash(s5)
    # (c) A node with s1's entry leads again, and replicates it to a majority.
    world.boot(s1)
    rest = [n for n in others if n != s5]
    only(world, s1, s2, *rest)
    world.run(5_000_000)
    # (d) s5 returns; nodes with that entry vote for it, because its last term is higher.
    world.crash(s1)
    world.crash(s2)
    world.boot(s5)
    only(world, s5, *rest)
    world.run(5_000_000)
    world.boot(s1)
    world.boot(s2)
    world.network.cut = set()
    world.ask("write", "x", 4, client=4)
    world.run(1_000_000)
    return world.conflicts


@pytest.mark.parametrize("seed", range(5))
def test_figure_8_replaces_nothing_that_was_committed(seed: int) -> None:
    assert figure_8(RAFT, seed) == []


def test_figure_8_replaces_what_counting_copies_had_committed() -> None:
    """An entry of an old term, committed by R1 on a majority, is lost to a later leader."""
    assert any(figure_8(protocol_class("raft", "R1"), seed) for seed in range(5))
