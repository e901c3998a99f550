"""The messages of Raft, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations. `term` is the sender's, or that of the request that is answered. Slots, which Raft
calls indices, count from 1.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.interface import Json, NodeId
from node_image.protocols.raft_log import Entry

# ------------------------------------------------------------------ elections


class PreVote(NamedTuple):
    """Would the receiver vote for the sender in `term`? No node enters the term for this."""

    term: int
    last_index: int
    last_term: int


class PreVoteGranted(NamedTuple):
    """It would: no leader was heard from for a while, and the candidate's log is up-to-date."""

    term: int


class RequestVote(NamedTuple):
    """Request for a vote in `term`, with the last entry of the candidate's log."""

    term: int
    last_index: int
    last_term: int


class VoteGranted(NamedTuple):
    """The sender has voted for the receiver in `term`, durably."""

    term: int


class Behind(NamedTuple):
    """The request is of an old term: the sender is in `term`."""

    term: int


class TimeoutNow(NamedTuple):
    """The leader of `term` transfers leadership: ask for votes at once."""

    term: int


# ------------------------------------------------------------------ replication


class Append(NamedTuple):
    """AppendEntries: these entries follow the one at `prev_index`, which is of `prev_term`; those
    up to `commit` are committed. With a `stamp` it is a heartbeat, and names the leader's round."""

    term: int
    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    stamp: int


class Appended(NamedTuple):
    """If `ok`, the sender's log matches up to `upto`, durably. If not, it lacks the entry at
    `prev_index`, and the logs may agree at most up to `upto`."""

    term: int
    ok: bool
    upto: int
    stamp: int


class InstallSnapshot(NamedTuple):
    """The whole state after `slot`: the leader's log no longer has the missing entries."""

    term: int
    slot: int
    slot_term: int
    state: Json


# ------------------------------------------------------------------ on disk


class TermVote(NamedTuple):
    """This node's term, and the candidate that it voted for in this term, if any."""

    term: int
    voted_for: NodeId | None


class Log(NamedTuple):
    """Entries added to the log, replacing what was at their indices and after them. Those up to
    `commit` were known to be committed at that time."""

    commit: int
    entries: tuple[Entry, ...]


class Snapshot(NamedTuple):
    """The state after `slot`, an entry of `term`; records of earlier entries are gone."""

    slot: int
    term: int
    state: Json


MESSAGES: tuple[type, ...] = (
    PreVote,
    PreVoteGranted,
    RequestVote,
    VoteGranted,
    Behind,
    TimeoutNow,
    Append,
    Appended,
    InstallSnapshot,
)
RECORDS: tuple[type, ...] = (TermVote, Log, Snapshot)
