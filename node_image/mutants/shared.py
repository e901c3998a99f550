"""Planted bugs that any protocol can have: each class is put in front of a protocol's own.

They rest on what all replicas share (`protocols.replica`): the four entry points, the tables of
records, and the quorum system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Effect,
    Json,
    NodeId,
    Randomness,
    Reply,
    Send,
    StateMachine,
)
from node_image.protocols.quorums import QuorumSystem
from node_image.protocols.replica import Replica


class B5(Replica):
    """Replies before fsync: nothing waits for the barrier."""

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        return _hurried(super().start(disk, now_us))

    def receive(self, sender: NodeId, message: tuple[Any, ...], now_us: int) -> list[Effect]:
        return _hurried(super().receive(sender, message, now_us))

    def request(self, command: Command, now_us: int) -> list[Effect]:
        return _hurried(super().request(command, now_us))

    def wake(self, timer: str, now_us: int) -> list[Effect]:
        return _hurried(super().wake(timer, now_us))


def _hurried(effects: list[Effect]) -> list[Effect]:
    return [
        effect._replace(after_sync=False)
        if isinstance(effect, Send | Broadcast | Reply)
        else effect
        for effect in effects
    ]


class B6(Replica):
    """An acceptor forgets its promise and its votes at restart."""

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        kept = [record for record in disk if not isinstance(record, self.vote_records)]
        return super().start(kept, now_us)


class B9(Replica):
    """Messages are counted, not distinct acceptors: a duplicate is a second vote."""

    def _quorum_system(self) -> QuorumSystem:
        return MessagesCounted(super()._quorum_system())


class MessagesCounted:
    def __init__(self, system: QuorumSystem) -> None:
        self._system = system
        self.q1, self.q2 = system.q1, system.q2

    def vote(self, votes: int, node: NodeId) -> int:
        return votes + 1 if self._system.vote(0, node) else votes

    def phase1(self, votes: int) -> bool:
        return votes >= self.q1

    def phase2(self, votes: int) -> bool:
        return votes >= self.q2

    def phase2_targets(self, preferred: Sequence[NodeId]) -> tuple[NodeId, ...]:
        return self._system.phase2_targets(preferred)


class M8(Replica):
    """No client sessions: the state machine is not told who asks, so a retry is applied again."""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, _Sessionless(machine), random, wall_us)


class _Sessionless:
    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def apply(self, command: Command) -> Answer:
        return self._machine.apply(command._replace(client=0, seq=0))

    def snapshot(self) -> Json:
        return self._machine.snapshot()

    def restore(self, snapshot: Json) -> None:
        self._machine.restore(snapshot)


SHARED: dict[str, type[Replica]] = {"B5": B5, "B6": B6, "B9": B9, "M8": M8}
