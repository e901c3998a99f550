"""An EPaxos node that a test drives event by event, and the messages of the others.

Node 1 of five is real; the tests construct the messages of the others. A fast quorum is three of
five, so e, the number of acceptors that it can spare, is two.
"""

from __future__ import annotations

from typing import Any

from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.epaxos_instances import PRE_ACCEPTED, UNSEEN
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import Checkpoint, Command, Persist, Send
from tests.node_image.single_node import Driven, put

NONE = (0, 0, 0, 0, 0)
A, B, C = InstanceId(2, 1), InstanceId(3, 1), InstanceId(4, 1)
OLDER, OLD = Ballot(1, 2), Ballot(2, 3)
IMPATIENT_US = 2_000_000
OPEN_SUSPECT = m.Suspect(C, False)


class Acceptor(Driven):
    """Also messages to itself that follow from such messages are delivered at once."""

    def _keep(self, effects: list[Any]) -> list[Any]:
        self.effects = list(effects)
        for effect in self.effects:  # it grows
            mine = isinstance(effect, Send) and effect.to == self.node
            if mine and not self.disk_stuck:
                self.effects += self.protocol.receive(self.node, effect.message, self.now)
        return self.effects


def five(protocol: type[Any], **config: Any) -> Driven:
    return Acceptor(protocol, nodes=5, **config)


def persisted(effects: list[Any]) -> list[Any]:
    disk: list[Any] = []
    for effect in effects:
        if isinstance(effect, Persist):
            disk.append(effect.record)
        elif isinstance(effect, Checkpoint):
            disk = list(effect.records)
    return disk


def slots(node: Driven) -> list[Any]:
    return [decided.slot for decided in node.decided()]


def promise(ballot: Ballot, identity: InstanceId, **more: Any) -> m.Promise:
    """The promise of an acceptor that knows nothing except the fields in `more`."""
    return m.Promise(ballot, identity, UNSEEN, ZERO, False, (), (), (), False)._replace(**more)


def begun(ballot: Ballot, identity: InstanceId, command: Command, **more: Any) -> m.Promise:
    """A promise of an acceptor that recorded the instance as it was begun, with no dependencies."""
    fields = {"phase": PRE_ACCEPTED, "commands": (command,), "init": NONE, "deps": NONE, **more}
    return promise(ballot, identity, **fields)


def recover(node: Driven, identity: InstanceId) -> Ballot:
    """Let the node's timeout for an instance expire, so that it recovers it."""
    node.wake("beat")
    node.wake("beat", IMPATIENT_US)
    return next(p.ballot for p in reversed(node.sent(m.Prepare)) if p.id == identity)


def validated(
    ballot: Ballot, identity: InstanceId, *suspects: m.Suspect, deps: tuple[int, ...] = NONE
) -> m.Validated:
    return m.Validated(ballot, identity, deps, suspects)


def committed(identity: InstanceId, command: Command, deps: tuple[int, ...]) -> m.Commit:
    return m.Commit(identity, ZERO, False, (command,), deps)


def unheard(protocol: type[Any]) -> tuple[Driven, Ballot]:
    """Node 1 knows that instance A exists, but not its commands, and recovers it."""
    node = five(protocol)
    node.receive(3, committed(B, put(9, client=9, key="z"), (0, 1, 0, 0, 0)))
    return node, recover(node, A)


def suspicious(protocol: type[Any], suspect: m.Suspect, fast: int = 2) -> tuple[Driven, Ballot]:
    """Acceptors 3, 4 and this one have promised A; `fast` of the first two recorded it as begun.
    Acceptor 3 reports a suspect."""
    node, ballot = unheard(protocol)
    for other in (3, 4):
        known = other - 3 < fast
        node.receive(other, begun(ballot, A, put(1)) if known else promise(ballot, A))
    node.receive(3, validated(ballot, A, suspect, deps=(0, 0, 0, 1, 1)))
    node.receive(4, validated(ballot, A))
    return node, ballot
