"""The planted bugs, as a table: what each changes, what exposes it, and what it then shows.

Each is a real mistake, from a paper, from a published analysis or from an issue of a real
implementation. The code of a mutant stands in the file of its protocol beside this one; this file
only describes, so that the harness can list, score and explain them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MULTI = ("multi-paxos", "flexible-paxos")
BASIC = ("basic-paxos",)
EPAXOS = ("epaxos",)
FAST = ("fast-paxos",)
RAFT = ("raft",)
TWO_PHASE = ("two-phase-commit",)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted bug.

    `protocols` are the names it is written for. `needs` holds cluster settings without which it
    cannot show: fields of ClusterConfig by name, and `learners` as a number of nodes. A `control`
    is a change that is safe, and must never be flagged. `liveness` says that what suffers is
    progress, not safety.
    """

    id: str
    protocols: tuple[str, ...]
    change: str
    exposed_by: str
    shows: str
    control: bool = False
    liveness: bool = False
    needs: dict[str, Any] = field(default_factory=dict)


_ALL = (
    Mutant(
        id="B1",
        protocols=(*MULTI, *FAST, *BASIC),
        change="Phase 2 proposes a no-op, or its own value, though a promise reported a vote",
        exposed_by="leader killed with slots open",
        shows="acknowledged write lost, two decided values",
    ),
    Mutant(
        id="B2",
        protocols=(*MULTI, *FAST, *BASIC, *EPAXOS),
        change="takes the first reported vote, not that of the highest ballot",
        exposed_by="two leader changes and loss",
        shows="two decided values",
    ),
    Mutant(
        id="B3",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *EPAXOS),
        change="replies to an earlier ballot are counted for the current one",
        exposed_by="delayed replies around a second election of the same node",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="B5",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="votes, promises and replies leave before they are on disk",
        exposed_by="power cut",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="B6",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="an acceptor forgets its promise and votes at restart",
        exposed_by="kill -9",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="B7",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="the ballot counter restarts from zero: a ballot may be used twice",
        exposed_by="restart of the last leader",
        shows="two values at one ballot",
    ),
    Mutant(
        id="B8",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *EPAXOS),
        change="ballots carry no node id to break ties",
        exposed_by="simultaneous proposers",
        shows="two values at one ballot",
    ),
    Mutant(
        id="B9",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="messages are counted, not distinct acceptors",
        exposed_by="duplication",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="B10",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *EPAXOS),
        change="accepts a ballot lower than the one promised",
        exposed_by="reordering, an old leader that comes back",
        shows="two decided values",
    ),
    Mutant(
        id="B11",
        protocols=BASIC,
        change="tries again at once when refused: no back-off",
        exposed_by="two proposers at a time, nothing else",
        shows="livelock: nothing is ever decided",
        liveness=True,
    ),
    Mutant(
        id="B12",
        protocols=BASIC,
        change="a vote does not count as a promise of its ballot",
        exposed_by="three duelling ballots, a lost or late Prepare",
        shows="two decided values",
    ),
    Mutant(
        id="B13",
        protocols=BASIC,
        change="answers its client when its slot is decided, though with another's value",
        exposed_by="two proposers at a time",
        shows="a write is acknowledged and not done",
    ),
    Mutant(
        id="B14",
        protocols=BASIC,
        change="on hearing of a decision takes its own vote for the value, whatever its ballot",
        exposed_by="two proposers at a time, a lost Accept",
        shows="two decided values",
    ),
    Mutant(
        id="M1",
        protocols=(*MULTI, *FAST),
        change="a new leader leaves holes in the log instead of filling them with no-ops",
        exposed_by="a lost Phase 2, leader killed",
        shows="the log stalls",
        liveness=True,
    ),
    Mutant(
        id="M2",
        protocols=(*MULTI, *FAST, *BASIC, *EPAXOS),
        change="promises leave out slots already decided",
        exposed_by="the new leader missed the commit",
        shows="lost update",
    ),
    Mutant(
        id="M3",
        protocols=(*MULTI, *FAST, *RAFT),
        change="applies before commit: the leader's own vote is enough",
        exposed_by="leader cut off after its own append",
        shows="dirty read, acknowledged write lost",
    ),
    Mutant(
        id="M5",
        protocols=(*MULTI, *BASIC, *RAFT),
        change="the leader reads locally, with no quorum",
        exposed_by="leader isolated or paused",
        shows="stale read",
    ),
    Mutant(
        id="M6",
        protocols=(*MULTI, *RAFT),
        change="leases are measured on the wall clock",
        exposed_by="clock jump while the leader is cut off",
        shows="stale read",
        needs={"reads": "lease"},
    ),
    Mutant(
        id="M8",
        protocols=(*MULTI, *FAST, *BASIC, *RAFT, *TWO_PHASE, *EPAXOS),
        change="no client sessions: a retried command is applied twice",
        exposed_by="leader killed before its reply, and the client asks again",
        shows="double apply",
    ),
    Mutant(
        id="M9",
        protocols=MULTI,
        change="a follower acknowledges past a hole",
        exposed_by="a lost Accept, then the leader is killed",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="M10",
        protocols=(*MULTI, *RAFT),
        change="a learner is counted as a voter in Phase 2",
        exposed_by="voters killed or cut off",
        shows="acknowledged write lost",
        needs={"learners": 2},
    ),
    Mutant(
        id="M11",
        protocols=MULTI,
        change="a new leader answers reads before it has applied what Phase 1 found",
        exposed_by="failover",
        shows="stale read",
        needs={"reads": "quorum"},
    ),
    Mutant(
        id="M12",
        protocols=(*MULTI, *FAST, *RAFT),
        change="a deposed leader says not-leader, definitely, of commands it had proposed",
        exposed_by="leader cut off or outvoted with commands under way",
        shows="a write that failed is read",
    ),
    Mutant(
        id="M13",
        protocols=(*MULTI, *RAFT),
        change="an acceptor promises another ballot while a lease it granted still holds",
        exposed_by="leader cut off, paused or restarted acceptors",
        shows="stale read",
        needs={"reads": "lease"},
    ),
    Mutant(
        id="L1",
        protocols=(*MULTI, *FAST, *RAFT),
        change="a leader that hears no quorum does not step down",
        exposed_by="one-way cut towards the leader",
        shows="no answer until it heals",
        liveness=True,
    ),
    Mutant(
        id="L2",
        protocols=(*MULTI, *FAST, *RAFT),
        change="no probe before Phase 1: whoever hears no leader starts one",
        exposed_by="one-way cut towards a follower",
        shows="the leader is deposed again and again",
        liveness=True,
    ),
    Mutant(
        id="F1",
        protocols=("flexible-paxos",),
        change="Q1 + Q2 = N is not refused",
        exposed_by="disjoint partition, then a new leader",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="F2",
        protocols=("flexible-paxos",),
        change="Q1 and Q2 swapped, their sum still more than N",
        exposed_by="as F1",
        shows="nothing: it is safe",
        control=True,
    ),
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

MUTANTS: dict[str, Mutant] = {mutant.id: mutant for mutant in _ALL}
