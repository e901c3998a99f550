"""Planted bugs of EPaxos: each removes one safeguard, in one method, of `protocols.epaxos*`.

Compare each with the method that it replaces: that method's docstring says what it is for, and this
one's what happens without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from node_image.mutants import any_protocol
from node_image.mutants.variation import Protocol, Variation, part_of, vary, vary_part
from node_image.protocols.ballots import Ballot
from node_image.protocols.epaxos import EPaxos
from node_image.protocols.epaxos_execution import Edges
from node_image.protocols.epaxos_instances import COMMITTED, Footprint, Instance, Vector
from node_image.protocols.epaxos_led_instances import LedInstance
from node_image.protocols.interface import ClusterConfig, Command
from node_image.protocols.quorums import QuorumSystem


def b2(protocol: Protocol) -> Protocol:
    """Recovery takes the vote that was reported first, not the one of the highest ballot."""
    return vary_part(protocol, "recovery", highest=lambda self, votes: votes[0])


def b3(protocol: Protocol) -> Protocol:
    """Counts every reply, also to another ballot."""
    return vary_part(protocol, "voting", answers=lambda self, led, ballot: led is not None)


class B7(EPaxos):
    """Numbers its instances from 1 in every life: ballot zero of an instance is used twice."""

    _begun = 0

    def _next_number(self) -> int:
        number = self._begun + 1
        row = self.table.rows[self._place]
        while self._begun and number in row:
            number += 1
        return number

    def _begin(self, commands: tuple[Command, ...], now_us: int) -> None:
        number = self._next_number()
        self.table.rows[self._place].pop(number, None)
        super()._begin(commands, now_us)
        self._begun = number


def b8(protocol: Protocol) -> Protocol:
    """Ballots are rounds only: two nodes that recover an instance at once share a ballot."""
    original = part_of(protocol, "voting").new_ballot
    return vary_part(
        protocol, "voting", new_ballot=lambda self, i: original(self, i)._replace(node=0)
    )


class B9(EPaxos):
    """Messages are counted, not distinct acceptors: in fast quorums too."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        return any_protocol.MessagesCounted(EPaxos.quorum_system(config))

    @staticmethod
    def fast_quorum_system(config: ClusterConfig) -> QuorumSystem:
        return any_protocol.MessagesCounted(EPaxos.fast_quorum_system(config))


def b10(protocol: Protocol) -> Protocol:
    """Votes, and records, also below the ballot that was promised."""
    return vary_part(protocol, "voting", refuses=lambda self, instance, ballot: False)


def m2(protocol: Protocol) -> Protocol:
    """An executed and dropped instance is taken for one that was never begun."""
    return vary_part(protocol, "voting", is_gone=lambda self, identity: False)


def e1(protocol: Protocol) -> Protocol:
    """One variable for two ballots: a promise makes the old vote a vote in the new ballot."""
    original = part_of(protocol, "voting").promise

    def promise(self: Any, instance: Instance, ballot: Ballot) -> None:
        original(self, instance, ballot)
        instance.voted = instance.promised

    return vary_part(protocol, "voting", promise=promise)


class E2(EPaxos):
    """The fast path is taken when a fast quorum has answered, whatever the answers are."""

    def _agrees(self, deps: Vector, init: Vector) -> bool:
        return True


def e3(protocol: Protocol) -> Protocol:
    """Recovery keeps the dependencies that the owner began with, without merging others'."""
    return vary_part(protocol, "recovery", merged=lambda self, led: led.init)


class E4(EPaxos):
    """The slow path proposes the owner's own dependencies, not the union of the answers."""

    def _union(self, one: Vector, other: Vector) -> Vector:
        return one


def e5(protocol: Protocol) -> Protocol:
    """Recovery uses only what the recovering node itself knows of the commands, mostly nothing."""

    def known_commands(self: Any, led: LedInstance) -> tuple[tuple[Command, ...], Vector] | None:
        own = led.instance
        return (own.commands, own.init) if own.commands else None

    return vary_part(protocol, "recovery", known_commands=known_commands)


def e6(protocol: Protocol) -> Protocol:
    """Commands are executed in the order in which this node learns that they are committed."""
    return vary_part(protocol, "execution", edges_of=lambda self, instance: [])


def e7(protocol: Protocol) -> Protocol:
    """A component is ordered by the number of dependencies alone; ties in the order of
    discovery."""

    def in_order(self: Any, component: list[Instance]) -> list[Instance]:
        return sorted(component, key=self.rank)

    return vary_part(protocol, "execution", in_order=in_order)


def e8(protocol: Protocol) -> Protocol:
    """Execution does not wait for dependencies that are not committed here."""

    def edges_of(self: Any, instance: Instance) -> Edges:
        table, marks = self._table, instance.marks
        if marks is None:
            return []
        held = (
            other
            for place, upto in enumerate(instance.deps)
            for number in range(table.done[place] + 1, upto + 1)
            if (other := table.rows[place].get(number)) is not None
        )
        return [i for i in held if i.phase == COMMITTED and i.interferes(marks) and i != instance]

    return vary_part(protocol, "execution", edges_of=edges_of)


def e9(protocol: Protocol) -> Protocol:
    """No node recovers instances of another owner: execution waits for them without end."""
    original = part_of(protocol, "recovery").is_overdue

    def is_overdue(self: Any, instance: Instance, now_us: int) -> bool:
        return instance.id.owner == self._ctx.node and bool(original(self, instance, now_us))

    return vary_part(protocol, "recovery", is_overdue=is_overdue)


def e10(protocol: Protocol) -> Protocol:
    """Recovery proposes what may have been committed without asking for suspects."""
    return vary_part(protocol, "recovery", suspects=lambda self, instance, init: ())


class E11(EPaxos):
    """A fast decision is announced before it is on the owner's disk: a restarted owner denies
    it."""

    def _commit_fast(self, led: LedInstance, now_us: int) -> None:
        led.deps = led.init
        self._on_commit(self._ctx.node, self.voting.announce(led), now_us)


def e12(protocol: Protocol) -> Protocol:
    """Recovery does not check whether the fast path was taken: it merges, and proposes."""
    return vary_part(protocol, "recovery", maybe_fast=lambda self, led: False)


def e13(protocol: Protocol) -> Protocol:
    """Only keys interfere: one client's commands on two keys may be executed in any order."""
    original: Callable[..., Footprint] = part_of(protocol, "table").marks

    def marks(self: Any, commands: Sequence[Command]) -> Footprint:
        return original(self, tuple(c._replace(client=0) for c in commands))

    return vary_part(protocol, "table", marks=marks)


def e14(protocol: Protocol) -> Protocol:
    """Reads interfere with nothing, and so wait for nothing."""
    original: Callable[..., Footprint] = part_of(protocol, "table").marks

    def marks(self: Any, commands: Sequence[Command]) -> Footprint:
        return original(self, tuple(c for c in commands if c.f != "read"))

    return vary_part(protocol, "table", marks=marks)


def e15(protocol: Protocol) -> Protocol:
    """Instances that are on every disk are dropped without a record: the node that drops one first
    seems never to have known it."""
    original = part_of(protocol, "store").drop_what_all_have

    def drop_what_all_have(self: Any) -> None:
        original(self)
        self._table.dropped = self._table.zero

    def begin(self: Any, commands: tuple[Command, ...], now_us: int) -> None:
        store = self.store
        everywhere, store.everywhere = store.everywhere, self.table.zero
        protocol._begin(self, commands, now_us)
        store.everywhere = everywhere

    changed = vary_part(protocol, "store", drop_what_all_have=drop_what_all_have)
    return vary(changed, _begin=begin)


EPAXOS: dict[str, Variation | type[EPaxos]] = {
    **{cls.__name__: cls for cls in (B7, B9, E2, E4, E11)},
    "B2": b2,
    "B3": b3,
    "B8": b8,
    "B10": b10,
    "M2": m2,
    "E1": e1,
    "E3": e3,
    "E5": e5,
    "E6": e6,
    "E7": e7,
    "E8": e8,
    "E9": e9,
    "E10": e10,
    "E12": e12,
    "E13": e13,
    "E14": e14,
    "E15": e15,
}
