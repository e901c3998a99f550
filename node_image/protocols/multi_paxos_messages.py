"""The messages of Multi-Paxos, and the records on disk.

Every message is a NamedTuple of JSON-able fields; the codec of the server is made from their
annotations. `ballot` is the sender's, or that of the request that is answered; slots count from 1.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command, Json
from node_image.protocols.slot_log import Vote

# ------------------------------------------------------------------ Phase 1, and before it


class Probe(NamedTuple):
    """Would the receiver promise this ballot? Sent before any promise is raised."""

    ballot: Ballot


class ProbeGranted(NamedTuple):
    """It would: the sender has not heard from a leader for a while."""

    ballot: Ballot


class Prepare(NamedTuple):
    """Phase 1a: promise to refuse lower ballots, and report the slots from `first` on."""

    ballot: Ballot
    first: int


class Promise(NamedTuple):
    """Phase 1b: promised. Slots up to `upto` are decided; `entries` are the votes for the requested
    slots, of which those up to `upto` are the decided values. If requested decided slots are
    missing from `entries`, they are too many to report: catch up first."""

    ballot: Ballot
    upto: int
    entries: tuple[Vote, ...]


class Nack(NamedTuple):
    """`ballot` is refused: `promised` is higher."""

    ballot: Ballot
    promised: Ballot


class TimeoutNow(NamedTuple):
    """The leader of `ballot` transfers leadership: begin Phase 1 at once."""

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


# ------------------------------------------------------------------ heartbeats


class Heartbeat(NamedTuple):
    """Round `stamp` of the leader: slots up to `commit` are decided, up to `last` proposed."""

    ballot: Ballot
    commit: int
    last: int
    stamp: int


class HeartbeatAck(NamedTuple):
    """`ballot` is still the highest promised; there are votes without a hole up to `upto`."""

    ballot: Ballot
    stamp: int
    upto: int


# ------------------------------------------------------------------ catching up


class CatchUp(NamedTuple):
    """Request for the decided slots from `first` on."""

    first: int


class Entries(NamedTuple):
    """Decided slots, in order without a hole; the sender has decided slots up to `upto`."""

    upto: int
    entries: tuple[Vote, ...]


class SnapshotOffer(NamedTuple):
    """The whole state after `slot`: the requested slots are no longer in the sender's log."""

    slot: int
    state: Json


# ------------------------------------------------------------------ on disk


class Promised(NamedTuple):
    """This acceptor refuses ballots below `ballot`. A `Vote` implies the same."""

    ballot: Ballot


class Chosen(NamedTuple):
    """Decided slots that were learned from another node, following those up to `commit`."""

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
