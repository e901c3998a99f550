"""EPaxos: dependencies, recoveries, and the order of execution."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    EPAXOS,
    Mutant,
)

BUGS = (
    Mutant(
        id="E1",
        protocols=EPAXOS,
        change="a promise makes an acceptor's old vote look like a vote in the promised ballot",
        exposed_by="two recoveries in a row with different values under way",
        shows="two decided values, replicas diverge",
    ),
    Mutant(
        id="E2",
        protocols=EPAXOS,
        change="the fast path is taken whatever dependencies the acceptors answered",
        exposed_by="two owners with interfering commands at a time",
        shows="replicas diverge",
    ),
    Mutant(
        id="E3",
        protocols=EPAXOS,
        change="recovery proposes the owner's dependencies where it should merge those reported",
        exposed_by="owner cut off or killed after some PreAccepts",
        shows="different orders",
    ),
    Mutant(
        id="E4",
        protocols=EPAXOS,
        change="the slow path proposes its own dependencies, not the union of the answers",
        exposed_by="two owners with interfering commands at a time",
        shows="replicas diverge",
    ),
    Mutant(
        id="E5",
        protocols=EPAXOS,
        change="recovery goes by what the recovering node knows, not by what a quorum reported",
        exposed_by="owner killed after some PreAccepts",
        shows="the command vanishes, two decided values",
    ),
    Mutant(
        id="E6",
        protocols=EPAXOS,
        change="commands are executed as they are committed, ignoring dependencies",
        exposed_by="interfering writes",
        shows="replicas diverge",
    ),
    Mutant(
        id="E7",
        protocols=EPAXOS,
        change="a strongly connected component is ordered by rank alone, ties as they are found",
        exposed_by="equal ranks",
        shows="replicas diverge",
    ),
    Mutant(
        id="E8",
        protocols=EPAXOS,
        change="execution does not wait for dependencies that are not committed yet",
        exposed_by="a late Commit",
        shows="replicas diverge",
    ),
    Mutant(
        id="E9",
        protocols=EPAXOS,
        change="nobody recovers the instances that another node began",
        exposed_by="owner killed",
        shows="execution stalls",
        liveness=True,
    ),
    Mutant(
        id="E10",
        protocols=EPAXOS,
        change="recovery does not ask a quorum for instances that speak against the fast path",
        exposed_by="owner killed while another's interfering command is under way",
        shows="different orders",
    ),
    Mutant(
        id="E11",
        protocols=EPAXOS,
        change="a fast decision is told before it is on disk: a restarted owner denies it",
        exposed_by="owner killed after a fast path whose Commits are lost",
        shows="two decided values",
    ),
    Mutant(
        id="E12",
        protocols=EPAXOS,
        change="recovery takes it for granted that the fast path was not taken",
        exposed_by="owner killed or cut off after a fast path",
        shows="two decided values",
    ),
    Mutant(
        id="E13",
        protocols=EPAXOS,
        change="commands of one client on two keys do not interfere",
        exposed_by="a client that went on to another node and another key",
        shows="replicas apply a retried command differently",
    ),
    Mutant(
        id="E14",
        protocols=EPAXOS,
        change="reads do not interfere with writes",
        exposed_by="a Commit that is late at the reader's node",
        shows="stale read",
    ),
    Mutant(
        id="E15",
        protocols=EPAXOS,
        change="what every disk holds is dropped, and no longer counts as interfering",
        exposed_by="a recovery, by a node that has not dropped it yet, of a fast decision",
        shows="replicas execute in different orders",
    ),
)
