"""Fast Paxos: its own quorums, rounds and recoveries."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    FAST,
    Mutant,
)

BUGS = (
    Mutant(
        id="Q1",
        protocols=FAST,
        change="fast quorums of n * 3 // 4, rounded down",
        exposed_by="two clients race, an acceptor killed, recovery",
        shows="two decided values",
        scenario="test_fast_paxos.fast_quorums_are_rounded_up",
    ),
    Mutant(
        id="Q2",
        protocols=FAST,
        change="recovery picks the vote it received first, not one that may have been chosen",
        exposed_by="collision and an acceptor lost",
        shows="acknowledged write replaced",
        scenario="test_fast_paxos.recovery_picks_what_may_have_been_chosen",
    ),
    Mutant(
        id="Q3",
        protocols=FAST,
        change="coordinated recovery does not wait for the fast votes of a majority",
        exposed_by="a lost or late fast vote",
        shows="two decided values",
        scenario="test_fast_paxos.recovery_waits_for_a_majority",
    ),
    Mutant(
        id="Q4",
        protocols=FAST,
        change="an acceptor votes twice in a fast round",
        exposed_by="two racing clients",
        shows="two decided values",
        scenario="test_fast_paxos.acceptor_votes_once_in_a_fast_round",
    ),
    Mutant(
        id="Q5",
        protocols=FAST,
        change="what `Any` opened in one ballot stays open in the next",
        exposed_by="a new coordinator, or fallback, under load",
        shows="two decided values",
        scenario="test_fast_paxos.fast_rounds_of_a_new_ballot_are_closed",
    ),
    Mutant(
        id="Q6",
        protocols=FAST,
        change="after Phase 1 any vote of the highest round is taken, also of a fast one",
        exposed_by="collision, then the coordinator killed",
        shows="two decided values",
        scenario="test_fast_paxos.phase_1_picks_what_may_have_been_chosen",
    ),
    Mutant(
        id="Q7",
        protocols=FAST,
        change="an acceptor takes its own fast vote for the decision",
        exposed_by="two racing clients",
        shows="two decided values",
        scenario="test_fast_paxos.own_fast_vote_is_not_the_decision",
    ),
    Mutant(
        id="Q8",
        protocols=FAST,
        change="an acceptor votes in a slot's fast round after its classic one",
        exposed_by="collision and a late proposal",
        shows="two decided values",
        scenario="test_fast_paxos.no_fast_vote_after_the_classic_one",
    ),
)
