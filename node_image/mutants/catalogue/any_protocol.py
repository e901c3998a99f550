"""What any protocol can have: votes and replies before the fsync, votes lost or counted twice, no
sessions."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, EPAXOS, FAST, MULTI, RAFT, TWO_PHASE, Mutant

BUGS = (
    Mutant(
        id="B5",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="votes, promises and replies are sent before they are on disk",
        exposed_by="power cut",
        shows="acknowledged write lost",
        scenario="test_mutants.vote_waits_for_the_disk",
    ),
    Mutant(
        id="B6",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="an acceptor forgets its promise and votes at restart",
        exposed_by="kill -9",
        shows="acknowledged write lost",
        scenario="test_mutants.vote_survives_a_restart",
    ),
    Mutant(
        id="B9",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="messages are counted, not distinct acceptors",
        exposed_by="duplication",
        shows="acknowledged write lost",
        scenario="test_mutants.duplicate_is_no_second_vote",
    ),
    Mutant(
        id="M8",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="no client sessions: a retried command is applied twice",
        exposed_by="leader killed before its reply, and the client retries",
        shows="double apply",
        scenario="test_mutants.retried_command_is_applied_once",
    ),
)
