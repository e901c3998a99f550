"""Every planted bug of Raft is observable: the same few events, with the safeguard and without.

Each scenario returns an observation. The correct protocol must give `expected`, the mutant
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import mutants_of, protocol_class
from node_image.mutants.log_recovery import LOG_RECOVERY
from node_image.protocols import raft_messages as m
from node_image.protocols.interface import NOOP, Broadcast, Command, Persist, Send
from node_image.protocols.raft_log import Entry
from tests.node_image.single_node import Driven, put
from tests.node_image.snapshot_scenarios import sessions_are_installed, snapshot_is_of_its_slot

Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}
READ = Command(7, 9, "read", "x", None)


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


def entry(term: int, slot: int, value: int | None = None) -> Entry:
    return Entry(term, slot, (NOOP if value is None else put(value),))


def become_candidate(node: Driven) -> int:
    """Become a candidate, with all pre-votes; returns the term."""
    node.wake("election", 2 * node.config.election_max_us)
    asked = list(node.effects)
    for other in node.config.voters:
        if other != node.node and not node.sent(m.RequestVote):
            node.receive(other, m.PreVoteGranted(node.protocol.storage.term + 1))
            asked += node.effects
    node.effects = asked
    return node.sent(m.RequestVote)[-1].term


def lead(node: Driven) -> int:
    """Become leader, with as many votes as needed; returns the term."""
    term = become_candidate(node)
    for other in node.config.voters:
        if other != node.node and node.status.role != "leader":
            node.receive(other, m.VoteGranted(term))
    assert node.status.role == "leader"
    return term


def store(node: Driven, leader: int, term: int, prev: tuple[int, int], *entries: Entry) -> None:
    """An Append from a leader, with nothing committed."""
    node.receive(leader, m.Append(term, *prev, entries, 0, 0))


def held(node: Driven, upto: int = 9) -> list[Any]:
    """The log, as (term, value written) for each entry; None for a no-op."""
    log = node.protocol.log
    return [(e.term, e.commands[0].value) for e in log.held(log.base + 1, upto)]


@scenario("B3", 1)
def acknowledgement_of_an_earlier_term(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    lead(node)
    node.receive(2, m.Appended(1, True, 1, 0))
    node.receive(2, m.Append(2, 1, 1, (), 1, 0))
    term = lead(node)
    node.receive(3, m.Appended(term - 1, True, 2, 0))
    return node.status.applied


@scenario("B5", True)
def copy_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    store(node, 1, 1, (0, 0), entry(1, 1, 5))
    assert any(isinstance(e, Persist) for e in node.effects)
    return all(e.after_sync for e in node.effects if isinstance(e, Send))


@scenario("B6", [(1, 5)])
def log_survives_a_restart(protocol: type[Any]) -> Any:
    disk = [m.TermVote(1, 1), m.Log(0, (entry(1, 1, 5),))]
    return held(Driven(protocol, node=2, disk=disk))


@scenario("B7", 5)
def term_is_never_led_twice(protocol: type[Any]) -> Any:
    return become_candidate(Driven(protocol, disk=[m.TermVote(4, 1)]))


@scenario("B8", 1)
def one_vote_a_term(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3)
    votes = 0
    for candidate in (1, 2):
        node.receive(candidate, m.RequestVote(1, 0, 0))
        votes += len(node.sent(m.VoteGranted))
    return votes


@scenario("B9", "candidate")
def duplicate_is_no_second_vote(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5)
    term = become_candidate(node)
    for _ in range(2):
        node.receive(2, m.VoteGranted(term))
    return node.status.role


@scenario("B10", ([], 1))
def leader_of_an_old_term_is_refused(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, disk=[m.TermVote(5, None)])
    store(node, 1, 4, (0, 0), entry(4, 1, 5))
    return node.sent(m.Appended), len(node.sent(m.Behind))


@scenario("M3", 0)
def own_copy_is_not_enough(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    lead(node)
    return node.status.applied


@scenario("M5", [])
def read_needs_a_quorum(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    lead(node)
    node.request(READ)
    return node.replies()


@scenario("M6", [])
def lease_ends_whatever_the_wall_clock_says(protocol: type[Any]) -> Any:
    node = Driven(protocol, reads="lease")
    term = lead(node)
    (heartbeat,) = [a for a in node.sent(m.Append) if a.stamp]
    node.receive(2, m.Appended(term, True, 1, heartbeat.stamp))
    node.now += 2 * node.config.lease_us
    node.wall -= 3_600_000_000
    node.request(READ)
    return node.replies()


@scenario("M8", [5])
def retried_command_is_applied_once(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    term = lead(node)
    for slot in (2, 3):
        node.request(Command(7, 1, "append", "x", 5))
        node.receive(2, m.Appended(term, True, slot, 0))
    assert node.status.applied == 3
    return node.machine.apply(Command(0, 0, "read", "x", None)).value


@scenario("M10", 0)
def copies_of_learners_do_not_count(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5, learners=(4, 5))
    term = lead(node)
    for learner in (4, 5):
        node.receive(learner, m.Appended(term, True, 1, 0))
    return node.status.applied


@scenario("M12", ["interrupted"])
def deposed_leader_refuses_no_proposed_command(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    term = lead(node)
    node.request(put(1))
    node.receive(2, m.Behind(term + 5))
    return [reply.answer.error for reply in node.replies()]


@scenario("M13", [])
def granted_lease_is_kept(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, reads="lease")
    node.now += 10 * node.config.lease_us
    node.receive(1, m.Append(1, 0, 0, (), 0, 1))
    node.receive(3, m.RequestVote(2, 0, 0))
    return node.sent(m.VoteGranted)


@scenario("L1", "follower")
def leader_without_a_quorum_steps_down(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    lead(node)
    node.wake("heartbeat", 2 * node.config.election_max_us)
    return node.status.role


@scenario("L2", (1, 0))
def no_candidacy_without_probe(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.wake("election", 2 * node.config.election_max_us)
    return len(node.sent(m.PreVote)), len(node.sent(m.RequestVote))


@scenario("R1", 0)
def old_entry_is_not_committed_by_counting(protocol: type[Any]) -> Any:
    """Figure 8, (c): the entry of term 2 is on a majority, and may still be replaced."""
    disk = [m.TermVote(3, None), m.Log(0, (entry(1, 1, 1), entry(2, 2, 2)))]
    node = Driven(protocol, nodes=5, disk=disk)
    term = lead(node)
    for follower in (2, 3):
        node.receive(follower, m.Appended(term, True, 2, 0))
    return node.status.applied


@scenario("R2", [m.TermVote(4, 2)])
def vote_is_on_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3)
    node.receive(2, m.RequestVote(4, 0, 0))
    assert node.sent(m.VoteGranted)
    return [e.record for e in node.effects if isinstance(e, Persist)][-1:]


@scenario("R3", "candidate")
def vote_of_an_earlier_term(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    become_candidate(node)
    term = become_candidate(node)
    node.receive(2, m.VoteGranted(term - 1))
    return node.status.role


@scenario("R5", [1])
def nothing_is_applied_twice(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    applied = []
    for commit in (1, 0, 1):
        node.receive(1, m.Append(1, 0, 0, (entry(1, 1, 5),), commit, 0))
        applied += [decided.slot for decided in node.decided()]
    return applied


@scenario("R7", [])
def new_leader_reads_only_after_its_first_commit(protocol: type[Any]) -> Any:
    disk = [m.TermVote(1, 2), m.Log(0, (entry(1, 1, 5),))]
    node = Driven(protocol, reads="quorum", disk=disk)
    term = lead(node)
    node.request(READ)
    for stamp in (1, 2):
        node.receive(2, m.Appended(term, False, 0, stamp))
    return node.replies()


@scenario("R8", [])
def candidate_with_an_older_log(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3, disk=[m.Log(0, (entry(2, 1, 5), entry(2, 2, 6)))])
    votes = []
    for term, last in ((5, (1, 2)), (6, (9, 1))):
        node.receive(2, m.RequestVote(term, *last))
        votes += node.sent(m.VoteGranted)
    return votes


@scenario("R9", [False])
def entry_before_must_be_the_same(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3, disk=[m.Log(0, (entry(1, 1, 5),))])
    store(node, 2, 3, (1, 2), entry(3, 2, 6))
    return [reply.ok for reply in node.sent(m.Appended)]


@scenario("R10", [(1, 5), (1, 6)])
def late_append_truncates_nothing(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3)
    store(node, 1, 1, (0, 0), entry(1, 1, 5))
    store(node, 1, 1, (1, 1), entry(1, 2, 6))
    store(node, 1, 1, (0, 0), entry(1, 1, 5))
    return held(node)


@scenario("R11", 2)
def late_snapshot_is_not_installed(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=3)
    empty = node.machine.snapshot()
    node.receive(1, m.Append(1, 0, 0, (entry(1, 1, 5), entry(1, 2, 6)), 2, 0))
    node.receive(1, m.InstallSnapshot(1, 1, 1, empty))
    return node.status.applied


@scenario("R12", [(2, None)])
def term_opens_with_an_entry_of_its_own(protocol: type[Any]) -> Any:
    node = Driven(protocol, reads="quorum", disk=[m.TermVote(1, None)])
    lead(node)
    return held(node)


scenario("M7", [5])(sessions_are_installed)
scenario("M7b", 9)(snapshot_is_of_its_slot)


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_the_mutant_fails_and_raft_passes(mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(protocol_class("raft")) == expected
    assert run(protocol_class("raft", mutant)) != expected


def test_every_mutant_of_raft_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("raft")} == {*SCENARIOS, *LOG_RECOVERY}


def test_a_candidate_asks_after_its_own_vote_is_durable() -> None:
    node = Driven(protocol_class("raft"))
    become_candidate(node)
    asked = [e for e in node.effects if isinstance(e, Broadcast)]
    votes = [e for e in asked if isinstance(e.message, m.RequestVote)]
    assert votes and all(e.after_sync for e in votes)
