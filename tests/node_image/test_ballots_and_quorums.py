"""Ballots are totally ordered and never shared; quorums of the two phases always intersect."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.protocols.ballots import ZERO, Ballot, next_ballot
from node_image.protocols.interface import ClusterConfig
from node_image.protocols.quorums import NO_VOTES, Grid, Majority, QuorumSystem, Sizes, from_options

rounds = st.integers(0, 1_000)
nodes = st.integers(1, 20)


@settings(deadline=None)
@given(rounds, nodes, rounds, nodes)
def test_ballots_of_different_nodes_differ(r1: int, n1: int, r2: int, n2: int) -> None:
    one, two = next_ballot(r1, n1), next_ballot(r2, n2)
    assert (one == two) == ((r1, n1) == (r2, n2))
    assert one > ZERO


@settings(deadline=None)
@given(rounds, nodes, nodes)
def test_next_ballot_is_above_everything_seen(seen: int, other: int, node: int) -> None:
    assert next_ballot(seen, node) > Ballot(seen, other)


def votes_of(system: QuorumSystem, voters: tuple[int, ...]) -> int:
    votes = NO_VOTES
    for voter in voters:
        votes = system.vote(votes, voter)
    return votes


def every_set(count: int) -> list[tuple[int, ...]]:
    everybody = range(1, count + 1)
    return [s for size in range(count + 1) for s in combinations(everybody, size)]


def systems() -> list[tuple[int, QuorumSystem]]:
    found: list[tuple[int, QuorumSystem]] = []
    for count in range(1, 7):
        voters = tuple(range(1, count + 1))
        found.append((count, Majority(voters)))
        found += [
            (count, Sizes(voters, q1, q2))
            for q1 in range(1, count + 1)
            for q2 in range(count + 1 - q1, count + 1)
        ]
        found += [(count, Grid(voters, rows)) for rows in range(1, count + 1) if count % rows == 0]
    return found


@pytest.mark.parametrize(("count", "system"), systems())
def test_every_phase1_quorum_intersects_every_phase2_quorum(
    count: int, system: QuorumSystem
) -> None:
    sets = every_set(count)
    electing = [set(s) for s in sets if system.phase1(votes_of(system, s))]
    deciding = [set(s) for s in sets if system.phase2(votes_of(system, s))]
    assert electing and deciding
    assert all(one & two for one in electing for two in deciding)
    assert min(map(len, electing)) == system.q1
    assert min(map(len, deciding)) == system.q2


@pytest.mark.parametrize(("count", "system"), systems())
def test_phase2_targets_are_a_smallest_quorum(count: int, system: QuorumSystem) -> None:
    targets = system.phase2_targets(list(range(count, 0, -1)))
    assert system.phase2(votes_of(system, targets))
    assert len(targets) == system.q2


def test_a_second_vote_and_a_vote_of_a_non_member_change_nothing() -> None:
    system = Majority((1, 2, 3))
    assert system.vote(system.vote(NO_VOTES, 1), 1) == system.vote(NO_VOTES, 1)
    assert system.vote(NO_VOTES, 9) == NO_VOTES


def test_quorums_that_may_be_disjoint_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="more than the 5 acceptors, not 3 \\+ 2"):
        Sizes((1, 2, 3, 4, 5), 3, 2)
    with pytest.raises(ValueError, match="between 1 and 3"):
        Sizes((1, 2, 3), 0, 4)
    with pytest.raises(ValueError, match="do not fill 2 rows"):
        Grid((1, 2, 3), 2)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [({}, (3, 3)), ({"q1": 4}, (4, 2)), ({"q2": 2}, (4, 2)), ({"q1": 5, "q2": 2}, (5, 2))],
)
def test_options_name_sizes(options: dict[str, int], sizes: tuple[int, int]) -> None:
    system = from_options(ClusterConfig(nodes=(1, 2, 3, 4, 5), options=options))
    assert (system.q1, system.q2) == sizes


@pytest.mark.parametrize("value", ["3", 2.0, True, None])
def test_sizes_that_are_not_numbers_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="q1 must be a whole number"):
        from_options(ClusterConfig(nodes=(1, 2, 3), options={"q1": value}))


def test_learners_are_in_no_quorum() -> None:
    config = ClusterConfig(nodes=(1, 2, 3, 4, 5), learners=(4, 5))
    system = from_options(config)
    assert (system.q1, system.q2) == (2, 2)
    assert system.vote(NO_VOTES, 4) == NO_VOTES
