"""The messages of Basic Paxos about one instance, and the records on disk.

Every message of the two phases names its instance (the slot) and its ballot in that slot; ballots
of different slots are independent. `ballot` is the sender's, or that of the request that is
answered. The messages for decided slots (`CatchUp`, `Entries`, `SnapshotOffer`) are those of
`multi_paxos_messages`.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command
from node_image.protocols.multi_paxos_messages import (
    CatchUp,
    Chosen,
    Entries,
    Snapshot,
    SnapshotOffer,
)
from node_image.protocols.slot_log import Vote

__all__ = [
    "MESSAGES",
    "RECORDS",
    "Accept",
    "Accepted",
    "CatchUp",
    "Entries",
    "Known",
    "Learn",
    "Nack",
    "Prepare",
    "Promise",
    "Promised",
    "SnapshotOffer",
]


class Prepare(NamedTuple):
    """Phase 1a: promise to refuse lower ballots for this slot, and report your vote in it."""

    ballot: Ballot
    slot: int


class Promise(NamedTuple):
    """Phase 1b: promised. `votes` holds this acceptor's last vote in the slot, if it has one."""

    ballot: Ballot
    slot: int
    votes: tuple[Vote, ...]


class Nack(NamedTuple):
    """`ballot` is refused for this slot: `promised` is higher."""

    ballot: Ballot
    slot: int
    promised: Ballot


class Accept(NamedTuple):
    """Phase 2a: vote for these commands."""

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]


class Accepted(NamedTuple):
    """Phase 2b: voted, durably."""

    ballot: Ballot
    slot: int


class Learn(NamedTuple):
    """The value of `ballot` is decided for the slot. The nodes that voted for it know it."""

    ballot: Ballot
    slot: int


class Known(NamedTuple):
    """The sender has applied everything up to this slot, and can send it."""

    applied: int


class Promised(NamedTuple):
    """On disk: this acceptor refuses ballots below `ballot` in this slot. A `Vote` implies the same
    of its own."""

    slot: int
    ballot: Ballot


MESSAGES: tuple[type, ...] = (
    Prepare,
    Promise,
    Nack,
    Accept,
    Accepted,
    Learn,
    Known,
    CatchUp,
    Entries,
    SnapshotOffer,
)
RECORDS: tuple[type, ...] = (Promised, Vote, Chosen, Snapshot)
