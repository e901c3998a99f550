"""What all parts of a node share: its identity, its role, and the list of effects.

A protocol consists of named parts (its log, its election, its lease, ...). All parts share the
`Context` of their node, and append effects to `out` while an event is handled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Effect,
    Json,
    LeaderKnown,
    NodeId,
    Note,
    Persist,
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


class Context:
    """One node's identity, configuration, role and effects.

    `quorums` is the protocol's quorum system (majorities until the protocol sets another); `role`
    and `leader` are the node's role and the leader that it follows; `out` holds the effects of the
    event that is being handled, in order. Raises ValueError for a node that is not in the
    configuration.
    """

    __slots__ = (
        "config",
        "counters",
        "is_learner",
        "leader",
        "machine",
        "node",
        "others",
        "out",
        "quorums",
        "random",
        "role",
        "wall_us",
    )

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
        self.random = random
        self.wall_us = wall_us
        self.others = tuple(n for n in config.nodes if n != node)
        self.quorums: QuorumSystem = Majority(config.voters)
        self.is_learner = node in config.learners
        self.role = LEARNER if self.is_learner else FOLLOWER
        self.leader: NodeId | None = None
        self.counters: dict[str, int] = {}
        self.out: list[Effect] = []

    def begin_event(self) -> list[Effect]:
        """An event begins. Returns the list that will hold its effects."""
        out: list[Effect] = []
        self.out = out
        return out

    def send(self, to: NodeId, message: tuple[Any, ...], after_sync: bool = True) -> None:
        self.out.append(make(Send, (to, message, after_sync)))

    def broadcast(self, message: tuple[Any, ...], after_sync: bool = True) -> None:
        self.out.append(make(Broadcast, (message, after_sync)))

    def persist(self, record: tuple[Any, ...]) -> None:
        self.out.append(make(Persist, (record,)))

    def answer(self, command: Command, answer: Answer) -> None:
        """Answer a client at once: nothing in the answer depends on this node's disk."""
        self.out.append(Reply(command.client, command.seq, answer, False))

    def set_timer(self, name: str, low_us: int, high_us: int | None = None) -> None:
        """Set a timer; with two delays, to a random one between them."""
        delay = low_us if high_us is None else self.random.randrange(low_us, high_us + 1)
        self.out.append(SetTimer(name, delay))

    def follow(self, leader: NodeId, ballot: tuple[int, ...]) -> None:
        """`leader` (perhaps this node) leads in this ballot: notify clients."""
        self.leader = leader
        self.out.append(LeaderKnown(leader, tuple(ballot)))

    def note(self, what: str, **about: Json) -> None:
        self.out.append(Note(what, about))

    def count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1
