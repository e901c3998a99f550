"""The messages of EPaxos, and the records on disk.

Every message is a NamedTuple of JSON-able fields. `id` is the instance that it is about. A tuple of
dependencies holds one number for each node of the cluster, in the order of the configuration:
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
    """From the owner, in ballot zero: the commands, and the dependencies that the owner knows."""

    id: InstanceId
    commands: tuple[Command, ...]
    deps: tuple[int, ...]


class PreAccepted(NamedTuple):
    """Recorded, durably; `deps` are the owner's, and those that this acceptor added."""

    id: InstanceId
    deps: tuple[int, ...]


class Accept(NamedTuple):
    """Phase 2a, from the owner (ballot zero) or from the node that recovers the instance. `init`
    are the owner's initial dependencies, if known."""

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
    """Decided. On disk: decided, and learned here."""

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
    """Phase 1b. `voted` is the ballot of the reported vote, if `phase` is a vote. `leads`, set by
    the owner only: it still leads this instance, and has not committed it."""

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
    """The ballot is refused: `promised` is higher."""

    id: InstanceId
    promised: Ballot


class Validate(NamedTuple):
    """Record these commands, with the owner's initial dependencies `init`, and report what
    interferes with them."""

    ballot: Ballot
    id: InstanceId
    commands: tuple[Command, ...]
    init: tuple[int, ...]


class Suspect(NamedTuple):
    """An interfering instance, such that neither depends on the other. `decided`: it is committed
    like that; otherwise it may still be."""

    id: InstanceId
    decided: bool


class Validated(NamedTuple):
    """Recorded, durably. `deps` is `init` with what interferes here; `suspects` are evidence
    against the instance having been committed with `init` alone."""

    ballot: Ballot
    id: InstanceId
    deps: tuple[int, ...]
    suspects: tuple[Suspect, ...]


class Waiting(NamedTuple):
    """The sender's recovery of `id` waits for others: `votes` acceptors, including its owner,
    recorded it with its initial dependencies `init`."""

    id: InstanceId
    init: tuple[int, ...]
    votes: int


class Forgotten(NamedTuple):
    """The sender has executed and forgotten this instance: catch up from it."""

    id: InstanceId


# ------------------------------------------------------------------ catching up


class Beat(NamedTuple):
    """Sent periodically: the sender has executed all instances up to `done`, for every owner."""

    done: tuple[int, ...]


class Stable(NamedTuple):
    """The sender's disk holds a state with all instances up to `base` executed."""

    base: tuple[int, ...]


class CatchUp(NamedTuple):
    """Send what is committed beyond `done`."""

    done: tuple[int, ...]


class Entries(NamedTuple):
    """Some of the missing instances; `more`: there are more."""

    more: bool
    entries: tuple[Commit, ...]


class Snapshot(NamedTuple):
    """The state after all instances up to `base`, and those in `entries`; sent to a node that fell
    behind, and kept on disk. `writes` and `reads` are, for forgotten instances, pairs of a token
    and the last instances that accessed it (see `epaxos_instances.Interference`); up to `dropped`
    they may be incomplete."""

    state: Json
    base: tuple[int, ...]
    writes: Json
    reads: Json
    dropped: tuple[int, ...]
    entries: tuple[Commit, ...]


# ------------------------------------------------------------------ on disk


class InstanceVote(NamedTuple):
    """This acceptor's promise and record for an open instance."""

    id: InstanceId
    phase: int
    promised: Ballot
    voted: Ballot
    noop: bool
    commands: tuple[Command, ...]
    init: tuple[int, ...]
    deps: tuple[int, ...]


class Settled(NamedTuple):
    """Decided, with the commands of an earlier record."""

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
