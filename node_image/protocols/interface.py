"""The interface between a protocol and what runs it.

A protocol is a pure state machine. It has six entry points, one for each thing that can happen to
a node, and every one of them returns the effects for the driver to carry out, in order:

    start(disk, now_us)             the node starts; `disk` holds the records that survived
    receive(sender, message, now_us) a message of another node (or of itself, see below) came in
    request(command, now_us)        a client asks this node
    wake(timer, now_us)             a timer that the protocol had set has fired
    peer_lost(peer, now_us)         the other end has closed the connection over which a peer's
                                    messages come, as the kernel does when the process dies
    peer_connected(peer, now_us)    a new connection to a peer is there

    -> list of effects: Send, Broadcast, Persist, Checkpoint, Reply, SetTimer, CancelTimer,
       Decided, StateDigest, LeaderKnown, Note

There is no entry point for "the disk has finished": **the durable-state rule** takes its
place. `Persist` and `Checkpoint` raise a barrier. Every later `Send`, `Broadcast` and `Reply` with
`after_sync=True` (the default), of this step *and of all later steps*, leaves the node only when
everything persisted before it is on the disk. `after_sync=False` leaves at once: for messages that
promise nothing about this node's own durable state (a leader's Accept, a heartbeat). A node counts
its own vote by sending it to itself: `Send(to=self, ...)` behind the barrier comes back through
`receive` once the vote is durable, or never, when the node crashes first. One rule, written once in
each driver, and no protocol can forget to wait.

Time is integer microseconds of a clock that is monotonic on this node but has no meaning between
nodes. Randomness and the wall clock come in through the constructor. A crash forgets the object;
`start` on a fresh one gets what the disk still holds: of all records persisted, a prefix that
includes at least everything whose barrier had passed.

Timers are named; setting one that is set moves it. Timers do not survive a crash.

What is said of connections is a hint, for liveness alone. A closed connection is no proof of a
death: a middlebox resets it, or one link is restarted. Nor is every death told: a machine without
power closes nothing, a paused process neither, and over a cut link nothing is heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias

Json: TypeAlias = Any
"""What JSON can hold: None, bool, int, float, str, list or dict of them."""

NodeId: TypeAlias = int
"""Nodes are numbered from 1."""


make: Final = tuple.__new__
"""`make(Send, (to, message, True))` is `Send(to, message, True)` at a third of its price: for the
few places through which every command goes, and for no other. All fields must be given."""


# ----------------------------------------------------------------------------- what clients ask


class Command(NamedTuple):
    """One operation of a client on the replicated state machine.

    `client` and `seq` name it: a retry carries the same pair and is applied once.
    `client` 0 is the cluster itself (no-ops).
    """

    client: int
    seq: int
    f: str
    key: str
    value: Json


NOOP = Command(0, 0, "noop", "", None)

TRANSFER: Final = "transfer-leadership"
"""The `f` of a request that a leader hands over to the node whose number is its `value`; it is
answered when that node has been notified, and reaches no state machine."""


class Answer(NamedTuple):
    """What a node tells a client about one command.

    `error` is None for success, else one of ERRORS. `value` is what a read returned, or, for
    `mismatch`, the value that the compare-and-set saw. `leader` is the node's belief, if any.
    """

    error: str | None = None
    value: Json = None
    leader: NodeId | None = None


DEFINITE_ERRORS: dict[str, bool] = {
    "mismatch": True,  # applied, and the compare-and-set did not match: the final answer
    "not-leader": True,  # this node did nothing with this attempt; ask `leader`
    "unavailable": True,  # this node did nothing with this attempt, and knows no leader
    "overloaded": True,  # this node refused this attempt: its queue is full, or too slow
    "unsupported": True,  # the state machine does not know this operation
    "interrupted": False,  # taken, then leadership was lost: it may or may not be applied
}
"""Every error a node may answer with, and whether it is definite: True says that *this attempt*
has had no effect (or, for a mismatch, that its effect is known)."""


# ----------------------------------------------------------------------------- effects


class Send(NamedTuple):
    """Send one message; to oneself it comes back through `receive` (never lost, if no crash)."""

    to: NodeId
    message: tuple[Any, ...]
    after_sync: bool = True


class Broadcast(NamedTuple):
    """Send one message to every other node of the cluster, learners included, not to oneself."""

    message: tuple[Any, ...]
    after_sync: bool = True


class Persist(NamedTuple):
    """Append a record to the node's log on disk, and raise the barrier."""

    record: tuple[Any, ...]


class Checkpoint(NamedTuple):
    """Replace all that the disk holds by these records, atomically, and raise the barrier."""

    records: tuple[tuple[Any, ...], ...]


class Reply(NamedTuple):
    """Answer the client's command (client, seq), if it still waits at this node."""

    client: int
    seq: int
    answer: Answer
    after_sync: bool = True


class SetTimer(NamedTuple):
    """Fire `wake(name)` after `delay_us`; replaces a timer of the same name."""

    name: str
    delay_us: int


class CancelTimer(NamedTuple):
    name: str


class Decided(NamedTuple):
    """This node has learned that `slot` is decided, and applies it now: the agreement detector's
    raw material. `commands` is the decided value. Emitted in the order of application, once per
    slot and life of the node; after a restart slots may be emitted again from a snapshot on.
    `slot` is an int for logs; EPaxos uses "owner.instance" strings.
    """

    slot: int | str
    ballot: tuple[int, ...]
    commands: tuple[Command, ...]


class StateDigest(NamedTuple):
    """A digest of the whole state machine with everything up to `slot` applied, and nothing else:
    two replicas that report different digests of one slot have diverged. Where what is applied is
    no prefix of a log, `slot` names the set of what is."""

    slot: int | str
    digest: str


class LeaderKnown(NamedTuple):
    """This node has found out who leads, in which ballot (or term): for the clients that have asked
    to be told, and would else find out by time-outs and refusals."""

    leader: NodeId
    ballot: tuple[int, ...]


class Note(NamedTuple):
    """Something worth a line in the node's log: an election, a ballot, a step-down, a snapshot.
    `about` holds only JSON values."""

    what: str
    about: dict[str, Json]


Effect: TypeAlias = (
    Send
    | Broadcast
    | Persist
    | Checkpoint
    | Reply
    | SetTimer
    | CancelTimer
    | Decided
    | StateDigest
    | LeaderKnown
    | Note
)


# ----------------------------------------------------------------------------- what protocols get


class Randomness(Protocol):
    """The part of `random.Random` that protocols use."""

    def randrange(self, start: int, stop: int, /) -> int: ...


class StateMachine(Protocol):
    """A deterministic machine: the same commands in the same order give the same results."""

    def apply(self, command: Command) -> Answer: ...

    def snapshot(self) -> Json: ...

    def restore(self, snapshot: Json) -> None: ...

    def size(self) -> int:
        """How many elements the state holds: what a digest costs grows with it. A function of the
        state alone."""
        ...

    def digest(self, *, in_order: bool = True) -> str:
        """A digest of all that `snapshot` holds, the same in every process. `in_order`: the order
        of what was active when is part of it; without, equal sets of commands have equal digests,
        and where that order has left a trace in the state there is none: ""."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The settings that every node of a cluster gets when it starts. Times are microseconds.

    `election_floor_us`: election timeouts may shrink to this where heartbeats come regularly
    (`election_timing`); 0: they never do, and are at least `election_min_us`.

    Raises ValueError for a configuration that cannot work, with the reason.
    """

    nodes: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    heartbeat_us: int = 100_000
    election_min_us: int = 400_000
    election_max_us: int = 800_000
    election_floor_us: int = 0
    retry_us: int = 200_000
    batch_max: int = 64
    pipeline_max: int = 64
    pending_max: int = 10_000
    snapshot_every: int = 2_000
    sessions_max: int = 10_000
    reads: str = "log"
    lease_us: int = 300_000
    clock_drift_max_us: int = 20_000
    options: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.nodes)) != len(self.nodes) or not self.nodes:
            raise ValueError(f"nodes must be distinct and at least one, not {self.nodes}")
        if not set(self.learners) <= set(self.nodes):
            raise ValueError(f"learners {self.learners} are not among the nodes {self.nodes}")
        if not self.voters:
            raise ValueError("a cluster needs at least one node that votes")
        if not 0 < self.heartbeat_us < self.election_min_us <= self.election_max_us:
            raise ValueError(
                "need 0 < heartbeat_us < election_min_us <= election_max_us, not "
                f"{self.heartbeat_us}, {self.election_min_us}, {self.election_max_us}"
            )

        if self.election_floor_us and not (
            2 * self.heartbeat_us <= self.election_floor_us <= self.election_min_us
        ):
            raise ValueError(
                "election_floor_us must be 0, or from twice heartbeat_us to election_min_us, not "
                f"{self.election_floor_us}"
            )

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """The acceptors: every node that is not a learner."""
        return tuple(n for n in self.nodes if n not in self.learners)


class Status(NamedTuple):
    """A node's report of itself: for people, for the live display, for aiming faults."""

    role: str
    leader: NodeId | None
    ballot: tuple[int, ...]
    decided: int
    applied: int


class ConsensusProtocol(Protocol):
    """One node's protocol, made from a `context.Context`: `start` it, feed it; see the top of this
    file.

    `messages` and `records` list every NamedTuple class that it sends or persists: the codec of the
    server is made from their annotations. `counters` grow only: messages by type, ballots, paths.
    """

    name: ClassVar[str]
    messages: ClassVar[tuple[type, ...]]
    records: ClassVar[tuple[type, ...]]
    counters: dict[str, int]

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]: ...

    def receive(self, sender: NodeId, message: tuple[Any, ...], now_us: int) -> list[Effect]: ...

    def request(self, command: Command, now_us: int) -> list[Effect]: ...

    def wake(self, timer: str, now_us: int) -> list[Effect]: ...

    def peer_lost(self, peer: NodeId, now_us: int) -> list[Effect]: ...

    def peer_connected(self, peer: NodeId, now_us: int) -> list[Effect]: ...

    def status(self) -> Status: ...

    def decided_log(self, start: int = 0) -> Iterable[Decided]:
        """The decided slots still held, from `start` on (older ones are in the snapshot)."""
        ...
