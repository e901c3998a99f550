"""What every protocol's replica has in common: how events reach it, and the clients that wait.

A protocol derives from `Replica`, names its handlers in two tables, and appends effects to
`self._out` while it handles an event:

    on = {Prepare: "_on_prepare", ...}          message class -> method(sender, message, now_us)
    timers = {"election": "_on_election", ...}  timer name    -> method(now_us)

The tables are resolved once for each class, to plain functions, so a subclass that overrides a
method is honoured, an event costs one dictionary look-up, and no object refers to itself.

A command that this replica has taken waits in `_waiting` until it is applied, or until the replica
gives up its part in it. A command that was never proposed is refused definitely; one that was
proposed may still be decided by somebody else, and only "interrupted" is true of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from node_image.protocols.interface import (
    Answer,
    ClusterConfig,
    Command,
    Decided,
    Effect,
    Json,
    NodeId,
    Note,
    Randomness,
    Reply,
    Send,
    SetTimer,
    StateMachine,
    make,
)
from node_image.protocols.quorums import Majority, QuorumSystem

FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"
LEARNER: Final = "learner"

PROPOSED: Final = -1
"""In place of the time since when a client waits: its command may be decided by now."""


class Replica:
    """One node's part: dispatch, execution, and waiting clients. See the top of this file."""

    __slots__ = (
        "_is_learner",
        "_others",
        "_out",
        "_random",
        "_waiting",
        "_wall_us",
        "config",
        "counters",
        "machine",
        "node",
        "quorums",
        "role",
    )

    name: ClassVar[str] = ""
    messages: ClassVar[tuple[type, ...]] = ()
    records: ClassVar[tuple[type, ...]] = ()
    vote_records: ClassVar[tuple[type, ...]] = ()
    """The records that hold an acceptor's promises and votes: what the B6 mutant forgets."""
    read_modes: ClassVar[tuple[str, ...]] = ("log",)
    """How reads can be answered: what `ClusterConfig.reads` may be."""

    needs_everybody: ClassVar[bool] = False
    """Whether one node that stays broken keeps all others from deciding anything."""

    takes_learners: ClassVar[bool] = True
    """Whether it can have nodes that follow and do not vote."""

    on: ClassVar[Mapping[type, str]] = MappingProxyType({})
    timers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    _handlers: ClassVar[dict[type, tuple[Callable[..., None], str]]] = {}
    _wakers: ClassVar[dict[str, Callable[..., None]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._handlers = {
            kind: (getattr(cls, method), f"received.{kind.__name__}")
            for kind, method in cls.on.items()
        }
        cls._wakers = {name: getattr(cls, method) for name, method in cls.timers.items()}

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        if node not in config.nodes:
            raise ValueError(f"node {node} is not among the nodes {config.nodes}")
        self.node = node
        self.config = config
        self.machine = machine
        self.counters: dict[str, int] = {label: 0 for _, label in self._handlers.values()}
        self._random = random
        self._wall_us = wall_us
        self._others = tuple(n for n in config.nodes if n != node)
        self.quorums = self._quorum_system()
        self._is_learner = node in config.learners
        self.role = LEARNER if self._is_learner else FOLLOWER
        self._waiting: dict[tuple[int, int], int] = {}  # since when, or PROPOSED
        self._out: list[Effect] = []

    def _quorum_system(self) -> QuorumSystem:
        """Which sets of acceptors may act for all; majorities, unless a protocol says else."""
        return Majority(self.config.voters)

    # ------------------------------------------------------------------ events

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        raise NotImplementedError

    def request(self, command: Command, now_us: int) -> list[Effect]:
        raise NotImplementedError

    def receive(self, sender: NodeId, message: tuple[Any, ...], now_us: int) -> list[Effect]:
        out = self._out = []
        handler, label = self._handlers[type(message)]
        self.counters[label] += 1
        handler(self, sender, message, now_us)
        return out

    def wake(self, timer: str, now_us: int) -> list[Effect]:
        out = self._out = []
        self._wakers[timer](self, now_us)
        return out

    # ------------------------------------------------------------------ effects

    def _note(self, what: str, **about: Json) -> None:
        self._out.append(Note(what, about))

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def _send(self, to: NodeId, message: tuple[Any, ...], after_sync: bool = True) -> None:
        self._out.append(make(Send, (to, message, after_sync)))

    def _set_timer(self, name: str, low_us: int, high_us: int | None = None) -> None:
        """Set a timer, to a random delay between the two if there are two."""
        delay = low_us if high_us is None else self._random.randrange(low_us, high_us + 1)
        self._out.append(SetTimer(name, delay))

    # ------------------------------------------------------------------ execution

    def _execute(
        self, slot: int | str, ballot: tuple[int, ...], commands: tuple[Command, ...]
    ) -> None:
        """Apply one decided value, and answer those of its clients that wait here.

        The answer needs no barrier: what is decided is on the disks of a quorum already.
        """
        out, waiting, apply = self._out, self._waiting, self.machine.apply
        out.append(make(Decided, (slot, ballot, commands)))
        for command in commands:
            answer = apply(command)
            if waiting:
                name = command[:2]  # client and seq
                if waiting.pop(name, None) is not None:
                    out.append(make(Reply, (*name, answer, False)))

    def _answer(self, command: Command, answer: Answer) -> None:
        """Answer a client at once: nothing that the answer says depends on this node's disk."""
        self._out.append(Reply(command.client, command.seq, answer, False))

    # ------------------------------------------------------------------ waiting clients

    def _takes(self, command: Command, now_us: int) -> bool:
        """Note that a client waits for this command. False when it need not be proposed: it is
        under way already (then its one answer goes to the client), or the queue is full."""
        key = (command.client, command.seq)
        if key in self._waiting:
            return False
        if len(self._waiting) >= self.config.pending_max:
            self._answer(command, Answer("overloaded", None, self.node))
            return False
        self._waiting[key] = now_us
        return True

    def _wanted(self, commands: tuple[Command, ...], now_us: int) -> tuple[Command, ...]:
        """Of commands that leave the queue, those that are to be proposed. The others have waited
        here for longer than a follower waits for a leader, and are refused: their clients have
        given up, or soon will. Served in their turn, they would have everybody behind them served
        too late as well, and an overload would keep itself alive."""
        waiting, since_us = self._waiting, now_us - self.config.election_max_us
        stale = [c for c in commands if 0 <= waiting.get(c[:2], PROPOSED) < since_us]
        if not stale:
            return commands
        for command in stale:
            if waiting.pop(command[:2], None) is not None:
                self._count("given_up")
                self._answer(command, Answer("overloaded", None, self.node))
        return tuple([c for c in commands if c not in stale])

    def _mark_proposed(self, commands: Iterable[Command]) -> None:
        """From now on these may be decided whatever this node does."""
        waiting = self._waiting
        for client, seq, *_ in commands:
            if (client, seq) in waiting:
                waiting[client, seq] = PROPOSED

    def _release_waiting(self, leader: NodeId | None) -> None:
        """This node gives up: tell every client that waits what can be said truthfully."""
        for (client, seq), since_us in self._waiting.items():
            proposed = since_us == PROPOSED
            answer = Answer("interrupted", None, leader) if proposed else refusal(leader)
            self._out.append(Reply(client, seq, answer, False))
        self._waiting.clear()


def refusal(leader: NodeId | None) -> Answer:
    """The definite refusal of a node that does not lead, with a hint where it has one."""
    return Answer("unavailable" if leader is None else "not-leader", None, leader)
