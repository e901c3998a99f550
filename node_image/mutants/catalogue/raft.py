"""Raft: terms, the log, and what may be committed."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    RAFT,
    Mutant,
)

BUGS = (
    Mutant(
        id="R1",
        protocols=RAFT,
        change="commits an entry of an older term by counting copies",
        exposed_by="the Figure 8 schedule: leaders killed after their Append reached few",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="R2",
        protocols=RAFT,
        change="term and vote are kept in memory only",
        exposed_by="everybody restarted, a voter restarted in an election",
        shows="two leaders in one term, replicas diverge",
    ),
    Mutant(
        id="R3",
        protocols=RAFT,
        change="vote replies are not checked for their term",
        exposed_by="a delayed vote, and a second candidacy",
        shows="two leaders in one term",
    ),
    Mutant(
        id="R5",
        protocols=RAFT,
        change="the commit index may go back",
        exposed_by="leader change",
        shows="entries applied again",
    ),
    Mutant(
        id="R7",
        protocols=RAFT,
        change="serves a ReadIndex before the term's first commit",
        exposed_by="failover",
        shows="stale read",
        needs={"reads": "quorum"},
    ),
    Mutant(
        id="R8",
        protocols=RAFT,
        change="voters do not look at the candidate's log",
        exposed_by="leader killed while a follower was behind",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="R9",
        protocols=RAFT,
        change="the consistency check looks at the index before, not at its term",
        exposed_by="leader killed after its Append reached few",
        shows="replicas diverge",
    ),
    Mutant(
        id="R10",
        protocols=RAFT,
        change="an Append that comes late cuts off what followed it",
        exposed_by="reordering, duplication",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="R11",
        protocols=RAFT,
        change="an older snapshot is installed over a newer state",
        exposed_by="duplication or delay of snapshots",
        shows="acknowledged write lost, entries applied again",
        needs={"snapshot_every": 20},
    ),
    Mutant(
        id="R12",
        protocols=RAFT,
        change="no entry of its own at the start of a term",
        exposed_by="failover with entries open, and nobody writes",
        shows="reads are never answered",
        liveness=True,
        needs={"reads": "quorum"},
    ),
)
