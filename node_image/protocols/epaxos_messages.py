"""The messages of EPaxos, and the records on disk.

Every message is a NamedTuple of JSON-able fields. `id` names the instance that it is about. A tuple
of dependencies holds one number for each node of the cluster, in the order of the configuration:
"all instances of that node up to this one". An empty tuple of commands or dependencies means
"not known", except where `noop` is set: a no-op has neither.
"""

from __future__ import annotations

from typing import NamedTuple

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Command, Json


class InstanceId(NamedTuple):
    """The `number`-th instance of node `owner`, which alone proposes in it with ballot zero."""

    owner: int
    number: int


# ------------------------------------------------------------------ the owner's two phases


class PreAccept(NamedTuple):
    """From the owner, in ballot zero: these commands, after those that I know to interfere."""

    id: InstanceId
    commands: tuple[Command, ...]
    deps: tuple[int, ...]


class PreAccepted(NamedTuple):
    """Recorded, durably; `deps` are the owner's, and those that this acceptor knows besides."""

    id: InstanceId
    deps: tuple[int, ...]


class Accept(NamedTuple):
    """Phase 2a, from the owner (ballot zero) or from the node that recovers the instance. `init`
    are the dependencies that the owner began with, where they are known."""

    ballot: Ballot
    id: InstanceId
    noop: bool
    commands: tuple[Command, ...]
    init: tuple[int, ...]
    deps: tuple[int, ...]


class Accepted(NamedTuple):
    """Phase 2b: voted, durably, for what was proposed in `ballot`."""

    ballot: Ballot
    id: InstanceId


class Commit(NamedTuple):
    """Decided. On disk: decided, and known here."""

    id: InstanceId
    ballot: Ballot
    noop: bool
    commands: tuple[Command, ...]
    deps: tuple[int, ...]


# ------------------------------------------------------------------ recovery


class Prepare(NamedTuple):
    """Phase 1a: promise to refuse lower ballots for this instance, and report your record."""

    ballot: Ballot
    id: InstanceId


class Promise(NamedTuple):
    """Phase 1b. `voted` is the ballot of the vote that is reported, if `phase` is a vote at all.
    `leads` is said by the owner: I still lead this instance, and have not committed it."""

    ballot: Ballot
    id: InstanceId
    phase: int
    voted: Ballot
    noop: bool
    commands: tuple[Command, ...]
    init: tuple[int, ...]
    deps: tuple[int, ...]
    leads: bool


class Nack(NamedTuple):
    """Your ballot is refused: `promised` is higher."""

    id: InstanceId
    promised: Ballot


class Validate(NamedTuple):
    """These commands, which their owner began with dependencies `init`: remember them, and say
    what you know that interferes with them."""

    ballot: Ballot
    id: InstanceId
    commands: tuple[Command, ...]
    init: tuple[int, ...]


class Suspect(NamedTuple):
    """An instance that interferes, where neither is in what the other depends on. `decided`: it is
    committed like that; else it may yet be."""

    id: InstanceId
    decided: bool


class Validated(NamedTuple):
    """Remembered, durably. `deps` is `init` with what interferes here; `suspects` contradict
    the instance having been committed with `init` alone."""

    ballot: Ballot
    id: InstanceId
    deps: tuple[int, ...]
    suspects: tuple[Suspect, ...]


class Waiting(NamedTuple):
    """My recovery of `id` waits for others: `votes` acceptors, its owner included, recorded it
    with the dependencies `init` that it began with."""

    id: InstanceId
    init: tuple[int, ...]
    votes: int


class Forgotten(NamedTuple):
    """I have executed this instance, and hold no record of it any more: catch up with me."""

    id: InstanceId


# ------------------------------------------------------------------ catching up


class Beat(NamedTuple):
    """Once in a while: of every owner I have executed all instances up to `done`."""

    done: tuple[int, ...]


class Stable(NamedTuple):
    """On my disk is a state that has executed all instances up to `base`."""

    base: tuple[int, ...]


class CatchUp(NamedTuple):
    """Send what is committed beyond `done`."""

    done: tuple[int, ...]


class Entries(NamedTuple):
    """Some of what you lack; there is `more`."""

    more: bool
    entries: tuple[Commit, ...]


class Snapshot(NamedTuple):
    """The state after all instances up to `base`, and after those in `entries`; as an offer to a
    node that was away, and on disk. `writes` and `reads` are, for what was forgotten, pairs of a
    token and the last instances that touched it (see `epaxos_instances.Interference`); up to
    `dropped` these may be missing."""

    state: Json
    base: tuple[int, ...]
    writes: Json
    reads: Json
    dropped: tuple[int, ...]
    entries: tuple[Commit, ...]


# ------------------------------------------------------------------ on disk


class InstanceVote(NamedTuple):
    """All that this acceptor has promised and recorded for an instance that is still open."""

    id: InstanceId
    phase: int
    promised: Ballot
    voted: Ballot
    noop: bool
    commands: tuple[Command, ...]
    init: tuple[int, ...]
    deps: tuple[int, ...]


class Settled(NamedTuple):
    """Decided, with commands that an earlier record holds."""

    id: InstanceId
    ballot: Ballot
    deps: tuple[int, ...]


MESSAGES: tuple[type, ...] = (
    PreAccept,
    PreAccepted,
    Accept,
    Accepted,
    Commit,
    Prepare,
    Promise,
    Nack,
    Validate,
    Validated,
    Waiting,
    Forgotten,
    Beat,
    Stable,
    CatchUp,
    Entries,
    Snapshot,
)
RECORDS: tuple[type, ...] = (InstanceVote, Settled, Commit, Snapshot)
