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
        scenario="test_raft_mutants.old_entry_is_not_committed_by_counting",
    ),
    Mutant(
        id="R2",
        protocols=RAFT,
        change="term and vote are kept in memory only",
        exposed_by="all nodes restarted, a voter restarted in an election",
        shows="two leaders in one term, replicas diverge",
        scenario="test_raft_mutants.vote_is_on_disk",
    ),
    Mutant(
        id="R3",
        protocols=RAFT,
        change="vote replies are not checked for their term",
        exposed_by="a delayed vote, and a second candidacy",
        shows="two leaders in one term",
        scenario="test_raft_mutants.vote_of_an_earlier_term",
    ),
    Mutant(
        id="R5",
        protocols=RAFT,
        change="the commit index may go back",
        exposed_by="leader change",
        shows="entries applied again",
        scenario="test_raft_mutants.nothing_is_applied_twice",
    ),
    Mutant(
        id="R7",
        protocols=RAFT,
        change="serves a ReadIndex before the term's first commit",
        exposed_by="failover",
        shows="stale read",
        scenario="test_raft_mutants.new_leader_reads_only_after_its_first_commit",
        needs={"reads": "quorum"},
    ),
    Mutant(
        id="R8",
        protocols=RAFT,
        change="voters do not check the candidate's log",
        exposed_by="leader killed while a follower was behind",
        shows="acknowledged write lost",
        scenario="test_raft_mutants.candidate_with_an_older_log",
    ),
    Mutant(
        id="R9",
        protocols=RAFT,
        change="the consistency check compares the previous index, but not its term",
        exposed_by="leader killed after its Append reached few",
        shows="replicas diverge",
        scenario="test_raft_mutants.entry_before_must_be_the_same",
    ),
    Mutant(
        id="R10",
        protocols=RAFT,
        change="a late Append truncates the entries after it",
        exposed_by="reordering, duplication",
        shows="acknowledged write lost",
        scenario="test_raft_mutants.late_append_truncates_nothing",
    ),
    Mutant(
        id="R11",
        protocols=RAFT,
        change="an older snapshot is installed over a newer state",
        exposed_by="duplication or delay of snapshots",
        shows="acknowledged write lost, entries applied again",
        scenario="test_raft_mutants.late_snapshot_is_not_installed",
        needs={"snapshot_every": 20},
    ),
    Mutant(
        id="R12",
        protocols=RAFT,
        change="no entry of its own at the start of a term",
        exposed_by="failover with entries open, and no client writes",
        shows="reads are never answered",
        scenario="test_raft_mutants.term_opens_with_an_entry_of_its_own",
        liveness=True,
        needs={"reads": "quorum"},
    ),
)
