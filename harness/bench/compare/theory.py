"""The predictions of theory: for every row of the table and every protocol one value, with its
source.

Latencies are in one-way message delays and count the client's own: to the node that it asks, and
back. Most papers count only between nodes, or treat the proposer as the client; each source states
which. `n` is the number of nodes, which are all acceptors.

`why` explains a measurement that is known to differ: it is shown only where one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Expectation:
    """An expected value (None: never), the paper and section that it is from, and why ours may
    differ. `at_most`: less is as good."""

    value: float | None
    source: str
    why: str = ""
    at_most: bool = False


PMS: Final = "Paxos Made Simple"
FAST: Final = "Fast Paxos"
FLEXIBLE: Final = "Flexible Paxos"
EGALITARIAN: Final = "EPaxos"
RAFT: Final = "Raft"
DISSERTATION: Final = "Ongaro's dissertation"
COMMIT: Final = "Consensus on Transaction Commit"
PRESUMED: Final = "R*"
LIVE: Final = "Paxos Made Live"
FLP: Final = "Fischer, Lynch and Paterson"

PAPERS: Final[Mapping[str, str]] = {
    PMS: "L. Lamport, Paxos Made Simple, ACM SIGACT News, 2001",
    FAST: "L. Lamport, Fast Paxos, Distributed Computing, 2006",
    FLEXIBLE: "H. Howard, D. Malkhi, A. Spiegelman, Flexible Paxos: Quorum Intersection Revisited, "
    "OPODIS 2016",
    EGALITARIAN: "I. Moraru, D. Andersen, M. Kaminsky, There Is More Consensus in Egalitarian "
    "Parliaments, SOSP 2013",
    RAFT: "D. Ongaro, J. Ousterhout, In Search of an Understandable Consensus Algorithm, "
    "USENIX ATC 2014",
    DISSERTATION: "D. Ongaro, Consensus: Bridging Theory and Practice, Stanford, 2014",
    COMMIT: "J. Gray, L. Lamport, Consensus on Transaction Commit, ACM TODS, 2006",
    PRESUMED: "C. Mohan, B. Lindsay, R. Obermarck, Transaction Management in the R* Distributed "
    "Database Management System, ACM TODS, 1986",
    FLP: "M. Fischer, N. Lynch, M. Paterson, Impossibility of Distributed Consensus with One "
    "Faulty Process, JACM, 1985",
    LIVE: "T. Chandra, R. Griesemer, J. Redstone, Paxos Made Live, PODC 2007",
}
"""By the short name that sources begin with."""

Expected = Callable[[int], Expectation]
"""From the number of nodes."""


def _always(value: float, source: str, why: str = "") -> Expected:
    return lambda _: Expectation(value, source, why)


def _per_other(times: float, source: str, why: str = "") -> Expected:
    """This many messages for each node but one."""
    return lambda n: Expectation(times * (n - 1), source, why)


def _flexible(value: float, source: str) -> Expected:
    """Of three nodes the Phase 2 quorum of this table is one, the leader: it asks no other node."""
    alone = f"{FLEXIBLE}: Q2 = 1, the leader decides alone; to it and back"
    return lambda n: Expectation(2, alone) if n == 3 else Expectation(value, source)


_TWO_ROUND_TRIPS: Final = f"{PMS}, section 2.2: prepare, promise, accept, accepted"
_LEADER: Final = f"{PMS}, section 3: the leader runs Phase 2 alone"
_RAFT_LEADER: Final = f"{RAFT}, section 5.3: AppendEntries to all, a majority answers"
_FLEXIBLE_LEADER: Final = f"{FLEXIBLE}: Phase 2 as in Multi-Paxos, only its quorum differs"
_FAST_ROUND: Final = f"{FAST}, section 3: proposers to acceptors to learners, two delays"
_FAST_PATH: Final = f"{EGALITARIAN}, section 4.3: one round trip to a fast quorum"
_TWO_PHASES: Final = f"{COMMIT}, section 3.2: prepare and vote; the coordinator then decides alone"
_LOCAL: Final = "a participant that is in doubt about nothing holds every committed value"
_READ_INDEX: Final = f"{DISSERTATION}, section 6.4: a round of heartbeats confirms the leader"
_LEASE: Final = f"{DISSERTATION}, section 6.4.1: the leader answers from its own state"
_PAXOS_LEASE: Final = f"{LIVE}, section 5.2: a master with a lease reads its local copy"
_READ_QUORUM: Final = f"as Raft's ReadIndex ({DISSERTATION}, section 6.4)"

_WRITE_AWAY: Final[Mapping[str, Expected]] = {
    "basic-paxos": _always(6, f"{_TWO_ROUND_TRIPS}; and to the client and back"),
    "multi-paxos": _always(4, f"{_LEADER}; and to the client and back"),
    "flexible-paxos": _flexible(4, f"{_FLEXIBLE_LEADER}; and to the client and back"),
    "fast-paxos": _always(4, f"{_FAST_ROUND}; and to the client and back"),
    "epaxos": _always(4, f"{_FAST_PATH}; and to the client and back"),
    "raft": _always(4, f"{_RAFT_LEADER}; and to the client and back"),
    "two-phase-commit": _always(4, f"{_TWO_PHASES}; and to the client and back"),
}
_WRITE_BESIDE: Final[Mapping[str, Expected]] = {
    "basic-paxos": _always(4, f"{_TWO_ROUND_TRIPS}; the proposer is the client's neighbour"),
    "multi-paxos": _always(4, f"{_LEADER}, which is one delay from the client"),
    "flexible-paxos": _flexible(4, f"{_FLEXIBLE_LEADER}; the leader is one delay away"),
    "fast-paxos": _always(2, f"{_FAST_ROUND}; the proposer is the client's neighbour"),
    "epaxos": _always(2, f"{_FAST_PATH}; the owner is the client's neighbour"),
    "raft": _always(4, f"{_RAFT_LEADER}; the leader is one delay away"),
    "two-phase-commit": _always(4, f"{_TWO_PHASES}; the coordinator is one delay away"),
}

_LATENCY: Final[Mapping[str, Mapping[str, Expected]]] = {
    "latency.write": _WRITE_AWAY,
    "latency.write-beside": _WRITE_BESIDE,
    "latency.read-log": {k: v for k, v in _WRITE_AWAY.items() if k != "two-phase-commit"},
    "latency.read-quorum": {
        "multi-paxos": _always(4, f"{_READ_QUORUM}; and to the client and back"),
        "flexible-paxos": _flexible(4, f"{_READ_QUORUM}; and to the client and back"),
        "raft": _always(4, f"{_READ_INDEX}; and to the client and back"),
    },
    "latency.read-lease": {
        "multi-paxos": _always(2, f"{_PAXOS_LEASE}; only to the leader and back"),
        "flexible-paxos": _always(2, f"{_PAXOS_LEASE}; only to the leader and back"),
        "raft": _always(2, f"{_LEASE}; only to the leader and back"),
    },
    "latency.read-local": {"two-phase-commit": _always(2, f"{_LOCAL}; to a node and back")},
    "latency.fsyncs": {
        "basic-paxos": _always(
            3, f"{PMS}, section 2.5: the proposer's own number, the promises, the votes"
        ),
        "multi-paxos": _always(1, f"{PMS}, sections 2.5 and 3: the votes"),
        "flexible-paxos": _always(1, f"{PMS}, sections 2.5 and 3: the votes"),
        "fast-paxos": _always(1, f"{FAST}, section 3: the votes"),
        "epaxos": _always(
            1,
            f"{EGALITARIAN}, section 4.3: owner and acceptors record the command, and nothing "
            "makes one of them wait for another",
            "here three in a row: the owner's own vote leaves when it is on its disk, the "
            "acceptors' votes when they are on theirs, and a fast decision is on the owner's "
            "disk before it is announced, even to its client, because a recovery has to "
            "know from the owner whether the fast path was taken",
        ),
        "raft": _always(
            1, f"{DISSERTATION}, section 10.2.1: leader and followers write in parallel"
        ),
        "two-phase-commit": _always(2, f"{COMMIT}, section 3.2: prepared, then committed"),
    },
}

_COST: Final[Mapping[str, Mapping[str, Expected]]] = {
    "cost.write": {
        "basic-paxos": _per_other(5, f"{_TWO_ROUND_TRIPS}; and the learners (section 2.3)"),
        "multi-paxos": _per_other(3, f"{PMS}, sections 2.3 and 3: accept, accepted, learn"),
        "flexible-paxos": _per_other(3, f"{PMS}, sections 2.3 and 3: accept, accepted, learn"),
        "fast-paxos": _per_other(
            4, f"{FAST}, section 3: value to all, votes to coordinator and proposer, decision"
        ),
        "epaxos": _per_other(3, f"{EGALITARIAN}, section 4.3: PreAccept, its answers, Commit"),
        "raft": _per_other(
            2, f"{RAFT}, section 5.3: the commit index is piggybacked on what is sent next"
        ),
        "two-phase-commit": _per_other(
            4, f"{PRESUMED}, section 2: prepare, vote, commit, acknowledgement"
        ),
    },
    "cost.read-log": {
        "basic-paxos": _per_other(5, "as a write"),
        "multi-paxos": _per_other(3, "as a write"),
        "flexible-paxos": _per_other(3, "as a write"),
        "fast-paxos": _per_other(4, "as a write"),
        "epaxos": _per_other(3, "as a write"),
        "raft": _per_other(2, "as a write"),
    },
    "cost.read-quorum": {
        "multi-paxos": _per_other(2, _READ_QUORUM),
        "flexible-paxos": _per_other(2, _READ_QUORUM),
        "raft": _per_other(2, _READ_INDEX),
    },
    "cost.read-lease": {
        "multi-paxos": _always(0, _PAXOS_LEASE),
        "flexible-paxos": _always(0, _PAXOS_LEASE),
        "raft": _always(0, _LEASE),
    },
    "cost.read-local": {"two-phase-commit": _always(0, _LOCAL)},
    "cost.fsyncs": {
        "basic-paxos": lambda n: Expectation(
            2 * n, f"{PMS}, section 2.5: every acceptor's promise and vote"
        ),
        "multi-paxos": lambda n: Expectation(n, f"{PMS}, section 2.5: every acceptor's vote"),
        "flexible-paxos": lambda n: Expectation(n, f"{PMS}, section 2.5: every acceptor's vote"),
        "fast-paxos": lambda n: Expectation(n, f"{FAST}, section 3: every acceptor's vote"),
        "epaxos": lambda n: Expectation(
            n,
            f"{EGALITARIAN}, section 4.3: every replica records the command",
            "every replica writes the decision as well as its vote: the owner at once, the others "
            "with their next heartbeat, one fsync for all commands since the last",
        ),
        "raft": lambda n: Expectation(n, f"{RAFT}, section 5.3: every node's log"),
        "two-phase-commit": lambda n: Expectation(
            2 * n - 1, f"{PRESUMED}, section 2: the others' prepare and commit, and the decision"
        ),
    },
}


def _size(of: Callable[[int], int], source: str) -> Expected:
    return lambda n: Expectation(of(n), source)


def _interrupted(paper: str) -> Expected:
    """Served again within two election timeouts."""
    source = f"an election, within twice its timeout: {paper}"
    return lambda _: Expectation(2, source, at_most=True)


def majority(nodes: int) -> int:
    return nodes // 2 + 1


def _minority(nodes: int) -> int:
    """How many may fail while a majority is up."""
    return nodes - majority(nodes)


def fast_quorum(nodes: int) -> int:
    """A fast quorum of EPaxos: n - e, where e is at most f and at most (n - f + 1) / 2."""
    tolerated = (nodes - 1) // 2
    return nodes - min(tolerated, (nodes - tolerated + 1) // 2)


_ANY_MAJORITY: Final = f"{PMS}, section 2.2: any majority"
_RAFT_MAJORITY: Final = f"{RAFT}, sections 5.2 and 5.3: any majority"
_BY_Q2: Final = f"{FLEXIBLE}: Q2, one fewer than a majority here"
_BY_Q1: Final = f"{FLEXIBLE}: Q1 = N + 1 - Q2"
_EVERYBODY: Final = f"{COMMIT}, section 3: one that does not vote aborts"
_PAXOS_ALIVE: Final = f"{PMS}, sections 2.4 and 3: while a majority lives, and a node leads"
_FAST_ALIVE: Final = f"{FAST}, section 3: classic rounds need a majority"
_EPAXOS_ALIVE: Final = f"{EGALITARIAN}, section 4.2: while a majority lives"
_RAFT_ALIVE: Final = f"{RAFT}, section 5: while a majority lives"

_QUORUMS: Final[Mapping[str, Mapping[str, Expected]]] = {
    "quorums.decide": {
        "basic-paxos": _size(majority, _ANY_MAJORITY),
        "multi-paxos": _size(majority, _ANY_MAJORITY),
        "flexible-paxos": _size(lambda n: majority(n) - 1, _BY_Q2),
        "fast-paxos": _size(majority, f"{FAST}, section 3: a classic quorum, by recovery"),
        "epaxos": _size(majority, f"{EGALITARIAN}, section 4.3: the slow path, any majority"),
        "raft": _size(majority, _RAFT_MAJORITY),
        "two-phase-commit": _size(lambda n: n, _EVERYBODY),
    },
    "quorums.fast": {
        "fast-paxos": _size(lambda n: -(-3 * n // 4), f"{FAST}, section 3: three quarters"),
        "epaxos": _size(
            fast_quorum, f"{EGALITARIAN}, section 4.4: F + floor((F + 1) / 2) of 2F + 1"
        ),
    },
    "quorums.elect": {
        "basic-paxos": _size(majority, _ANY_MAJORITY),
        "multi-paxos": _size(majority, _ANY_MAJORITY),
        "flexible-paxos": _size(lambda n: n + 2 - majority(n), _BY_Q1),
        "fast-paxos": _size(majority, f"{FAST}, section 3: a classic quorum"),
        "epaxos": _size(majority, f"{EGALITARIAN}, section 4.6: explicit prepare to a majority"),
        "raft": _size(majority, _RAFT_MAJORITY),
    },
}

_ANY_DIES: Final[Mapping[str, Expected]] = {
    "basic-paxos": _size(_minority, _PAXOS_ALIVE),
    "multi-paxos": _size(_minority, _PAXOS_ALIVE),
    "flexible-paxos": _size(
        lambda n: majority(n) - 2, f"{FLEXIBLE}: N - Q1, since every death is followed by Phase 1"
    ),
    "fast-paxos": _size(_minority, _FAST_ALIVE),
    "epaxos": _size(_minority, _EPAXOS_ALIVE),
    "raft": _size(_minority, _RAFT_ALIVE),
}
_LEADER_LIVES: Final[Mapping[str, Expected]] = {
    **_ANY_DIES,
    "flexible-paxos": _size(lambda n: n + 1 - majority(n), f"{FLEXIBLE}: N - Q2"),
}

_OTHERS: Final[Mapping[str, Mapping[str, Expected]]] = {
    "survival.write-any": {**_ANY_DIES, "two-phase-commit": _always(0, _EVERYBODY)},
    "survival.write-spared": {**_LEADER_LIVES, "two-phase-commit": _always(0, _EVERYBODY)},
    "survival.read-any": {**_ANY_DIES, "two-phase-commit": _size(lambda n: n - 1, _LOCAL)},
    "survival.read-spared": {**_LEADER_LIVES, "two-phase-commit": _size(lambda n: n - 1, _LOCAL)},
    "survival.mid-write": {
        **{
            target: _interrupted(paper)
            for target, paper in (
                ("basic-paxos", f"{PMS}, section 2.4 (there is no election)"),
                ("multi-paxos", f"{PMS}, section 3"),
                ("flexible-paxos", FLEXIBLE),
                ("fast-paxos", f"{FAST}, section 3"),
                ("epaxos", f"{EGALITARIAN}, section 4.6: others recover the instance"),
                ("raft", f"{RAFT}, section 5.2"),
            )
        },
        "two-phase-commit": lambda _: Expectation(
            None, f"{COMMIT}, section 3.3: blocked until the coordinator returns"
        ),
    },
    "collisions.alone": {
        "fast-paxos": _always(100, f"{FAST}, section 3: without a collision"),
        "epaxos": _always(100, f"{EGALITARIAN}, section 4.2: commands that do not interfere"),
    },
    "livelock.alone": {"basic-paxos": _always(1, f"{PMS}, section 2.2")},
    "livelock.adversary": {"basic-paxos": _always(0, f"{FLP}: no protocol can promise a decision")},
    "livelock.after": {
        "basic-paxos": _always(1, f"{PMS}, section 2.4: progress once one proposer is let through")
    },
}

EXPECTED: Final[Mapping[str, Mapping[str, Expected]]] = {
    **_LATENCY,
    **_COST,
    **_QUORUMS,
    **_OTHERS,
}


def expected(row: str, target: str, nodes: int) -> Expectation | None:
    """What theory says of a row; None where it says nothing."""
    found = EXPECTED.get(row, {}).get(target)
    return None if found is None else found(nodes)
