"""Planted bugs that any protocol can have: each changes the protocol that it is given.

They use what all protocols share: the four entry points, the table of records that hold votes, the
quorum system, and the state machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node_image.mutants.variation import Protocol, Variation, vary
from node_image.protocols.context import Context
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Effect,
    Json,
    NodeId,
    Reply,
    Send,
    StateMachine,
)
from node_image.protocols.quorums import QuorumSystem


def b5(protocol: Protocol) -> Protocol:
    """Replies before fsync: nothing waits for the barrier."""

    def entry(name: str) -> Any:
        original = getattr(protocol, name)
        return lambda self, *event: _hurried(original(self, *event))

    return vary(protocol, **{name: entry(name) for name in ("start", "receive", "request", "wake")})


def _hurried(effects: list[Effect]) -> list[Effect]:
    return [
        effect._replace(after_sync=False)
        if isinstance(effect, Send | Broadcast | Reply)
        else effect
        for effect in effects
    ]


def b6(protocol: Protocol) -> Protocol:
    """An acceptor forgets its promise and its votes at restart."""

    def start(self: Any, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        kept = [record for record in disk if not isinstance(record, self.vote_records)]
        effects: list[Effect] = protocol.start(self, kept, now_us)
        return effects

    return vary(protocol, start=start)


def b9(protocol: Protocol) -> Protocol:
    """Messages are counted, not distinct acceptors: a duplicate is a second vote."""

    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        return MessagesCounted(protocol.quorum_system(config))

    return vary(protocol, quorum_system=staticmethod(quorum_system))


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


def m8(protocol: Protocol) -> Protocol:
    """No client sessions: the state machine does not get the client, so a retry is applied
    again."""

    def init(self: Any, context: Context) -> None:
        context.machine = _Sessionless(context.machine)
        protocol.__init__(self, context)

    return vary(protocol, __init__=init)


class _Sessionless:
    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def apply(self, command: Command) -> Answer:
        return self._machine.apply(command._replace(client=0, seq=0))

    def snapshot(self) -> Json:
        return self._machine.snapshot()

    def restore(self, snapshot: Json) -> None:
        self._machine.restore(snapshot)

    def size(self) -> int:
        return self._machine.size()

    def digest(self, *, in_order: bool = True) -> str:
        return self._machine.digest(in_order=in_order)


ANY_PROTOCOL: dict[str, Variation] = {"B5": b5, "B6": b6, "B9": b9, "M8": m8}
