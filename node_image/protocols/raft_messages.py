"""The messages of Raft, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations. `term` is the sender's, or the one that is answered; slots, which
Raft calls indices, count from 1.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.interface import Json, NodeId
from node_image.protocols.raft_log import Entry

# ------------------------------------------------------------------ elections


class PreVote(NamedTuple):
    """Would you vote for me in `term`, which no node need enter yet? My log ends so."""

    term: int
    last_index: int
    last_term: int


class PreVoteGranted(NamedTuple):
    """I would: I have not heard from a leader for a while, and your log is no older than mine."""

    term: int


class RequestVote(NamedTuple):
    """Vote for me in `term`. My log ends so."""

    term: int
    last_index: int
    last_term: int


class VoteGranted(NamedTuple):
    """My vote in `term` is yours, durably."""

    term: int


class Behind(NamedTuple):
    """What you said belongs to an old term: `term` is mine."""

    term: int


class TimeoutNow(NamedTuple):
    """The leader of `term` hands over: ask for votes at once."""

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
    """If `ok`, my log is yours up to `upto`, durably. If not, I lack the entry before yours, and
    our logs may agree up to `upto`, not further."""

    term: int
    ok: bool
    upto: int
    stamp: int


class InstallSnapshot(NamedTuple):
    """The whole state after `slot`: the entries you lack are no longer held one by one."""

    term: int
    slot: int
    slot_term: int
    state: Json


# ------------------------------------------------------------------ on disk


class TermVote(NamedTuple):
    """The term that this node is in, and the candidate it has voted for in it, if any."""

    term: int
    voted_for: NodeId | None


class Log(NamedTuple):
    """Entries added to the log, in place of what stood there and after them. Those up to `commit`
    were known to be committed when they were written."""

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
