"""The interface between a protocol and its driver.

A protocol is a pure state machine. It has six entry points, one for each kind of event. Each of
them returns the effects, which the driver executes in order:

    start(disk, now_us)              the node starts; `disk` holds the records that survived
    receive(sender, message, now_us) a message arrived from another node, or from itself (see below)
    request(command, now_us)         a client's command arrived
    wake(timer, now_us)              a timer that the protocol had set has fired
    peer_lost(peer, now_us)          a peer has closed the connection on which its messages arrive;
                                     the kernel does this when the process dies
    peer_connected(peer, now_us)     there is a new connection to a peer

    -> list of effects: Send, Broadcast, Persist, Checkpoint, Reply, SetTimer, CancelTimer,
       Decided, StateDigest, LeaderKnown, Note

There is no event for the completion of a disk write; **the durable-state rule** replaces it.
`Persist` and `Checkpoint` raise a barrier. Every later `Send`, `Broadcast` and `Reply` with
`after_sync=True` (the default), of this step *and of all later steps*, is sent only when everything
persisted before it is on disk. With `after_sync=False` it is sent at once: this is for messages
that promise nothing about this node's durable state (a leader's Accept, a heartbeat). A node counts
its own vote by sending it to itself: `Send(to=self, ...)` behind the barrier is delivered through
`receive` once the vote is durable, or never, if the node crashes first. The rule is implemented
once in each driver, so a protocol cannot forget to wait.

Times are integer microseconds of a clock that is monotonic on this node; clocks of different nodes
are unrelated. Randomness and the wall clock are passed to the constructor. In a crash the object is
lost. `start` of a new one gets the records that the disk still holds: a prefix of all persisted
records that includes at least everything whose barrier had passed.

Timers are named; setting a timer that is set replaces it. Timers do not survive a crash.

Connection events are hints, for liveness only. A closed connection does not prove that a node died:
a middlebox may have reset it, or one link was restarted. Not every failure closes a connection: a
power cut or a paused process does not, and nothing arrives over a cut link.
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
"""`make(Send, (to, message, True))` is the same as `Send(to, message, True)`, in a third of the
time. It is for the few places that every command passes through. All fields must be given."""


# ----------------------------------------------------------------------------- clients


class Command(NamedTuple):
    """One operation of a client on the replicated state machine.

    `client` and `seq` identify it: a retry has the same pair, and is applied once.
    `client` 0 is the cluster itself (no-ops).
    """

    client: int
    seq: int
    f: str
    key: str
    value: Json


NOOP = Command(0, 0, "noop", "", None)

TRANSFER: Final = "transfer-leadership"
"""The `f` of a request to transfer leadership to the node whose number is its `value`. It is
answered when that node has been notified, and is not applied to the state machine."""


class Answer(NamedTuple):
    """A node's answer to one command.

    `error` is None for success, else one of ERRORS. `value` is what a read returned, or, for
    `mismatch`, the value that the compare-and-set saw. `leader` is the leader that the node knows,
    if any.
    """

    error: str | None = None
    value: Json = None
    leader: NodeId | None = None


DEFINITE_ERRORS: dict[str, bool] = {
    "mismatch": True,  # applied; the compare-and-set did not match
    "not-leader": True,  # this node did nothing with this attempt; ask `leader`
    "unavailable": True,  # this node did nothing with this attempt, and knows no leader
    "overloaded": True,  # this node refused this attempt: its queue is full or too slow
    "unsupported": True,  # the state machine does not know this operation
    "interrupted": False,  # taken, then leadership was lost: it may or may not be applied
}
"""Every error that a node may answer with, and whether it is definite: True means that *this
attempt* had no effect (or, for a mismatch, that its effect is known)."""


# ----------------------------------------------------------------------------- effects


class Send(NamedTuple):
    """Send one message. To itself: it is delivered through `receive`, unless the node crashes."""

    to: NodeId
    message: tuple[Any, ...]
    after_sync: bool = True


class Broadcast(NamedTuple):
    """Send one message to every other node of the cluster, including learners."""

    message: tuple[Any, ...]
    after_sync: bool = True


class Persist(NamedTuple):
    """Append a record to the node's log on disk, and raise the barrier."""

    record: tuple[Any, ...]


class Checkpoint(NamedTuple):
    """Replace the content of the disk by these records, atomically, and raise the barrier."""

    records: tuple[tuple[Any, ...], ...]


class Reply(NamedTuple):
    """Answer the command (client, seq), if its client still waits at this node."""

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
    """This node has learned that `slot` is decided, and applies it now. The agreement detector
    compares these. `commands` is the decided value. Emitted in the order of application, once per
    slot and life of the node; after a restart, slots after the snapshot may be emitted again.
    `slot` is an int for logs; EPaxos uses "owner.instance" strings.
    """

    slot: int | str
    ballot: tuple[int, ...]
    commands: tuple[Command, ...]


class StateDigest(NamedTuple):
    """A digest of the whole state machine with everything up to `slot` applied, and nothing else:
    two replicas that report different digests of one slot have diverged. Where the applied commands
    are not a prefix of a log, `slot` identifies their set."""

    slot: int | str
    digest: str


class LeaderKnown(NamedTuple):
    """This node has learned who leads, in which ballot (or term). Clients that subscribed to this
    are notified; others find out by timeouts and refusals."""

    leader: NodeId
    ballot: tuple[int, ...]


class Note(NamedTuple):
    """A line for the node's log: an election, a ballot, a step-down, a snapshot.
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


# ----------------------------------------------------------------------------- environment


class Randomness(Protocol):
    """The part of `random.Random` that protocols use."""

    def randrange(self, start: int, stop: int, /) -> int: ...


class StateMachine(Protocol):
    """A deterministic machine: the same commands in the same order give the same results."""

    def apply(self, command: Command) -> Answer: ...

    def snapshot(self) -> Json: ...

    def restore(self, snapshot: Json) -> None: ...

    def size(self) -> int:
        """How many elements the state holds; the cost of a digest grows with it. Depends on the
        state only."""
        ...

    def digest(self, *, in_order: bool = True) -> str:
        """A digest of everything that `snapshot` holds, the same in every process. `in_order`: the
        order of activity is part of it. Without, equal sets of commands have equal digests; if the
        order has affected the state, the result is "" (no digest)."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The settings of every node of a cluster. Times are microseconds.

    `election_floor_us`: election timeouts may shrink to this if heartbeats are regular
    (`election_timing`); 0: they never shrink below `election_min_us`.

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
    """A node's report of its state: for users, for the live display, and for targeting faults."""

    role: str
    leader: NodeId | None
    ballot: tuple[int, ...]
    decided: int
    applied: int


class ConsensusProtocol(Protocol):
    """One node's protocol, made from a `context.Context`. The top of this file describes its use.

    `messages` and `records` list every NamedTuple class that it sends or persists; the server's
    codec is made from their annotations. `counters` only grow: messages by type, ballots, paths.
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
        """The decided slots that are still held, from `start` on; older ones are in the
        snapshot."""
        ...
