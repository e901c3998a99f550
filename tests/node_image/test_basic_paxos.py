"""Basic Paxos, safeguard by safeguard: a few events, once with the safeguard and once without.

Each scenario returns what an observer sees. The correct protocol must give `expected`, the mutant
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import mutants_of, protocol_class
from node_image.mutants.log_recovery import LOG_RECOVERY
from node_image.protocols import basic_paxos_messages as m
from node_image.protocols import multi_paxos_messages as shared
from node_image.protocols.ballots import Ballot
from node_image.protocols.basic_paxos import BasicPaxos
from node_image.protocols.interface import Checkpoint, Command, Persist, Send, SetTimer
from node_image.protocols.slot_log import Vote
from tests.node_image.single_node import Driven, put
from tests.node_image.snapshot_scenarios import sessions_are_installed, snapshot_is_of_its_slot

Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}
MINE, OLD, OLDER, HIGH = Ballot(1, 1), Ballot(2, 3), Ballot(1, 2), Ballot(9, 3)


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


def asked(protocol: type[Any], *commands: Command, **config: Any) -> tuple[Driven, Ballot]:
    """A proposer in Phase 1, and its ballot."""
    node = Driven(protocol, **config)
    for command in commands or (put(1),):
        node.request(command)
        if node.sent(m.Prepare):
            ballot = node.sent(m.Prepare)[0].ballot
    return node, ballot


def values(node: Driven) -> list[Any]:
    return [accept.commands for accept in node.sent(m.Accept)]


def win(node: Driven, ballot: Ballot, slot: int = 1) -> None:
    """Node 2 promises and votes: with the proposer itself a majority of three."""
    node.receive(2, m.Promise(ballot, slot, ()))
    node.receive(2, m.Accepted(ballot, slot))


@scenario("B1", [(put(5),)])
def reported_value_is_proposed(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol)
    node.receive(2, m.Promise(ballot, 1, (Vote(OLDER, 1, (put(5),), 0),)))
    return values(node)


@scenario("B2", [(put(6),)])
def highest_ballot_wins(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol, nodes=5)
    node.receive(2, m.Promise(ballot, 1, (Vote(OLDER, 1, (put(5),), 0),)))
    node.receive(3, m.Promise(ballot, 1, (Vote(OLD, 1, (put(6),), 0),)))
    return values(node)


@scenario("B3", [])
def promise_of_an_earlier_ballot(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol)
    node.receive(3, m.Nack(ballot, 1, HIGH))
    node.wake("propose")
    assert node.sent(m.Prepare)
    node.receive(2, m.Promise(ballot, 1, ()))
    return values(node)


@scenario("B5", True)
def promise_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    effects = node.receive(1, m.Prepare(MINE, 1))
    assert any(isinstance(e, Persist) for e in effects)
    return all(e.after_sync for e in effects if isinstance(e, Send))


@scenario("B6", ([(put(5),)], 1))
def vote_and_promise_survive_a_restart(protocol: type[Any]) -> Any:
    disk = [Vote(OLDER, 1, (put(5),), 0), m.Promised(1, OLD)]
    node = Driven(protocol, node=2, disk=disk)
    node.receive(1, m.Prepare(MINE, 1))
    refused = len(node.sent(m.Nack))
    node.receive(3, m.Prepare(HIGH, 1))
    return [vote.commands for promise in node.sent(m.Promise) for vote in promise.votes], refused


@scenario("B7", True)
def ballot_is_never_used_twice(protocol: type[Any]) -> Any:
    used = Ballot(4, 1)
    _, ballot = asked(protocol, disk=[m.Promised(1, used)])
    return ballot > used


@scenario("B8", 3)
def proposers_share_no_ballot(protocol: type[Any]) -> Any:
    return len({asked(protocol, node=node)[1] for node in (1, 2, 3)})


@scenario("B9", [])
def duplicate_is_no_second_promise(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol, nodes=5)
    for _ in range(2):
        node.receive(2, m.Promise(ballot, 1, ()))
    return values(node)


@scenario("B10", (0, 1))
def promise_is_kept(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(3, m.Prepare(OLD, 1))
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    return len(node.sent(m.Accepted)), len(node.sent(m.Nack))


@scenario("B11", 0)
def refused_proposer_waits(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol)
    node.receive(3, m.Nack(ballot, 1, HIGH))
    return len(node.sent(m.Prepare))


@scenario("B12", (0, 1))
def vote_is_a_promise(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(3, m.Accept(OLD, 1, (put(6),)))
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    return len(node.sent(m.Accepted)), len(node.sent(m.Nack))


@scenario("B13", ([], 1))
def own_command_goes_to_the_next_slot(protocol: type[Any]) -> Any:
    node, ballot = asked(protocol)
    node.receive(2, m.Promise(ballot, 1, (Vote(OLDER, 1, (put(5, client=9),), 0),)))
    node.receive(2, m.Accepted(ballot, 1))
    return node.replies(), node.status.applied


@scenario("B14", 0)
def decision_names_its_ballot(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    node.receive(3, m.Learn(OLD, 1))
    return node.status.applied


@scenario("M2", (0, [(put(1),)]))
def decided_slot_is_answered_with_the_decision(protocol: type[Any]) -> Any:
    node = Driven(protocol, node=2)
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    node.receive(1, m.Learn(MINE, 1))
    node.receive(3, m.Prepare(HIGH, 1))
    told = [vote.commands for entries in node.sent(shared.Entries) for vote in entries.entries]
    return len(node.sent(m.Promise)), told


@scenario("M5", [])
def read_is_decided_like_a_write(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    node.request(Command(7, 1, "read", "x", None))
    return node.replies()


@scenario("M8", [5])
def retried_command_is_applied_once(protocol: type[Any]) -> Any:
    node = Driven(protocol)
    for slot in (1, 2):
        node.now += 1_000_000
        node.request(Command(7, 1, "append", "x", 5))
        (prepare,) = node.sent(m.Prepare)
        win(node, prepare.ballot, slot)
    assert node.status.applied == 2
    return node.machine.apply(Command(0, 0, "read", "x", None)).value


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_the_mutant_fails_and_the_correct_protocol_passes(mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(BasicPaxos) == expected
    assert run(protocol_class("basic-paxos", mutant)) != expected


scenario("M7", [5])(sessions_are_installed)
scenario("M7b", 9)(snapshot_is_of_its_slot)


def test_every_mutant_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("basic-paxos")} == {*SCENARIOS, *LOG_RECOVERY}


# ----------------------------------------------------------------------------- the proposer


def test_two_round_trips_decide_a_command_and_answer_its_client() -> None:
    node, ballot = asked(BasicPaxos)
    assert ballot == MINE
    node.receive(2, m.Promise(ballot, 1, ()))
    assert values(node) == [(put(1),)]
    node.receive(2, m.Accepted(ballot, 1))
    assert [r.answer.error for r in node.replies()] == [None]
    assert node.sent(m.Learn) == [m.Learn(ballot, 1)]
    assert [d.commands for d in node.decided()] == [(put(1),)]


def test_prepare_waits_until_the_ballot_is_on_disk() -> None:
    node = Driven(BasicPaxos)
    kinds = [type(e).__name__ for e in node.request(put(1))]
    prepare = next(e for e in node.effects if hasattr(e, "message"))
    assert kinds[0] == "Persist"
    assert prepare.after_sync


def test_commands_that_came_meanwhile_share_the_slot_up_to_batch_max() -> None:
    node, ballot = asked(BasicPaxos, put(1), put(1, client=8), put(1, client=9), batch_max=2)
    node.receive(2, m.Promise(ballot, 1, ()))
    assert values(node) == [(put(1), put(1, client=8))]


def test_the_loser_proposes_in_the_next_slot() -> None:
    node, _ = asked(BasicPaxos)
    node.receive(3, m.Accept(OLD, 1, (put(5, client=9),)))
    node.receive(3, m.Learn(OLD, 1))
    assert node.status.applied == 1
    node.wake("propose")
    (prepare,) = node.sent(m.Prepare)
    assert prepare.slot == 2
    win(node, prepare.ballot, 2)
    assert [r.answer.error for r in node.replies()] == [None]


def test_window_of_the_back_off_doubles_with_every_refusal() -> None:
    node = Driven(BasicPaxos)
    node.protocol.context.random.randrange = lambda low, high: high - 1
    longest = []
    node.request(put(1))
    for round_ in range(1, 6):
        (prepare,) = node.sent(m.Prepare)
        node.receive(3, m.Nack(prepare.ballot, 1, Ballot(10 * round_, 3)))
        longest += [e.delay_us for e in node.effects if isinstance(e, SetTimer)]
        node.wake("propose")
    assert longest == sorted(longest)
    assert longest[1] == pytest.approx(2 * longest[0], abs=2)
    assert longest[-1] == longest[-2], "bounded"


def test_proposer_waits_while_it_hears_a_rival() -> None:
    node = Driven(BasicPaxos)
    node.receive(2, m.Prepare(OLDER, 1))
    node.request(put(1))
    assert not node.sent(m.Prepare)
    assert any(isinstance(e, SetTimer) and e.name == "propose" for e in node.effects)
    node.wake("propose")
    assert node.sent(m.Prepare)[0].ballot > OLDER


def test_lost_messages_are_sent_again_in_the_same_ballot() -> None:
    node, ballot = asked(BasicPaxos)
    node.wake("retry", node.config.retry_us)
    assert node.sent(m.Prepare) == [m.Prepare(ballot, 1)]
    node.receive(2, m.Promise(ballot, 1, ()))
    node.wake("retry", node.config.retry_us)
    assert node.sent(m.Accept) == [m.Accept(ballot, 1, (put(1),))]


def test_a_command_that_waits_too_long_is_given_up_with_the_correct_error() -> None:
    node, ballot = asked(BasicPaxos, put(1), put(1, client=8), batch_max=1)
    node.receive(2, m.Promise(ballot, 1, ()))  # put(1) is proposed, the other is not
    node.now += 2 * node.config.election_max_us
    node.receive(3, m.Nack(ballot, 1, HIGH))
    answers = {r.client: r.answer.error for r in node.replies()}
    assert answers == {7: "interrupted", 8: "overloaded"}


def test_queue_is_bounded() -> None:
    node = Driven(BasicPaxos, pending_max=1)
    node.request(put(1))
    node.request(put(1, client=8))
    assert [r.answer.error for r in node.replies()] == ["overloaded"]


def test_reads_past_the_log_are_refused() -> None:
    with pytest.raises(ValueError, match="reads must be one of log"):
        Driven(BasicPaxos, reads="quorum")


# ----------------------------------------------------------------------------- acceptor, learner


def test_ballots_of_different_slots_are_independent() -> None:
    node = Driven(BasicPaxos, node=2)
    node.receive(3, m.Prepare(HIGH, 1))
    node.receive(1, m.Prepare(MINE, 2))
    assert [p.slot for p in node.sent(m.Promise)] == [2]


def test_vote_of_this_node_keeps_its_own_promise() -> None:
    """A proposer that promised a higher ballot meanwhile does not vote for its own proposal."""
    node, ballot = asked(BasicPaxos, nodes=5)
    node.receive(3, m.Prepare(HIGH, 1))
    node.receive(2, m.Promise(ballot, 1, ()))
    node.receive(4, m.Promise(ballot, 1, ()))
    assert node.sent(m.Accept)
    assert not [e for e in node.effects if isinstance(e, Persist)]


def test_learner_neither_promises_nor_votes_and_follows() -> None:
    node = Driven(BasicPaxos, node=3, learners=(3,))
    node.receive(1, m.Prepare(MINE, 1))
    assert not node.sent(m.Promise)
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    assert not node.sent(m.Accepted)
    node.receive(1, m.Learn(MINE, 1))
    assert node.status.applied == 1
    node.request(put(2))
    assert node.replies()[0].answer.leader in node.config.voters


def test_votes_of_learners_do_not_count() -> None:
    node, ballot = asked(BasicPaxos, nodes=5, learners=(4, 5))
    node.receive(4, m.Promise(ballot, 1, ()))
    node.receive(5, m.Promise(ballot, 1, ()))
    assert not node.sent(m.Accept)


def test_decisions_learned_out_of_order_are_applied_in_order() -> None:
    node = Driven(BasicPaxos, node=2)
    for slot in (2, 1):
        node.receive(1, m.Accept(MINE, slot, (put(slot),)))
        node.receive(1, m.Learn(MINE, slot))
    assert [d.slot for d in node.decided()] == [1, 2]


def test_node_that_is_behind_asks_and_installs_what_it_gets() -> None:
    node = Driven(BasicPaxos, node=2)
    node.receive(1, m.Known(2))
    assert node.sent(shared.CatchUp, 1) == [shared.CatchUp(1)]
    entries = tuple(Vote(MINE, slot, (put(slot),), 0) for slot in (1, 2))
    node.receive(1, shared.Entries(2, entries))
    assert node.status.applied == 2


def test_value_that_was_not_voted_for_is_written_down_and_others_are_not() -> None:
    node = Driven(BasicPaxos, node=2)
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    node.receive(1, m.Learn(MINE, 1))
    assert not [e for e in node.effects if isinstance(e, Persist)]
    node.receive(1, m.Accept(MINE, 2, (put(2),)))
    node.receive(3, shared.Entries(2, (Vote(OLD, 2, (put(9),), 1),)))
    written = [e.record for e in node.effects if isinstance(e, Persist)]
    assert [type(record) for record in written] == [shared.Chosen]


def test_checkpoint_keeps_open_promises_and_votes() -> None:
    node = Driven(BasicPaxos, node=2, snapshot_every=1)
    node.receive(3, m.Prepare(HIGH, 3))
    node.receive(1, m.Accept(MINE, 2, (put(2),)))
    node.receive(1, m.Accept(MINE, 1, (put(1),)))
    node.receive(1, m.Learn(MINE, 1))
    (checkpoint,) = [e for e in node.effects if isinstance(e, Checkpoint)]
    again = Driven(BasicPaxos, node=2, disk=checkpoint.records)
    assert again.status.applied == 1
    again.receive(1, m.Prepare(Ballot(2, 1), 3))
    assert [nack.promised for nack in again.sent(m.Nack)] == [HIGH]
    again.receive(1, m.Prepare(Ballot(2, 1), 2))
    assert [v.commands for p in again.sent(m.Promise) for v in p.votes] == [(put(2),)]
