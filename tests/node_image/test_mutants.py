"""Every planted bug is observable: the same few events, once with the safeguard and once without.

Each scenario returns an observation. The correct protocol must give `expected`, the planted bug
something else. A bug that no scenario can distinguish from the correct protocol is useless.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_image.mutants import (
    IMPLEMENTATIONS,
    MUTANTS,
    PROTOCOLS,
    UnknownName,
    mutants_of,
    protocol_class,
)
from node_image.mutants.catalogue import CATALOGUE
from node_image.mutants.log_recovery import LOG_RECOVERY
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import NOOP, Broadcast, Command, Persist, Reply, Send
from node_image.protocols.slot_log import Vote
from tests.node_image.cluster import Network, World
from tests.node_image.random_faults import Chaos
from tests.node_image.single_node import Driven, put
from tests.node_image.snapshot_scenarios import sessions_are_installed, snapshot_is_of_its_slot

Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}
OLD, OLDER = Ballot(2, 3), Ballot(1, 2)


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


@scenario("B1", [(put(1),)])
def reported_vote_is_proposed(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead(Vote(OLD, 1, (put(1),), 0))
    return [accept.commands for accept in node.sent(m.Accept)]


@scenario("B2", [(put(2),)])
def highest_ballot_wins(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5)
    ballot = node.become_candidate()
    node.promise(2, ballot, Vote(OLDER, 1, (put(1),), 0))
    node.promise(3, ballot, Vote(OLD, 1, (put(2),), 0))
    return [accept.commands for accept in node.sent(m.Accept)]


@scenario("B3", 0)
def reply_to_an_earlier_ballot(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead()
    node.request(put(1))
    node.receive(2, m.Accepted(OLDER, 1, 1))
    return node.status.applied


@scenario("B4", (1, 1))
def vote_promises_its_ballot(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(3, m.Accept(OLD, 1, (put(1),), 0))
    node.receive(1, m.Accept(OLDER, 1, (put(2),), 0))
    (vote,) = node.protocol.log.held(1, 1)
    return vote.commands[0].value, len(node.sent(m.Nack))


@scenario("B5", True)
def vote_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    effects = node.receive(1, m.Accept(OLDER, 1, (put(1),), 0))
    assert any(isinstance(e, Persist) for e in effects)
    return all(e.after_sync for e in effects if isinstance(e, Send))


@scenario("B6", [(put(1),)])
def vote_survives_a_restart(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, disk=[m.Promised(OLDER), Vote(OLDER, 1, (put(1),), 0)])
    node.receive(3, m.Prepare(OLD, 1))
    (promise,) = node.sent(m.Promise)
    return [vote.commands for vote in promise.entries]


@scenario("B7", True)
def ballot_is_never_used_twice(protocol: type[Any]) -> Any:
    used = Ballot(4, 1)
    return Driven(protocol, disk=[m.Promised(used)]).become_candidate() > used


@scenario("B8", 3)
def proposers_share_no_ballot(protocol: type[Any]) -> Any:
    return len({Driven(protocol, node=node).become_candidate() for node in (1, 2, 3)})


@scenario("B9", 0)
def duplicate_is_no_second_vote(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5)
    ballot = node.lead()
    node.request(put(1))
    for _ in range(2):
        node.receive(2, m.Accepted(ballot, 1, 1))
    return node.status.applied


@scenario("B10", ([], 1))
def promise_is_kept(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(3, m.Prepare(OLD, 1))
    node.receive(1, m.Accept(OLDER, 1, (put(1),), 0))
    return node.sent(m.Accepted), len(node.sent(m.Nack))


@scenario("M1", {1: (NOOP,), 2: (put(2),)})
def holes_are_filled(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead(Vote(OLD, 2, (put(2),), 0))
    return {accept.slot: accept.commands for accept in node.sent(m.Accept)}


@scenario("M2", (1, [(put(1),)]))
def decided_slots_are_reported(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, m.Accept(OLDER, 1, (put(1),), 0))
    node.receive(1, m.Commit(OLDER, 1))
    node.receive(3, m.Prepare(OLD, 1))
    (promise,) = node.sent(m.Promise)
    return promise.upto, [vote.commands for vote in promise.entries]


@scenario("M3", [])
def own_vote_is_not_enough(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead()
    node.request(put(1))
    return node.replies()


@scenario("M5", [])
def read_needs_a_quorum(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead()
    node.request(Command(7, 1, "read", "x", None))
    return node.replies()


@scenario("M6", [])
def lease_ends_whatever_the_wall_clock_says(protocol: type[Any]) -> Any:
    node = Driven(protocol, reads="lease")
    ballot = node.lead()
    (heartbeat,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
    node.now += 2 * node.config.lease_us
    node.wall -= 3_600_000_000
    node.request(Command(7, 1, "read", "x", None))
    return node.replies()


@scenario("M8", [5])
def retried_command_is_applied_once(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    ballot = node.lead()
    for slot in (1, 2):
        node.request(Command(7, 1, "append", "x", 5))
        node.receive(2, m.Accepted(ballot, slot, slot))
    assert node.status.applied == 2
    return node.machine.apply(Command(0, 0, "read", "x", None)).value


@scenario("M9", [])
def no_acknowledgement_past_a_hole(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, m.Accept(OLDER, 2, (put(2),), 0))
    return node.sent(m.Accepted)


@scenario("M10", ([], 0))
def learners_do_not_vote(protocol: type[Any]) -> Any:
    learner = Driven(protocol, node=5, nodes=5, learners=(4, 5))
    learner.receive(1, m.Accept(OLDER, 1, (put(1),), 0))
    leader = Driven(protocol, nodes=5, learners=(4, 5))
    ballot = leader.lead()
    leader.request(put(1))
    leader.receive(5, m.Accepted(ballot, 1, 1))
    return learner.sent(m.Accepted), leader.status.applied


@scenario("M11", [])
def new_leader_reads_only_when_recovered(protocol: type[Any]) -> Any:
    node = Driven(protocol, reads="quorum")
    ballot = node.lead(Vote(OLD, 1, (put(1),), 0))
    (heartbeat,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
    node.request(Command(7, 9, "read", "x", None))
    (heartbeat,) = node.sent(m.Heartbeat)
    node.receive(2, m.HeartbeatAck(ballot, heartbeat.stamp, 0))
    return node.replies()


@scenario("M12", ["interrupted"])
def deposed_leader_refuses_no_proposed_command(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    ballot = node.lead()
    node.request(put(1))
    node.receive(2, m.Nack(ballot, Ballot(9, 2)))
    return [reply.answer.error for reply in node.replies()]


@scenario("M13", [])
def granted_lease_is_kept(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2, reads="lease")
    node.now += 10 * node.config.lease_us
    node.receive(1, m.Heartbeat(OLDER, 0, 0, 1))
    node.receive(3, m.Prepare(OLD, 1))
    return node.sent(m.Promise)


@scenario("L1", "follower")
def leader_without_a_quorum_steps_down(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.lead()
    node.wake("heartbeat", 2 * node.config.election_max_us)
    return node.status.role


@scenario("L2", (1, 0))
def no_candidacy_without_probe(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.wake("election", 2 * node.config.election_max_us)
    return len(node.sent(m.Probe)), len(node.sent(m.Prepare))


scenario("M7", [5])(sessions_are_installed)
scenario("M7b", 9)(snapshot_is_of_its_slot)


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
@pytest.mark.parametrize("protocol", ["multi-paxos", "flexible-paxos"])
def test_the_mutant_fails_and_the_correct_protocol_passes(protocol: str, mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(protocol_class(protocol)) == expected
    assert run(protocol_class(protocol, mutant)) != expected


def test_every_mutant_of_multi_paxos_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("multi-paxos")} == {*SCENARIOS, *LOG_RECOVERY}


def test_f1_has_disjoint_quorums_and_f2_does_not() -> None:
    def disjoint(mutant: str | None) -> bool:
        options = {"q1": 4, "q2": 2}
        node = Driven(protocol_class("flexible-paxos", mutant), nodes=5, options=options)
        quorums = node.protocol.context.quorums
        sets = range(2, 64, 2)
        return any(
            quorums.phase1(one) and quorums.phase2(two) and not one & two
            for one in sets
            for two in sets
        )

    assert disjoint("F1")
    assert not disjoint("F2")
    assert not disjoint(None)


def test_f2_swaps_the_sizes() -> None:
    options = {"q1": 4, "q2": 2}
    node = Driven(protocol_class("flexible-paxos", "F2"), nodes=5, options=options)
    assert (node.protocol.context.quorums.q1, node.protocol.context.quorums.q2) == (2, 4)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_catalogue_and_implementations_agree(protocol: str) -> None:
    assert {mutant.id for mutant in mutants_of(protocol)} == set(IMPLEMENTATIONS[protocol])
    for mutant in mutants_of(protocol):
        cls = protocol_class(protocol, mutant.id)
        assert issubclass(cls, PROTOCOLS[protocol])
        assert cls is not PROTOCOLS[protocol]
        assert cls is protocol_class(protocol, mutant.id), "made once"


def test_the_code_of_a_bug_is_in_the_file_named_as_its_description() -> None:
    for name, bugs in CATALOGUE.items():
        code = importlib.import_module(f"node_image.mutants.{name}")
        tables = [table for table in vars(code).values() if isinstance(table, dict)]
        for bug in bugs:
            assert any(bug.id in table for table in tables), f"{bug.id} is not in {code.__name__}"


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UnknownName, match="multi-paxos") as caught:
        protocol_class("multipaxos")
    assert "multi-paxos" in caught.value.choices
    with pytest.raises(UnknownName, match="M5") as caught:
        protocol_class("multi-paxos", "M99")
    assert "M5" in caught.value.choices
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_the_catalogue_names_a_scenario_that_exists(mutant: str) -> None:
    module, _, function = MUTANTS[mutant].scenario.partition(".")
    source = (Path(__file__).parent / f"{module}.py").read_text()
    marked = re.search(rf'^@scenario\("{mutant}".*\n(@scenario.*\n)*def {function}\(', source, re.M)
    applied_by_call = mutant[0] in "DF" or module == "snapshot_scenarios"
    assert marked or (applied_by_call and f"def {function}(" in source)


def test_every_mutant_names_a_protocol_that_exists() -> None:
    for mutant in MUTANTS.values():
        assert mutant.protocols
        assert mutant.change and mutant.exposed_by and mutant.shows


@pytest.mark.parametrize("mutant", ["B1", "B6", "B9", "M2", "M3", "M9"])
def test_the_mutant_breaks_agreement_under_random_faults(mutant: str) -> None:
    """Not only in its scenario: also under random faults, within these seeds."""
    assert any(_conflicts(protocol_class("multi-paxos", mutant), seed) for seed in range(80))
    assert not any(_conflicts(protocol_class("multi-paxos"), seed) for seed in range(20))


def _conflicts(protocol: type[Any], seed: int) -> bool:
    network = Network(loss=0.05, duplication=0.3, delay_us=(200, 20_000))
    world = World(protocol, nodes=3, seed=seed, network=network)
    Chaos(world, seed).run(5_000_000)
    return bool(world.conflicts)


def test_b5_changes_only_the_barrier() -> None:
    """B5 leaves out the barrier, and nothing else."""
    correct, hurried = (
        Driven(protocol_class("multi-paxos", mutant), node=2) for mutant in (None, "B5")
    )
    accept = m.Accept(OLDER, 1, (put(1),), 0)
    one, two = correct.receive(1, accept), hurried.receive(1, accept)
    kinds = (Send, Broadcast, Reply)
    assert [e._replace(after_sync=False) if isinstance(e, kinds) else e for e in one] == two
