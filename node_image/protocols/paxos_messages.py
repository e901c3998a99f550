"""The messages of Multi-Paxos, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations. `ballot` is the sender's, or the one that is answered; slots count from 1.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command, Json
from node_image.protocols.slot_log import Vote

# ------------------------------------------------------------------ Phase 1, and before it


class Probe(NamedTuple):
    """Would you promise this ballot? Asked before any promise is raised."""

    ballot: Ballot


class ProbeGranted(NamedTuple):
    """I would: I have not heard from a leader for a while."""

    ballot: Ballot


class Prepare(NamedTuple):
    """Phase 1a: promise to refuse lower ballots, and report the slots from `first` on."""

    ballot: Ballot
    first: int


class Promise(NamedTuple):
    """Phase 1b: promised. Slots up to `upto` are decided; `entries` are the votes of the slots
    asked for, and those up to `upto` among them are the decided values. When decided slots that
    were asked for are missing from `entries`, there are too many to report: catch up first."""

    ballot: Ballot
    upto: int
    entries: tuple[Vote, ...]


class Nack(NamedTuple):
    """`ballot` is refused: `promised` is higher."""

    ballot: Ballot
    promised: Ballot


class TimeoutNow(NamedTuple):
    """The leader of `ballot` hands over: begin Phase 1 at once."""

    ballot: Ballot


# ------------------------------------------------------------------ Phase 2


class Accept(NamedTuple):
    """Phase 2a for one slot; slots up to `commit` are decided."""

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]
    commit: int


class Accepted(NamedTuple):
    """Phase 2b: voted, durably, in `ballot` for every slot from `first` to `upto`."""

    ballot: Ballot
    first: int
    upto: int


class Commit(NamedTuple):
    """Slots up to `commit` are decided; sent when there is no Accept to carry it."""

    ballot: Ballot
    commit: int


# ------------------------------------------------------------------ the leader's rounds


class Heartbeat(NamedTuple):
    """The leader's round number `stamp`: it is alive, `commit` is decided, `last` is proposed."""

    ballot: Ballot
    commit: int
    last: int
    stamp: int


class HeartbeatAck(NamedTuple):
    """`ballot` is still the highest here; votes without a hole up to `upto`."""

    ballot: Ballot
    stamp: int
    upto: int


# ------------------------------------------------------------------ catching up


class CatchUp(NamedTuple):
    """Send what is decided from slot `first` on."""

    first: int


class Entries(NamedTuple):
    """Decided slots, in order without a hole; the sender knows more, up to `upto`."""

    upto: int
    entries: tuple[Vote, ...]


class SnapshotOffer(NamedTuple):
    """The whole state after `slot`: the slots asked for are no longer held one by one."""

    slot: int
    state: Json


# ------------------------------------------------------------------ on disk


class Promised(NamedTuple):
    """This acceptor refuses ballots below `ballot`. A `Vote` implies the same."""

    ballot: Ballot


class Chosen(NamedTuple):
    """Decided slots that were learned from another node, after those up to `commit`."""

    commit: int
    entries: tuple[Vote, ...]


class Snapshot(NamedTuple):
    """The state after `slot`; records of earlier slots are gone."""

    slot: int
    state: Json


MESSAGES: tuple[type, ...] = (
    Probe,
    ProbeGranted,
    Prepare,
    Promise,
    Nack,
    TimeoutNow,
    Accept,
    Accepted,
    Commit,
    Heartbeat,
    HeartbeatAck,
    CatchUp,
    Entries,
    SnapshotOffer,
)
RECORDS: tuple[type, ...] = (Promised, Vote, Chosen, Snapshot)
