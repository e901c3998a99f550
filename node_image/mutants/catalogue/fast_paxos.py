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
    ),
    Mutant(
        id="Q2",
        protocols=FAST,
        change="recovery picks the vote it heard first, not one that may have been chosen",
        exposed_by="collision and an acceptor lost",
        shows="acknowledged write replaced",
    ),
    Mutant(
        id="Q3",
        protocols=FAST,
        change="coordinated recovery does not wait for the fast votes of a majority",
        exposed_by="a lost or late fast vote",
        shows="two decided values",
    ),
    Mutant(
        id="Q4",
        protocols=FAST,
        change="an acceptor votes twice in a fast round",
        exposed_by="two racing clients",
        shows="two decided values",
    ),
    Mutant(
        id="Q5",
        protocols=FAST,
        change="what `Any` opened in one ballot stays open in the next",
        exposed_by="a new coordinator, or fallback, under load",
        shows="two decided values",
    ),
    Mutant(
        id="Q6",
        protocols=FAST,
        change="after Phase 1 any vote of the highest round will do, also of a fast one",
        exposed_by="collision, then the coordinator killed",
        shows="two decided values",
    ),
    Mutant(
        id="Q7",
        protocols=FAST,
        change="an acceptor takes its own fast vote for the decision",
        exposed_by="two racing clients",
        shows="two decided values",
    ),
    Mutant(
        id="Q8",
        protocols=FAST,
        change="an acceptor votes in a slot's fast round after its classic one",
        exposed_by="collision and a late proposal",
        shows="two decided values",
    ),
)
