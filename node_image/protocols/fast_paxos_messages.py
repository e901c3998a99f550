"""The messages of Fast Paxos beyond those of Multi-Paxos (`multi_paxos_messages`).

`ballot` is always a coordinator's ballot, which has two rounds for each slot (`fast_paxos`):
`Propose` and `FastAccepted` belong to the fast round, `Accept` and `Accepted` to the classic one.
Decided slots are announced with their values, as `Entries`.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command


class Any(NamedTuple):
    """Phase 2a of the fast round, for all slots from `first` on: vote for the first value that any
    node proposes."""

    ballot: Ballot
    first: int


class Propose(NamedTuple):
    """A value for a slot that was opened by `Any`, from the node whose clients requested it."""

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]


class FastAccepted(NamedTuple):
    """Phase 2b of the fast round: voted, durably, for these commands."""

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]


class Forward(NamedTuple):
    """Commands that the coordinator should propose, since no fast round is open."""

    commands: tuple[Command, ...]


MESSAGES: tuple[type, ...] = (
    *(kind for kind in m.MESSAGES if kind is not m.Commit),
    Any,
    Propose,
    FastAccepted,
    Forward,
)
