"""The messages of two-phase commit, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.interface import Command, Json


class Txn(NamedTuple):
    """A transaction's name: in which life of the coordinator it began, and as which there.

    Names are never used twice, and grow: a life is on the coordinator's disk before its first
    transaction begins.
    """

    life: int
    number: int


# ------------------------------------------------------------------ phase 1


class Prepare(NamedTuple):
    """The coordinator asks: can you commit this? Every transaction below `settled` is over: it was
    aborted, or all participants have committed it."""

    txn: Txn
    commands: tuple[Command, ...]
    settled: Txn


class Vote(NamedTuple):
    """`yes`: I can, whatever happens, and it is on my disk. Else: abort it. `done` are
    transactions that I have committed, durably."""

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
    """I have committed these, durably, and shall never ask about them again."""

    txns: tuple[Txn, ...]


class Inquire(NamedTuple):
    """I voted yes on these and do not know their outcome. What is it?"""

    txns: tuple[Txn, ...]


class Logged(NamedTuple):
    """The coordinator to itself, behind the barrier: this decision is on disk. Number 0 means
    the life itself."""

    txn: Txn


# ------------------------------------------------------------------ on disk


class Life(NamedTuple):
    """The coordinator's life that has begun."""

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
    """The state with `commits` transactions in it. Those from `settled` on that it holds are in
    `finished`; records of all of them are gone."""

    state: Json
    commits: int
    life: int
    settled: Txn
    finished: tuple[Txn, ...]


MESSAGES: tuple[type, ...] = (Prepare, Vote, Commit, Abort, Done, Inquire, Logged)
RECORDS: tuple[type, ...] = (Life, Prepared, Committed, Snapshot)
