"""Protocols with a leader: keeping leadership, and the safety of its reads."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, FAST, MULTI, RAFT, Mutant

BUGS = (
    Mutant(
        id="M3",
        protocols=(*MULTI, *FAST, *RAFT),
        change="applies before commit: the leader's own vote is enough",
        exposed_by="leader cut off after its own append",
        shows="dirty read, acknowledged write lost",
        scenario="test_mutants.own_vote_is_not_enough",
    ),
    Mutant(
        id="M5",
        protocols=(*MULTI, *BASIC, *RAFT),
        change="the leader reads locally, with no quorum",
        exposed_by="leader isolated or paused",
        shows="stale read",
        scenario="test_mutants.read_needs_a_quorum",
    ),
    Mutant(
        id="M6",
        protocols=(*MULTI, *RAFT),
        change="leases are measured on the wall clock",
        exposed_by="clock jump while the leader is cut off",
        shows="stale read",
        scenario="test_mutants.lease_ends_whatever_the_wall_clock_says",
        needs={"reads": "lease"},
    ),
    Mutant(
        id="M11",
        protocols=MULTI,
        change="a new leader answers reads before it has applied what Phase 1 found",
        exposed_by="failover",
        shows="stale read",
        scenario="test_mutants.new_leader_reads_only_when_recovered",
        needs={"reads": "quorum"},
    ),
    Mutant(
        id="M12",
        protocols=(*MULTI, *FAST, *RAFT),
        change="a deposed leader answers not-leader, definitely, for commands it had proposed",
        exposed_by="leader cut off or deposed with commands in progress",
        shows="a write that failed is read",
        scenario="test_mutants.deposed_leader_refuses_no_proposed_command",
    ),
    Mutant(
        id="M13",
        protocols=(*MULTI, *RAFT),
        change="an acceptor promises another ballot while a lease it granted still holds",
        exposed_by="leader cut off, paused or restarted acceptors",
        shows="stale read",
        scenario="test_mutants.granted_lease_is_kept",
        needs={"reads": "lease"},
    ),
    Mutant(
        id="L1",
        protocols=(*MULTI, *FAST, *RAFT),
        change="a leader without replies from a quorum does not step down",
        exposed_by="one-way cut towards the leader",
        shows="no answer until it heals",
        scenario="test_mutants.leader_without_a_quorum_steps_down",
        liveness=True,
    ),
)
