"""Two-phase commit: one scenario for each safeguard, blocking and its metrics, recovery, bounds.

Each scenario returns an observation. The correct protocol must give `expected`, the mutant
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from node_image.mutants import mutants_of, protocol_class
from node_image.protocols import two_phase_messages as m
from node_image.protocols.context import Context
from node_image.protocols.interface import Broadcast, Command, Persist, Reply, Send
from node_image.protocols.two_phase_messages import Txn
from tests.node_image.cluster import World
from tests.node_image.single_node import Driven, put

TWO_PHASE = protocol_class("two-phase-commit")
READ = Command(9, 1, "read", "x", None)
T1, T2 = Txn(1, 1), Txn(1, 2)
Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


def prepare(txn: Txn, value: int, key: str = "x", settled: Txn | None = None) -> m.Prepare:
    return m.Prepare(txn, (put(value, key=key, client=value),), settled or T1)


def yes(txn: Txn, *done: Txn) -> m.Vote:
    return m.Vote(txn, True, done)


def value_of(node: Driven, key: str = "x") -> Any:
    return node.machine.apply(Command(0, 0, "read", key, None)).value


def outcomes(node: Driven) -> dict[Any, bool]:
    """How transactions ended in the last event."""
    return {decided.slot: bool(decided.commands) for decided in node.decided()}


def records(node: Driven) -> list[Any]:
    return [e.record for e in node.effects if isinstance(e, Persist)]


@scenario("B5", True)
def vote_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    return all(e.after_sync for e in node.effects if isinstance(e, Send))


@scenario("B6", [m.Vote(T2, False, ())])
def vote_survives_a_restart(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, disk=[m.Prepared(T1, (put(1),))])
    node.receive(1, prepare(T2, 5))
    return node.sent(m.Vote)


@scenario("B7", Txn(4, 1))
def names_are_not_used_twice(protocol: type[Any]) -> Any:
    node = Driven(protocol, disk=[m.Life(3)])
    node.request(put(1))
    return node.sent(m.Prepare)[0].txn


@scenario("B9", [])
def duplicate_is_no_second_vote(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(put(1))
    for _ in range(2):
        node.receive(2, yes(T1))
    return node.sent(m.Commit)


@scenario("M8", [5])
def retried_command_is_applied_once(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    for txn in (T1, T2):
        node.request(Command(7, 1, "append", "x", 5))
        for participant in (2, 3):
            node.receive(participant, yes(txn))
    assert node.status.applied == 2
    return value_of(node)


@scenario("T1", [])
def commit_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(put(1))
    node.disk_stuck = True
    said = []
    for participant in (2, 3):
        node.receive(participant, yes(T1))
        said += [*node.sent(m.Commit), *node.replies()]
    return said


@scenario("T2", [m.Prepared(T1, (put(5, client=5),))])
def yes_is_on_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    assert node.sent(m.Vote)[0].yes
    return records(node)


@scenario("T3", "Commit")
def commit_is_remembered_for_the_last_participant(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(put(1))
    for participant in (2, 3):
        node.receive(participant, yes(T1))
    node.receive(2, m.Done((T1,)))
    node.receive(3, m.Inquire((T1,)))
    (answer,) = [*node.sent(m.Commit), *node.sent(m.Abort)]
    return type(answer).__name__


@scenario("T4", {})
def doubt_ends_by_an_answer_only(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    node.wake("inquire", 60_000_000)
    assert node.sent(m.Inquire) == [m.Inquire((T1,))]
    return outcomes(node)


@scenario("T5", [])
def read_waits_for_the_lock(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    node.request(READ)
    return node.replies()


@scenario("T6", [])
def one_yes_is_missing(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(put(1))
    node.receive(2, yes(T1))
    return node.sent(m.Commit)


@scenario("T7", [])
def late_prepare_is_not_voted_on(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    node.receive(1, m.Commit((T1,)))
    node.receive(1, prepare(T1, 5))
    return node.sent(m.Vote)


@scenario("T8", [m.Vote(T2, False, ())])
def locked_key_is_refused(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, prepare(T1, 5))
    node.receive(1, prepare(T2, 6))
    return node.sent(m.Vote)


@scenario("T9", ["Abort", "Abort"])
def transaction_reported_aborted_stays_aborted(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(put(1))
    node.wake("retry", 60_000_000)
    assert [reply.answer.error for reply in node.replies()] == ["unavailable"]
    said = []
    for participant in (2, 3):
        node.receive(participant, yes(T1))
        said += [type(message).__name__ for message in node.sent(m.Commit) + node.sent(m.Abort)]
    return said


@scenario("T10", True)
def checkpoint_keeps_what_is_in_doubt(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, snapshot_every=1)
    node.receive(1, prepare(T1, 5))
    node.receive(1, prepare(T2, 6, key="y"))
    node.receive(1, m.Commit((T1,)))
    (checkpoint,) = [e for e in node.effects if hasattr(e, "records")]
    again = Driven(protocol, node=2, disk=checkpoint.records)
    again.receive(1, m.Commit((T2,)))
    return value_of(again, "y") == 6


@scenario("T11", [1, 2])
def commands_of_one_client_keep_their_order(protocol: type[Any]) -> Any:
    """A late Commit is overtaken by the client's next command; found by the sweep, seed 1721."""
    node = Driven(protocol, node=2)
    node.receive(1, m.Prepare(T1, (put(1, key="x"),), T1))
    node.receive(1, m.Prepare(T2, (put(2, key="y"),), T1))
    node.receive(1, m.Commit((T2,)))
    node.receive(1, m.Commit((T1,)))
    node.receive(1, m.Prepare(Txn(1, 3), (put(2, key="y"),), T1))
    node.receive(1, m.Commit((Txn(1, 3),)))
    return [value_of(node, "x"), value_of(node, "y")]


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_the_mutant_fails_and_two_phase_commit_passes(mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(TWO_PHASE) == expected
    assert run(protocol_class("two-phase-commit", mutant)) != expected


def test_every_mutant_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("two-phase-commit")} == set(SCENARIOS)


# ----------------------------------------------------------------------------- one coordinator


def coordinator(**config: Any) -> Driven:
    return Driven(TWO_PHASE, **config)


def committed(node: Driven, command: Command, txn: Txn, *done: Txn) -> None:
    node.request(command)
    for participant in (2, 3):
        node.receive(participant, yes(txn, *done))


def test_a_write_goes_through_both_phases() -> None:
    node = coordinator()
    node.request(put(1))
    assert node.sent(m.Prepare) == [m.Prepare(T1, (put(1),), T1)]
    node.receive(2, yes(T1))
    assert node.effects == []
    node.receive(3, yes(T1))
    assert records(node) == [m.Committed(T1, (put(1),), T1)]
    assert node.sent(m.Commit) == [m.Commit((T1,))]
    assert [reply.answer.error for reply in node.replies()] == [None]


def test_a_no_vote_aborts_with_a_definite_answer() -> None:
    node = coordinator()
    node.request(put(1))
    node.receive(2, m.Vote(T1, False, ()))
    assert node.sent(m.Abort) == [m.Abort((T1,))]
    assert [reply.answer.error for reply in node.replies()] == ["unavailable"]
    assert outcomes(node) == {"1.1": False}
    assert records(node) == [], "presumed abort: nothing is written"


def test_transactions_on_one_key_are_sequential_and_others_do_not_wait() -> None:
    node = coordinator()
    node.request(put(1))
    node.request(put(1, client=8))
    assert node.sent(m.Prepare) == []
    node.request(put(1, client=9, key="y"))
    assert [p.txn for p in node.sent(m.Prepare)] == [T2]
    for participant in (2, 3):
        node.receive(participant, yes(T1))
    assert [p.txn for p in node.sent(m.Prepare)] == [Txn(1, 3)]


def test_the_coordinator_begins_nothing_before_its_life_is_on_disk() -> None:
    node = coordinator()
    fresh = TWO_PHASE(Context(1, node.config, node.machine, Random(1), lambda: 0))
    effects = fresh.start([], 0)
    assert Send(1, m.Logged(Txn(1, 0)), True) in effects
    (reply,) = fresh.request(put(1), 0)
    assert isinstance(reply, Reply)
    assert reply.answer.error == "unavailable"


def test_forgotten_transactions_are_presumed_aborted_and_unconfirmed_ones_are_not() -> None:
    node = coordinator()
    committed(node, put(1), T1)
    node.request(put(2))
    node.receive(3, m.Inquire((T1, T2, Txn(0, 9))))
    assert node.sent(m.Commit) == [m.Commit((T1,))]
    assert node.sent(m.Abort) == [m.Abort((Txn(0, 9),))], "the second is still open"


def test_after_a_crash_the_coordinator_repeats_its_decisions() -> None:
    disk = [m.Life(1), m.Committed(T1, (put(1),), T1), m.Committed(T2, (put(2),), T2)]
    node = coordinator(disk=disk)
    assert node.sent(m.Commit) == [m.Commit((T2,))], "the first was confirmed by all"
    assert value_of(node) == 2
    node.receive(2, m.Inquire((Txn(1, 3),)))
    assert node.sent(m.Abort) == [m.Abort((Txn(1, 3),))], "it was never decided"


def test_a_checkpoint_keeps_a_decision_that_is_being_written() -> None:
    node = coordinator(snapshot_every=1)
    node.request(put(1))
    node.request(put(1, client=8, key="y"))
    for txn in (T1, T2):
        node.receive(2, yes(txn))
    node.disk_stuck = True
    node.receive(3, yes(T1))
    node.receive(3, yes(T2))
    effects = node.receive(1, m.Logged(T1))
    (checkpoint,) = [e for e in effects if hasattr(e, "records")]
    again = coordinator(disk=checkpoint.records)
    assert value_of(again) == 1
    assert value_of(again, "y") == 1


def test_confirmations_are_sent_with_votes() -> None:
    node = Driven(TWO_PHASE, node=2)
    node.receive(1, prepare(T1, 5))
    node.receive(1, m.Commit((T1,)))
    assert node.sent(m.Done) == []
    node.receive(1, prepare(T2, 6))
    assert node.sent(m.Vote) == [yes(T2, T1)]
    assert node.wake("done") == []


def test_finished_transactions_are_forgotten_and_doubt_before_them_ends() -> None:
    """A finished transaction whose Commit did not arrive here was aborted."""
    node = Driven(TWO_PHASE, node=2)
    node.receive(1, prepare(T1, 5))
    node.receive(1, prepare(Txn(1, 7), 6, settled=T2))
    assert outcomes(node) == {"1.1": False}
    node.receive(1, prepare(T1, 5))
    assert node.sent(m.Vote) == []


def test_learners_are_refused() -> None:
    with pytest.raises(ValueError, match="no learners"):
        Driven(TWO_PHASE, nodes=3, learners=(3,))


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_a_bad_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match="vote_timeout_us"):
        coordinator(options={"vote_timeout_us": timeout})


# ----------------------------------------------------------------------------- blocking


def test_reads_wait_for_the_outcome_and_the_wait_is_measured() -> None:
    node = Driven(TWO_PHASE, node=2)
    node.receive(1, prepare(T1, 5))
    node.now += 1_000
    node.request(READ)
    node.request(READ._replace(client=10, key="y"))
    assert [reply.client for reply in node.replies()] == [10], "other keys are not blocked"
    node.now += 2_000
    node.receive(1, m.Commit((T1,)))
    assert [(reply.client, reply.answer.value) for reply in node.replies()] == [(9, 5)]
    counters = node.protocol.counters
    assert (counters["in_doubt"], counters["in_doubt_us"]) == (1, 3_000)
    assert (counters["blocked"], counters["blocked_us"]) == (1, 2_000)


def test_a_participant_is_still_in_doubt_after_a_crash() -> None:
    node = Driven(TWO_PHASE, node=2, disk=[m.Prepared(T1, (put(1),))])
    assert node.sent(m.Inquire) == [m.Inquire((T1,))]
    node.request(READ)
    assert node.replies() == []
    node.receive(1, m.Abort((T1,)))
    assert [reply.answer.value for reply in node.replies()] == [None]


def in_doubt(world: World) -> list[int]:
    return [n for n, h in world.hosts.items() if h.process and h.process.participant.in_doubt]


def killed_between_the_phases(seed: int = 1) -> World:
    """The coordinator crashes after it has received all votes, before it decides."""
    world = World(TWO_PHASE, nodes=3, seed=seed)
    assert world.ask("write", "x", 1).error is None
    world.run(500_000)

    def kill(sender: int, to: int, message: Any) -> bool:
        if isinstance(message, m.Vote) and world.hosts[1].process is not None:
            world.at(world.now, world.crash, 1, 0)
        return isinstance(message, m.Vote)

    world.intercept = kill
    world.request(1, Command(2, 1, "write", "x", 2))
    world.run_until(lambda: world.hosts[1].process is None)
    world.intercept = None
    return world


def test_without_its_coordinator_the_cluster_blocks_and_stays_consistent() -> None:
    world = killed_between_the_phases()
    world.run(30_000_000)
    assert in_doubt(world) == [2, 3]
    for node in (2, 3):
        world.request(node, Command(3, node, "read", "x", None))
        world.request(node, Command(3, 10 + node, "read", "y", None))
    world.run(5_000_000)
    assert sorted(world.replies) == [(1, 1), (3, 12), (3, 13)], "x is locked, y is not"
    notes = [(node, note.what) for _, node, note in world.notes if note.what == "in-doubt"]
    assert sorted(notes) == [(2, "in-doubt"), (3, "in-doubt")]


def test_when_the_coordinator_returns_doubt_ends() -> None:
    world = killed_between_the_phases()
    world.run(10_000_000)
    world.request(2, Command(3, 1, "read", "x", None))
    world.run(1_000_000)
    world.boot(1)
    world.run(2_000_000)
    assert in_doubt(world) == []
    assert [answer.value for _, answer in world.replies[3, 1]] == [1], "aborted"
    ended = [note.about for _, _, note in world.notes if note.what == "in-doubt-ended"]
    assert len(ended) == 2
    assert all(about["us"] > 10_000_000 and about["outcome"] == "abort" for about in ended)
    assert world.ask("write", "x", 3, seq=2).error is None
    assert world.conflicts == []


def test_a_decision_on_disk_survives_its_coordinator() -> None:
    """Killed when the record is written, before any Commit is sent."""
    world = World(TWO_PHASE, nodes=3, seed=2)
    world.ask("write", "x", 1)
    world.run(500_000)

    def kill(sender: int, to: int, message: Any) -> bool:
        if isinstance(message, m.Logged):
            world.at(world.now, world.crash, 1)
        return isinstance(message, m.Logged)

    world.intercept = kill
    world.request(1, Command(2, 1, "write", "x", 2))
    world.run_until(lambda: world.hosts[1].process is None)
    world.intercept = None
    world.run(1_000_000)
    assert in_doubt(world) == [2, 3]
    world.boot(1)
    world.run(1_000_000)
    assert in_doubt(world) == []
    assert [value_of_host(world, node) for node in (1, 2, 3)] == [2, 2, 2]


def value_of_host(world: World, node: int) -> Any:
    return world.hosts[node].process.context.machine.apply(Command(0, 0, "read", "x", None)).value


def test_a_participant_that_is_down_stops_writes_not_reads() -> None:
    world = World(TWO_PHASE, nodes=3, seed=3)
    world.ask("write", "x", 1)
    world.crash(3)
    world.request(1, Command(2, 1, "write", "x", 2))
    world.run(3_000_000)
    assert [answer.error for _, answer in world.replies[2, 1]] == ["unavailable"]
    world.request(2, Command(2, 2, "read", "x", None))
    world.run(100_000)
    assert [answer.value for _, answer in world.replies[2, 2]] == [1]


def test_disk_and_memory_stay_bounded() -> None:
    world = World(TWO_PHASE, nodes=3, seed=4, snapshot_every=20)
    for seq in range(1, 200):
        world.ask("write", f"k{seq % 7}", seq, seq=seq)
    world.run(500_000)
    for host in world.hosts.values():
        process = host.process
        assert len(host.durable) <= 2 * 20 + 10
        assert len(process.participant.finished) <= 4
        assert not process._unsettled and not process._unconfirmed and not process.locks.held


def test_broadcasts_of_the_coordinator_contain_only_durable_state() -> None:
    """Prepare and Commit are sent at once: the life, and the decision, are on disk by then."""
    node = coordinator()
    node.request(put(1))
    first = [e for e in node.effects if isinstance(e, Broadcast)]
    for participant in (2, 3):
        node.receive(participant, yes(T1))
    assert not any(e.after_sync for e in [*first, *node.effects] if isinstance(e, Broadcast))
