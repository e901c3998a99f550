"""Basic Paxos: competing proposers, and what a vote means."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, Mutant

BUGS = (
    Mutant(
        id="B11",
        protocols=BASIC,
        change="tries again at once when refused: no back-off",
        exposed_by="two proposers at a time, nothing else",
        shows="livelock: nothing is ever decided",
        scenario="test_basic_paxos.refused_proposer_waits",
        liveness=True,
    ),
    Mutant(
        id="B12",
        protocols=BASIC,
        change="a vote does not count as a promise of its ballot",
        exposed_by="three competing ballots, a lost or late Prepare",
        shows="two decided values",
        scenario="test_basic_paxos.vote_is_a_promise",
    ),
    Mutant(
        id="B13",
        protocols=BASIC,
        change="answers its client when its slot is decided, though with another's value",
        exposed_by="two proposers at a time",
        shows="a write is acknowledged and not done",
        scenario="test_basic_paxos.own_command_goes_to_the_next_slot",
    ),
    Mutant(
        id="B14",
        protocols=BASIC,
        change="on a decision takes its own vote for the value, whatever the vote's ballot",
        exposed_by="two proposers at a time, a lost Accept",
        shows="two decided values",
        scenario="test_basic_paxos.decision_names_its_ballot",
    ),
)
