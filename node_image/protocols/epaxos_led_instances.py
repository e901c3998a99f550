"""The instances that an EPaxos node leads: as their owner, or to recover them.

A `LedInstance` is the node's state for such an instance. It is not durable: after a restart a node
leads nothing.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from node_image.protocols.ballots import Ballot
from node_image.protocols.epaxos_instances import Instance, Vector
from node_image.protocols.epaxos_messages import Commit, InstanceId, Promise, Suspect, Validated
from node_image.protocols.interface import Command, NodeId
from node_image.protocols.quorums import NO_VOTES

PRE_ACCEPTING: Final = "pre-accepting"
PREPARING: Final = "preparing"
VALIDATING: Final = "validating"
WAITING: Final = "waiting"
ACCEPTING: Final = "accepting"
COMMITTING: Final = "committing"
"""Decided on the fast path, but not yet announced: it is not on the owner's disk yet."""


class LedInstance:
    """An instance that this node leads, in one ballot.

    `votes` are those of the current stage, `agreed` those of them that added no dependency. `deps`
    grows to include all reported dependencies; `init`, `commands` and `noop` are what is proposed.
    `commit` is a fast decision that waits for the disk, in the stage COMMITTING. The other fields
    belong to a recovery (`epaxos_recovery`): `in_q` are the nodes that have validated, `fast` those
    of them that recorded the instance with its initial dependencies.
    """

    __slots__ = (
        "agreed",
        "ballot",
        "commands",
        "commit",
        "deps",
        "fast",
        "in_q",
        "init",
        "instance",
        "maybe_fast",
        "noop",
        "promises",
        "sent_us",
        "stage",
        "suspects",
        "validated",
        "votes",
    )

    def __init__(self, instance: Instance, ballot: Ballot, stage: str, now_us: int) -> None:
        self.instance = instance
        self.ballot = ballot
        self.stage = stage
        self.sent_us = now_us
        self.votes = self.agreed = NO_VOTES
        self.noop = False
        self.commands: tuple[Command, ...] = ()
        self.commit: Commit | None = None
        self.init: Vector = ()
        self.deps: Vector = ()
        self.promises: dict[NodeId, Promise] = {}
        self.validated: dict[NodeId, Validated] = {}
        self.in_q = NO_VOTES
        self.fast: set[NodeId] = set()
        self.maybe_fast = False
        self.suspects: dict[InstanceId, Suspect] = {}


LedInstances: TypeAlias = dict[InstanceId, LedInstance]
