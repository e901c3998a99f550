"""Two-phase commit: who may decide, and what must be on disk before."""

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
    ),
    Mutant(
        id="T2",
        protocols=TWO_PHASE,
        change="a yes vote is not durable",
        exposed_by="participant killed while in doubt",
        shows="half committed, stale read",
    ),
    Mutant(
        id="T3",
        protocols=TWO_PHASE,
        change="the coordinator forgets a commit before everybody has confirmed it",
        exposed_by="a participant away when Commit was sent",
        shows="half committed",
    ),
    Mutant(
        id="T4",
        protocols=TWO_PHASE,
        change="a participant in doubt aborts by itself after a timeout",
        exposed_by="coordinator killed or cut off",
        shows="half committed",
    ),
    Mutant(
        id="T5",
        protocols=TWO_PHASE,
        change="reads do not wait for locks",
        exposed_by="Commit lost or late on its way to one node",
        shows="stale read",
    ),
    Mutant(
        id="T6",
        protocols=TWO_PHASE,
        change="commits when a majority has voted yes",
        exposed_by="a participant away, or that voted no",
        shows="half committed, stale read",
    ),
    Mutant(
        id="T7",
        protocols=TWO_PHASE,
        change="a Prepare that comes late is voted on again",
        exposed_by="duplication, reordering",
        shows="half committed",
    ),
    Mutant(
        id="T8",
        protocols=TWO_PHASE,
        change="votes yes though the key is locked",
        exposed_by="a lost Commit, and the next write of the key",
        shows="different orders",
    ),
    Mutant(
        id="T9",
        protocols=TWO_PHASE,
        change="a transaction that was denied to its client still collects votes",
        exposed_by="a participant away for longer than the coordinator waits",
        shows="a write that failed is read",
    ),
    Mutant(
        id="T10",
        protocols=TWO_PHASE,
        change="a checkpoint drops the transactions in doubt",
        exposed_by="participant killed after a checkpoint",
        shows="half committed, stale read",
    ),
    Mutant(
        id="T11",
        protocols=TWO_PHASE,
        change="keys are locked, clients' sessions are not",
        exposed_by="a late Commit, and the client's next command on another key",
        shows="a write missing at one node: stale read there",
    ),
)
