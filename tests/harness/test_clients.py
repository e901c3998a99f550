"""How a client retries one operation until it is answered."""

from __future__ import annotations

from random import Random

import pytest

from harness.run.clients import HOPS_MAX, Attempt, Client, Outcome
from harness.targets.interface import Response
from harness.workloads import Operation

WRITE = Operation("write", "k0", 1)
READ = Operation("read", "k0", None)


def client() -> Client:
    return Client(process=4, nodes=(1, 2, 3), random=Random(0), guess=2)


def test_the_session_is_never_the_clusters_own() -> None:
    one = Client(process=0, nodes=(1,), random=Random(0), guess=1)
    one.begin(WRITE, 0)
    assert one.request()[:2] == (1, 1)


def test_an_answer_ends_it_and_is_remembered() -> None:
    one = client()
    assert one.begin(WRITE, 5) == Attempt(2, 5)
    assert one.answered(3, Response(None, None, 3), 9) == Outcome("ok", None, None, 3)
    assert one.begin(READ, 10).node == 3
    assert one.seq == 2


def test_a_mismatch_fails_with_what_was_seen() -> None:
    one = client()
    one.begin(Operation("cas", "k0", [1, 2]), 0)
    assert one.answered(2, Response("mismatch", 7, 2), 1) == Outcome("fail", 7, "mismatch", 2)


def test_redirections_are_followed_at_once_but_not_without_limit() -> None:
    one = client()
    one.begin(WRITE, 0)
    node = 2
    for _ in range(HOPS_MAX):
        attempt = one.answered(node, Response("not-leader", None, node % 3 + 1, definite=True), 100)
        assert isinstance(attempt, Attempt) and attempt.at_us == 100
        node = attempt.node
    attempt = one.answered(node, Response("not-leader", None, node % 3 + 1, definite=True), 100)
    assert isinstance(attempt, Attempt) and attempt.at_us > 100


@pytest.mark.parametrize("error", ["not-leader", "unavailable", "overloaded", "refused"])
def test_only_definite_refusals_make_a_write_fail(error: str) -> None:
    one = client()
    one.begin(WRITE, 0)
    one.answered(2, Response(error, definite=True), 1)
    assert one.give_up(in_flight=False) == Outcome("fail", None, error, None)


def test_without_sessions_a_write_is_never_sent_twice() -> None:
    for spoilt in (lambda c: c.timed_out(9), lambda c: c.answered(2, Response("disconnected"), 9)):
        one = Client(process=0, nodes=(1, 2), random=Random(0), guess=2, sessions=False)
        one.begin(WRITE, 0)
        assert not one.may_repeat()
        outcome = spoilt(one)
        assert isinstance(outcome, Outcome) and outcome.type == "info"


def test_without_sessions_reads_and_what_was_refused_are_sent_again() -> None:
    one = Client(process=0, nodes=(1, 2), random=Random(0), guess=2, sessions=False)
    one.begin(READ, 0)
    assert isinstance(one.timed_out(9), Attempt)
    one.begin(WRITE, 10)
    assert isinstance(one.answered(2, Response("refused", definite=True), 11), Attempt)


@pytest.mark.parametrize("error", ["interrupted", "disconnected", "something-new"])
def test_one_indefinite_attempt_makes_a_write_info(error: str) -> None:
    one = client()
    one.begin(WRITE, 0)
    one.answered(2, Response(error), 1)
    one.answered(3, Response("unavailable", None, None, definite=True), 2)
    assert one.give_up(in_flight=False).type == "info"


def test_an_unanswered_attempt_makes_a_write_info_and_a_read_fail() -> None:
    for operation, kind in ((WRITE, "info"), (READ, "fail")):
        one = client()
        one.begin(operation, 0)
        assert one.give_up(in_flight=True).type == kind


def test_after_a_time_out_another_node_is_asked() -> None:
    one = client()
    one.begin(WRITE, 0)
    assert one.timed_out(50).node in (1, 3)


def test_a_cluster_of_one_has_no_other_node_to_ask() -> None:
    one = Client(process=0, nodes=(1,), random=Random(0), guess=1)
    one.begin(WRITE, 0)
    assert one.timed_out(50) == Attempt(1, 50)


def test_a_node_that_is_not_there_makes_a_client_ask_another_at_once() -> None:
    one = client()
    one.begin(READ, 0)
    for _ in range(HOPS_MAX):
        attempt = one.answered(2, Response("disconnected"), 100)
        assert isinstance(attempt, Attempt) and attempt.at_us == 100
    attempt = one.answered(attempt.node, Response("refused", definite=True), 100)
    assert isinstance(attempt, Attempt) and attempt.at_us > 100


def test_who_waits_for_a_deposed_leader_asks_the_new_one_when_told() -> None:
    one = client()
    one.begin(WRITE, 0)
    attempt = one.leader_is(3, 50, under_way=True, in_flight=True)
    assert attempt == Attempt(3, 50)
    assert one.leader_is(3, 60, under_way=True, in_flight=True) is None, "it asks there already"
    assert one.give_up(in_flight=False).type == "info", "the first attempt may have had an effect"


def test_who_was_refused_and_waits_asks_the_new_leader_at_once() -> None:
    one = client()
    one.begin(WRITE, 0)
    later = one.answered(2, Response("unavailable", definite=True), 10)
    assert isinstance(later, Attempt) and later.at_us > 10
    assert one.leader_is(later.node, 20, under_way=True, in_flight=False) == Attempt(later.node, 20)
    assert one.give_up(in_flight=False).type == "fail", "no attempt had an effect"


def test_a_leader_that_was_told_is_asked_when_a_node_knows_none() -> None:
    one = client()
    assert one.leader_is(3, 0, under_way=False, in_flight=False) is None
    assert one.begin(WRITE, 5).node == 3
    one.guess = 1
    assert one.begin(WRITE, 6).node == 1
    refusal = Response("unavailable", definite=True)
    assert one.answered(1, refusal, 10) == Attempt(3, 10)
    attempt = one.answered(3, Response("refused", definite=True), 11)
    assert isinstance(attempt, Attempt) and attempt.node != 3
    attempt = one.answered(1, refusal, 12)
    assert isinstance(attempt, Attempt) and attempt.at_us > 12, "it is not there: nobody is known"


def test_without_sessions_a_write_under_way_stays_where_it_is() -> None:
    one = Client(process=0, nodes=(1, 2), random=Random(0), guess=2, sessions=False)
    one.begin(WRITE, 0)
    assert one.leader_is(1, 5, under_way=True, in_flight=True) is None
    assert one.leader_is(1, 5, under_way=True, in_flight=False) == Attempt(1, 5)
