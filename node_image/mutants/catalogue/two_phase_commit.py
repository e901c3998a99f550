"""Two-phase commit: which node may decide, and what must be on disk before."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    TWO_PHASE,
    Mutant,
)

BUGS = (
    Mutant(
        id="T1",
        protocols=TWO_PHASE,
        change="sends Commit before the decision is on disk",
        exposed_by="coordinator killed as it sends Commit",
        shows="half committed",
        scenario="test_two_phase_commit.commit_waits_for_the_disk",
    ),
    Mutant(
        id="T2",
        protocols=TWO_PHASE,
        change="a yes vote is not durable",
        exposed_by="participant killed while in doubt",
        shows="half committed, stale read",
        scenario="test_two_phase_commit.yes_is_on_disk",
    ),
    Mutant(
        id="T3",
        protocols=TWO_PHASE,
        change="the coordinator forgets a commit before all nodes have confirmed it",
        exposed_by="a participant down when Commit was sent",
        shows="half committed",
        scenario="test_two_phase_commit.commit_is_remembered_for_the_last_participant",
    ),
    Mutant(
        id="T4",
        protocols=TWO_PHASE,
        change="a participant in doubt aborts on its own after a timeout",
        exposed_by="coordinator killed or cut off",
        shows="half committed",
        scenario="test_two_phase_commit.doubt_ends_by_an_answer_only",
    ),
    Mutant(
        id="T5",
        protocols=TWO_PHASE,
        change="reads do not wait for locks",
        exposed_by="Commit to one node lost or late",
        shows="stale read",
        scenario="test_two_phase_commit.read_waits_for_the_lock",
    ),
    Mutant(
        id="T6",
        protocols=TWO_PHASE,
        change="commits when a majority has voted yes",
        exposed_by="a participant down, or one that voted no",
        shows="half committed, stale read",
        scenario="test_two_phase_commit.one_yes_is_missing",
    ),
    Mutant(
        id="T7",
        protocols=TWO_PHASE,
        change="a late Prepare is voted on again",
        exposed_by="duplication, reordering",
        shows="half committed",
        scenario="test_two_phase_commit.late_prepare_is_not_voted_on",
    ),
    Mutant(
        id="T8",
        protocols=TWO_PHASE,
        change="votes yes though the key is locked",
        exposed_by="a lost Commit, and the next write of the key",
        shows="different orders",
        scenario="test_two_phase_commit.locked_key_is_refused",
    ),
    Mutant(
        id="T9",
        protocols=TWO_PHASE,
        change="a transaction reported to its client as aborted still collects votes",
        exposed_by="a participant down for longer than the coordinator waits",
        shows="a write that failed is read",
        scenario="test_two_phase_commit.transaction_reported_aborted_stays_aborted",
    ),
    Mutant(
        id="T10",
        protocols=TWO_PHASE,
        change="a checkpoint drops the transactions in doubt",
        exposed_by="participant killed after a checkpoint",
        shows="half committed, stale read",
        scenario="test_two_phase_commit.checkpoint_keeps_what_is_in_doubt",
    ),
    Mutant(
        id="T11",
        protocols=TWO_PHASE,
        change="keys are locked, clients' sessions are not",
        exposed_by="a late Commit, and the client's next command on another key",
        shows="a write missing at one node: stale read there",
        scenario="test_two_phase_commit.commands_of_one_client_keep_their_order",
    ),
)
