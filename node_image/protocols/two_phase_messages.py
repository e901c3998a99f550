"""The messages of two-phase commit, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.interface import Command, Json


class Txn(NamedTuple):
    """A transaction's id: the life of the coordinator in which it began, and its number there.

    Ids increase, and are never reused: a life is on the coordinator's disk before its first
    transaction begins.
    """

    life: int
    number: int


# ------------------------------------------------------------------ phase 1


class Prepare(NamedTuple):
    """The coordinator asks a participant to vote. Every transaction below `settled` is over: it was
    aborted, or all participants have committed it."""

    txn: Txn
    commands: tuple[Command, ...]
    settled: Txn


class Vote(NamedTuple):
    """`yes`: the participant can commit, whatever happens, and this is on its disk. Otherwise it
    must be aborted. `done` are transactions that the participant has committed, durably."""

    txn: Txn
    yes: bool
    done: tuple[Txn, ...]


# ------------------------------------------------------------------ phase 2


class Commit(NamedTuple):
    """These are committed: all voted yes, and the decision is on the coordinator's disk."""

    txns: tuple[Txn, ...]


class Abort(NamedTuple):
    """These are aborted."""

    txns: tuple[Txn, ...]


class Done(NamedTuple):
    """The sender has committed these, durably, and will not ask about them again."""

    txns: tuple[Txn, ...]


class Inquire(NamedTuple):
    """The sender voted yes on these, and asks for their outcome."""

    txns: tuple[Txn, ...]


class Logged(NamedTuple):
    """From the coordinator to itself, behind the barrier: this decision is on disk. Number 0 stands
    for the life itself."""

    txn: Txn


# ------------------------------------------------------------------ on disk


class Life(NamedTuple):
    """The life of the coordinator that has begun."""

    number: int


class Prepared(NamedTuple):
    """A participant's yes: from here on it cannot abort by itself."""

    txn: Txn
    commands: tuple[Command, ...]


class Committed(NamedTuple):
    """At the coordinator: the decision. At a participant: that it has received it. Transactions
    below `settled` were over by then."""

    txn: Txn
    commands: tuple[Command, ...]
    settled: Txn


class Snapshot(NamedTuple):
    """The state after `commits` transactions. Those from `settled` on that it includes are in
    `finished`. Earlier records of all of them are dropped."""

    state: Json
    commits: int
    life: int
    settled: Txn
    finished: tuple[Txn, ...]


MESSAGES: tuple[type, ...] = (Prepare, Vote, Commit, Abort, Done, Inquire, Logged)
RECORDS: tuple[type, ...] = (Life, Prepared, Committed, Snapshot)
