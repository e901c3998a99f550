"""Installing a snapshot that another replica sent."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, EPAXOS, FAST, MULTI, RAFT, Mutant

BUGS = (
    Mutant(
        id="M7",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *EPAXOS),
        change="a snapshot is installed without the client-session table",
        exposed_by="a small `snapshot_every`, a node that is away for long",
        shows="diverged state, later double apply",
        scenario="snapshot_scenarios.sessions_are_installed",
    ),
    Mutant(
        id="M7b",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT),
        change="an installed snapshot is taken for one of the next slot",
        exposed_by="a small `snapshot_every`, a node that is away for long",
        shows="diverged state: one command is never applied",
        scenario="snapshot_scenarios.snapshot_is_of_its_slot",
    ),
)
