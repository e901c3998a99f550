"""Fast Paxos, safeguard by safeguard: a few events, once with the safeguard and once without.

What it shares with Multi-Paxos is tested there; this file tests what its two rounds add. Five
acceptors: four make a fast quorum, three a classic one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import mutants_of, protocol_class
from node_image.mutants.log_recovery import LOG_RECOVERY
from node_image.protocols import fast_paxos_messages as f
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.fast_paxos import FastPaxos
from node_image.protocols.fast_paxos_mode import CONTENTION_MAX
from node_image.protocols.fast_paxos_rounds import ballot_of, classic_round, fast_round, is_fast
from node_image.protocols.interface import NOOP, Command, Persist, Send
from node_image.protocols.quorums import FastMajority
from node_image.protocols.slot_log import Vote
from tests.node_image.single_node import Driven, put
from tests.node_image.snapshot_scenarios import sessions_are_installed, snapshot_is_of_its_slot

Scenario = Callable[[type[Any]], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}
B, LATER = Ballot(3, 1), Ballot(4, 2)
RED, BLUE, GREEN = (put(1, client=21),), (put(1, client=22),), (put(1, client=23),)


def scenario(mutant: str, expected: Any) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[mutant] = (function, expected)
        return function

    return register


def acceptor(protocol: type[Any], first: int = 1, **config: Any) -> Driven:
    """Node 2, for which node 1 has opened the fast rounds from `first` on."""
    node = Driven(protocol, node=2, nodes=5, **config)
    node.receive(1, f.Any(B, first))
    return node


def coordinator(protocol: type[Any], **config: Any) -> tuple[Driven, Ballot]:
    """Node 1 leads, and has opened its fast rounds from slot 1 on."""
    node = Driven(protocol, nodes=5, **config)
    ballot = node.lead()
    for beat in node.sent(m.Heartbeat):
        for other in (2, 3, 4, 5):
            if not node.sent(f.Any):
                node.receive(other, m.HeartbeatAck(ballot, beat.stamp, 0))
    assert node.sent(f.Any) == [f.Any(ballot, 1)]
    return node, ballot


def fast_votes(node: Driven, ballot: Ballot, slot: int, **votes: Any) -> list[Any]:
    """Acceptors n2, n3, ... report their fast votes; returns all effects."""
    effects = []
    for name, value in votes.items():
        effects += node.receive(int(name[1:]), f.FastAccepted(ballot, slot, value))
    node.effects = effects
    return effects


def proposed(node: Driven) -> list[Any]:
    return [accept.commands for accept in node.sent(m.Accept)]


def promised(protocol: type[Any], *votes: Vote) -> list[Any]:
    """Node 1's proposal when it, node 2 and node 3 promise, and two or three report these votes."""
    node = Driven(protocol, nodes=5)
    ballot = node.become_candidate()
    node.promise(2, ballot, *votes[:1])
    node.promise(3, ballot, *votes[1:])
    return proposed(node)


@scenario("Q1", {3: 3, 4: 3, 5: 4, 7: 6, 9: 7})
def fast_quorums_are_rounded_up(protocol: type[Any]) -> Any:
    return {n: Driven(protocol, nodes=n).protocol.quorums.fast_size for n in (3, 4, 5, 7, 9)}


@scenario("Q2", [BLUE])
def recovery_picks_what_may_have_been_chosen(protocol: type[Any]) -> Any:
    """Reported: red once, blue three times. If blue was chosen, the fifth has voted for it."""
    node, ballot = coordinator(protocol)
    fast_votes(node, ballot, 1, n2=RED, n3=BLUE, n4=BLUE, n5=BLUE)
    node.wake("nudge")
    node.wake("nudge")
    return proposed(node)


@scenario("Q3", [])
def recovery_waits_for_a_majority(protocol: type[Any]) -> Any:
    node, ballot = coordinator(protocol)
    fast_votes(node, ballot, 1, n2=RED, n3=BLUE)
    node.wake("nudge")
    node.wake("nudge")
    return proposed(node)


@scenario("Q4", [RED, RED])
def acceptor_votes_once_in_a_fast_round(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    said = []
    for sender, value in ((3, RED), (4, BLUE)):
        node.receive(sender, f.Propose(B, 1, value))
        said += [vote.commands for vote in node.sent(f.FastAccepted, sender)]
    return said


@scenario("Q5", 0)
def fast_rounds_of_a_new_ballot_are_closed(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    node.receive(3, m.Heartbeat(LATER, 0, 0, 1))
    node.receive(4, f.Propose(LATER, 1, RED))
    return len(node.sent(f.FastAccepted))


@scenario("Q6", [BLUE])
def phase_1_picks_what_may_have_been_chosen(protocol: type[Any]) -> Any:
    """Three of five promise: one voted red, two blue, and two did not answer."""
    node = Driven(protocol, nodes=5, disk=[Vote(fast_round(B), 1, RED, 0)])
    ballot = node.become_candidate()
    for sender in (2, 3):
        node.promise(sender, ballot, Vote(fast_round(B), 1, BLUE, 0))
    return proposed(node)


@scenario("Q7", 0)
def own_fast_vote_is_not_the_decision(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    node.receive(3, f.Propose(B, 1, RED))
    node.receive(1, m.Heartbeat(B, 1, 1, 1))
    return node.status.applied


@scenario("Q8", 0)
def no_fast_vote_after_the_classic_one(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    node.receive(1, m.Accept(B, 1, BLUE, 0))
    node.receive(3, f.Propose(B, 1, RED))
    return len(node.sent(f.FastAccepted))


@scenario("B1", [RED])
def reported_vote_is_proposed(protocol: type[Any]) -> Any:
    return promised(protocol, Vote(classic_round(B), 1, RED, 0))


@scenario("B2", [BLUE])
def highest_round_wins(protocol: type[Any]) -> Any:
    fast, classic = Vote(fast_round(B), 1, RED, 0), Vote(classic_round(B), 1, BLUE, 0)
    return promised(protocol, fast, classic)


@scenario("B3", [])
def fast_votes_of_another_ballot(protocol: type[Any]) -> Any:
    node, _ = coordinator(protocol)
    old = Ballot(0, 1)
    fast_votes(node, old, 1, n2=RED, n3=RED, n4=RED, n5=RED)
    return node.decided()


@scenario("B5", True)
def fast_vote_waits_for_the_disk(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    effects = node.receive(3, f.Propose(B, 1, RED))
    assert any(isinstance(e, Persist) for e in effects)
    return all(e.after_sync for e in effects if isinstance(e, Send))


@scenario("B6", [RED])
def fast_vote_survives_a_restart(protocol: type[Any]) -> Any:
    node = acceptor(protocol, disk=[Vote(fast_round(B), 1, RED, 0)])
    node.receive(3, f.Propose(B, 1, BLUE))
    return [vote.commands for vote in node.sent(f.FastAccepted, 3)]


@scenario("B7", True)
def ballot_is_never_used_twice(protocol: type[Any]) -> Any:
    used = Ballot(4, 1)
    return Driven(protocol, nodes=5, disk=[m.Promised(used)]).become_candidate() > used


@scenario("B8", 3)
def coordinators_share_no_ballot(protocol: type[Any]) -> Any:
    return len({Driven(protocol, node=node, nodes=5).become_candidate() for node in (1, 2, 3)})


@scenario("B9", [])
def duplicates_are_no_fast_quorum(protocol: type[Any]) -> Any:
    node, ballot = coordinator(protocol)
    for _ in range(4):
        node.receive(2, f.FastAccepted(ballot, 1, RED))
    return node.decided()


@scenario("B10", ([], 1))
def promise_is_kept(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    node.receive(3, m.Prepare(LATER, 1))
    node.receive(1, m.Accept(B, 1, RED, 0))
    return node.sent(m.Accepted), len(node.sent(m.Nack))


@scenario("M1", {1: (NOOP,), 2: RED})
def holes_are_filled(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5)
    node.lead(Vote(fast_round(B), 2, RED, 0))
    return {accept.slot: accept.commands for accept in node.sent(m.Accept)}


@scenario("M2", (1, [RED]))
def decided_slots_are_reported(protocol: type[Any]) -> Any:
    node = acceptor(protocol)
    node.receive(1, m.Entries(1, (Vote(fast_round(B), 1, RED, 0),)))
    node.receive(3, m.Prepare(LATER, 1))
    (promise,) = node.sent(m.Promise)
    return promise.upto, [vote.commands for vote in promise.entries]


@scenario("M3", [])
def own_vote_is_not_enough(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5, options={"fast": False})
    node.lead()
    node.request(put(1))
    return node.replies()


@scenario("M8", [5])
def command_decided_twice_is_applied_once(protocol: type[Any]) -> Any:
    node, ballot = coordinator(protocol)
    append = (Command(7, 1, "append", "x", 5),)
    for slot in (1, 2):
        fast_votes(node, ballot, slot, n2=append, n3=append, n4=append, n5=append)
    assert node.status.applied == 2
    return node.machine.apply(Command(0, 0, "read", "x", None)).value


@scenario("M12", ["interrupted"])
def deposed_coordinator_refuses_no_proposed_command(protocol: type[Any]) -> Any:
    node, ballot = coordinator(protocol)
    node.request(put(1))
    node.receive(2, m.Nack(ballot, Ballot(9, 2)))
    return [reply.answer.error for reply in node.replies()]


@scenario("L1", "follower")
def coordinator_without_a_quorum_steps_down(protocol: type[Any]) -> Any:
    node, _ = coordinator(protocol)
    node.wake("heartbeat", 2 * node.config.election_max_us)
    return node.status.role


@scenario("L2", (1, 0))
def no_candidacy_without_probe(protocol: type[Any]) -> Any:
    node = Driven(protocol, nodes=5)
    node.wake("election", 2 * node.config.election_max_us)
    return len(node.sent(m.Probe)), len(node.sent(m.Prepare))


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_the_mutant_fails_and_the_correct_protocol_passes(mutant: str) -> None:
    run, expected = SCENARIOS[mutant]
    assert run(FastPaxos) == expected
    assert run(protocol_class("fast-paxos", mutant)) != expected


scenario("M7", [5])(sessions_are_installed)
scenario("M7b", 9)(snapshot_is_of_its_slot)


def test_every_mutant_has_a_scenario() -> None:
    assert {mutant.id for mutant in mutants_of("fast-paxos")} == {*SCENARIOS, *LOG_RECOVERY}


# ----------------------------------------------------------------------------- rounds and quorums


def test_there_is_no_round_between_the_two_rounds_of_a_ballot() -> None:
    ballots = sorted(Ballot(r, n) for r in (1, 2) for n in (1, 2, 3))
    rounds = [round_ for b in ballots for round_ in (fast_round(b), classic_round(b))]
    assert rounds == sorted(rounds)
    assert [ballot_of(round_) for round_ in rounds[::2]] == ballots
    assert [is_fast(round_) for round_ in rounds] == [True, False] * len(ballots)


@pytest.mark.parametrize("count", range(1, 12))
def test_two_fast_quorums_and_a_classic_one_always_meet(count: int) -> None:
    quorums = FastMajority(tuple(range(1, count + 1)))
    assert 2 * quorums.fast_size + quorums.q1 > 2 * count
    assert quorums.fast_size <= count
    assert count == 1 or 2 * (quorums.fast_size - 1) + quorums.q1 <= 2 * count, "and none is larger"


# ----------------------------------------------------------------------------- the fast path


def test_proposer_learns_after_two_delays_without_the_coordinator() -> None:
    node = acceptor(FastPaxos)
    node.request(put(1))
    assert node.sent(f.Propose) == [f.Propose(B, 1, (put(1),))]
    fast_votes(node, B, 1, n3=(put(1),), n4=(put(1),), n5=(put(1),))
    assert [r.answer.error for r in node.replies()] == [None]


def test_acceptor_tells_the_proposer_and_the_coordinator() -> None:
    node = acceptor(FastPaxos)
    node.receive(3, f.Propose(B, 1, RED))
    assert len(node.sent(f.FastAccepted, 3)) == len(node.sent(f.FastAccepted, 1)) == 1


def test_classic_majority_is_not_enough_in_a_fast_round() -> None:
    node, ballot = coordinator(FastPaxos)
    fast_votes(node, ballot, 1, n2=RED, n3=RED, n4=RED)
    assert not node.decided()
    fast_votes(node, ballot, 1, n5=RED)
    assert [d.commands for d in node.decided()] == [RED]
    (entries,) = node.sent(m.Entries)
    assert [vote.commands for vote in entries.entries] == [RED]


def test_slots_before_the_first_are_not_open() -> None:
    node = acceptor(FastPaxos, first=3)
    node.receive(3, f.Propose(B, 2, RED))
    assert not node.sent(f.FastAccepted)
    node.receive(3, f.Propose(B, 3, RED))
    assert node.sent(f.FastAccepted)


def test_fast_rounds_close_with_the_promise() -> None:
    node = acceptor(FastPaxos)
    node.receive(3, m.Prepare(LATER, 1))
    node.receive(3, f.Propose(B, 1, RED))
    assert not node.sent(f.FastAccepted)


def test_nothing_is_open_before_the_first_ballot() -> None:
    node = Driven(FastPaxos, node=2, nodes=5)
    node.receive(3, f.Propose(Ballot(0, 0), 1, RED))
    assert not node.sent(f.FastAccepted)


# ----------------------------------------------------------------------------- collisions, losses


def test_collision_is_recovered_as_soon_as_no_value_can_win() -> None:
    node, ballot = coordinator(FastPaxos)
    fast_votes(node, ballot, 1, n2=RED, n3=BLUE, n4=RED)
    assert not proposed(node)
    fast_votes(node, ballot, 1, n5=BLUE)
    assert proposed(node) == [RED]
    for voter in (2, 3):
        node.receive(voter, m.Accepted(ballot, 1, 1))
    assert node.status.applied == 1


def test_loser_is_proposed_again_in_a_later_slot() -> None:
    node = acceptor(FastPaxos)
    node.request(put(1))
    node.receive(1, m.Entries(1, (Vote(classic_round(B), 1, RED, 0),)))
    assert node.sent(f.Propose) == [f.Propose(B, 2, (put(1),))]


def test_a_hole_gets_a_noop_and_a_single_vote_is_completed() -> None:
    node, ballot = coordinator(FastPaxos)
    fast_votes(node, ballot, 2, n2=RED)
    node.wake("nudge")
    node.wake("nudge")
    assert [(p.slot, p.commands) for p in node.sent(f.Propose)] == [(1, (NOOP,)), (2, RED)]


def test_slot_that_only_a_majority_answers_is_recovered() -> None:
    node, ballot = coordinator(FastPaxos)
    fast_votes(node, ballot, 1, n2=RED, n3=RED, n4=RED)
    node.wake("nudge")
    node.wake("nudge")
    assert proposed(node) == [RED]


def test_a_proposer_that_is_behind_receives_the_decision() -> None:
    node = acceptor(FastPaxos)
    node.receive(1, m.Entries(1, (Vote(classic_round(B), 1, RED, 0),)))
    node.receive(4, f.Propose(B, 1, BLUE))
    (entries,) = node.sent(m.Entries, 4)
    assert [vote.commands for vote in entries.entries] == [RED]


def test_the_coordinator_learns_missed_decisions_from_others() -> None:
    node, ballot = coordinator(FastPaxos)
    node.receive(3, m.Entries(1, (Vote(fast_round(ballot), 1, RED, 0),)))
    assert node.status.applied == 1


# ----------------------------------------------------------------------------- fallback


def test_contention_closes_the_fast_rounds_with_a_new_ballot() -> None:
    node, ballot = coordinator(FastPaxos)
    node.protocol.mode.contention = CONTENTION_MAX + 1
    node.wake("heartbeat", node.config.heartbeat_us)
    (prepare,) = node.sent(m.Prepare)
    assert prepare.ballot > ballot
    for other in (2, 3):
        node.promise(other, prepare.ballot)
    assert node.status.role == "leader"
    node.request(put(1))
    assert proposed(node) == [(put(1),)]
    assert not node.sent(f.Propose)


def test_too_few_acceptors_close_the_fast_rounds() -> None:
    node, ballot = coordinator(FastPaxos)
    for _ in range(5):
        node.wake("heartbeat", node.config.heartbeat_us)
        for beat in node.sent(m.Heartbeat):
            for other in (2, 3):
                node.receive(other, m.HeartbeatAck(ballot, beat.stamp, 0))
    assert node.protocol.counters["fast.closed"] == 1


def test_with_fast_rounds_closed_a_node_forwards_repeatedly() -> None:
    node = Driven(FastPaxos, node=2, nodes=5)
    node.receive(1, m.Heartbeat(B, 0, 0, 1))
    node.request(put(1))
    assert node.sent(f.Forward, 1) == [f.Forward((put(1),))]
    node.wake("retry", node.config.retry_us)
    assert node.sent(f.Forward, 1) == [f.Forward((put(1),))]


def test_a_command_that_waits_too_long_is_given_up_with_the_correct_error() -> None:
    node = Driven(FastPaxos, node=2, nodes=5)
    node.request(put(1))  # no coordinator is known: it is proposed nowhere
    node.wake("retry", 3 * node.config.election_max_us)
    assert [r.answer.error for r in node.replies()] == ["unavailable"]
    node = acceptor(FastPaxos)
    node.request(put(1))
    node.wake("retry", 3 * node.config.election_max_us)
    assert [r.answer.error for r in node.replies()] == ["interrupted"]


def test_a_definitely_refused_command_is_not_proposed_later() -> None:
    """A command reported to have had no effect must not have one: it leaves the queue."""
    node = Driven(FastPaxos, nodes=5, options={"fast": False}, batch_max=64)
    node.lead()
    for client in range(1, 6):  # four slots are open; the fifth command waits for a batch
        node.request(put(1, client=client))
    node.wake("retry", 3 * node.config.election_max_us)
    answers = {reply.client: reply.answer.error for reply in node.replies()}
    assert answers == dict.fromkeys(range(1, 5), "interrupted") | {5: "unavailable"}
    assert not node.protocol.leadership.queue.commands


def test_reads_past_the_log_are_refused() -> None:
    with pytest.raises(ValueError, match="reads must be one of log"):
        Driven(FastPaxos, nodes=5, reads="lease")


def test_learner_takes_no_part_and_follows() -> None:
    node = Driven(FastPaxos, node=5, nodes=5, learners=(5,))
    node.receive(1, f.Any(B, 1))
    node.receive(3, f.Propose(B, 1, RED))
    node.receive(1, m.Accept(B, 2, RED, 0))
    assert not node.sent(f.FastAccepted)
    assert not node.sent(m.Accepted)
    node.receive(1, m.Entries(1, (Vote(fast_round(B), 1, RED, 0),)))
    assert node.status.applied == 1
    node.request(put(1))
    assert node.replies()[0].answer.leader == 1


def test_a_command_forwarded_again_is_queued_once() -> None:
    """A slow coordinator was sent everything five times a second, and queued it every time: the
    queue grew faster than it was processed."""
    node = Driven(FastPaxos, nodes=5, options={"fast": False}, batch_max=1, pipeline_max=2)
    ballot = node.lead()
    commands = tuple(put(1, client=client) for client in range(20, 26))
    proposed: list[int] = []
    for _ in range(5):
        node.receive(2, f.Forward(commands))
        proposed += [accept.commands[0].client for accept in node.sent(m.Accept)]
    assert proposed == [20, 21], "both in the window"
    for slot in range(1, 7):
        for other in (2, 3):
            node.receive(other, m.Accepted(ballot, slot, slot))
            proposed += [accept.commands[0].client for accept in node.sent(m.Accept)]
    assert proposed == [20, 21, 22, 23, 24, 25], "each command once, in the order of arrival"
    node.receive(2, f.Forward(commands[:1]))
    assert len(node.sent(m.Accept)) == 1, "a decided command may be sent again: sessions answer"
