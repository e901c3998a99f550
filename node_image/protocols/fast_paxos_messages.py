"""The messages of Fast Paxos beyond those of Multi-Paxos (`paxos_messages`).

`ballot` is always a coordinator's ballot, which holds two rounds for each slot (`fast_paxos`): a
`Propose` and a `FastAccepted` belong to its fast round, an `Accept` and an `Accepted` to its
classic one. Decided slots are announced with their values, as `Entries`.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols import paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command


class Any(NamedTuple):
    """Phase 2a of the fast round, for all slots from `first` on: vote for what is proposed first,
    whichever node proposes it."""

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
    """Commands for the coordinator to propose: no fast round is open."""

    commands: tuple[Command, ...]


MESSAGES: tuple[type, ...] = (
    *(kind for kind in m.MESSAGES if kind is not m.Commit),
    Any,
    Propose,
    FastAccepted,
    Forward,
)
