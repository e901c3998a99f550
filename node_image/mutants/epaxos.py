"""Planted bugs of EPaxos: each removes one safeguard, in one method, of `protocols.epaxos*`.

Read each beside the method that it overrides: that method's comment says what it is for, and this
class what happens without it.
"""

from __future__ import annotations

from collections.abc import Iterable

from node_image.mutants import shared
from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.epaxos import EPaxos
from node_image.protocols.epaxos_ballots import Lead
from node_image.protocols.epaxos_execution import Edges
from node_image.protocols.epaxos_instances import COMMITTED, Footprint, Instance, Vector
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import ClusterConfig, Command
from node_image.protocols.quorums import QuorumSystem


class B2(EPaxos):
    """Recovery takes the vote that was reported first, not the one of the highest ballot."""

    def _highest(self, votes: list[m.Promise]) -> m.Promise:
        return votes[0]


class B3(EPaxos):
    """Counts every reply, whatever ballot it answers."""

    def _answers(self, lead: Lead | None, ballot: Ballot) -> bool:
        return lead is not None


class B7(EPaxos):
    """Numbers its instances anew in every life: ballot zero of an instance is used twice."""

    _begun = 0

    def _next_number(self) -> int:
        number = self._begun + 1
        row = self._table.rows[self._place]
        while self._begun and number in row:
            number += 1
        return number

    def _begin(self, commands: tuple[Command, ...], now_us: int) -> None:
        number = self._next_number()
        self._table.rows[self._place].pop(number, None)
        super()._begin(commands, now_us)
        self._begun = number


class B8(EPaxos):
    """Ballots are rounds only: two who recover an instance at once share a ballot."""

    def _new_ballot(self, instance: Instance) -> Ballot:
        return super()._new_ballot(instance)._replace(node=0)


class B9(EPaxos):
    """Messages are counted, not distinct acceptors: in fast quorums too."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        return shared.MessagesCounted(EPaxos.quorum_system(config))

    def _fast_quorum_system(self) -> QuorumSystem:
        return shared.MessagesCounted(super()._fast_quorum_system())


class B10(EPaxos):
    """Votes, and records, also below the ballot that was promised."""

    def _refuses(self, instance: Instance, ballot: Ballot) -> bool:
        return False


class M2(EPaxos):
    """What is executed and forgotten is taken for something that nobody has ever begun."""

    def _is_gone(self, identity: InstanceId) -> bool:
        return False


class E1(EPaxos):
    """One ballot for two things: a promise makes the old vote a vote in the new ballot."""

    def _promise(self, instance: Instance, ballot: Ballot) -> None:
        super()._promise(instance, ballot)
        instance.voted = instance.promised


class E2(EPaxos):
    """The fast path is taken when a fast quorum has answered, whatever it answered."""

    def _agrees(self, deps: Vector, init: Vector) -> bool:
        return True


class E3(EPaxos):
    """Recovery keeps the dependencies that the owner began with, without merging others'."""

    def _merged(self, lead: Lead) -> Vector:
        return lead.init


class E4(EPaxos):
    """The slow path proposes the owner's own dependencies, not the union of what was answered."""

    def _union(self, one: Vector, other: Vector) -> Vector:
        return one


class E5(EPaxos):
    """Recovery goes by what the recovering node itself knows of the commands, mostly nothing."""

    def _known_commands(self, lead: Lead) -> tuple[tuple[Command, ...], Vector] | None:
        own = lead.instance
        return (own.commands, own.init) if own.commands else None


class E6(EPaxos):
    """Commands are executed in the order in which this node learns that they are committed."""

    def _edges(self, instance: Instance) -> Edges:
        return []


class E7(EPaxos):
    """A component is ordered by how much its instances depend on alone; ties as they were found."""

    def _in_order(self, component: list[Instance]) -> list[Instance]:
        return sorted(component, key=self._rank)


class E8(EPaxos):
    """Execution does not wait for dependencies that are not committed here."""

    def _edges(self, instance: Instance) -> Edges:
        held = (
            other
            for place, upto in enumerate(instance.deps)
            for number in range(self._table.done[place] + 1, upto + 1)
            if (other := self._table.rows[place].get(number)) is not None
        )
        marks = instance.marks
        if marks is None:
            return []
        return [i for i in held if i.phase == COMMITTED and i.interferes(marks) and i != instance]


class E9(EPaxos):
    """Nobody recovers what another node began: execution waits for it for ever."""

    def _is_overdue(self, instance: Instance, now_us: int) -> bool:
        return instance.id.owner == self._ctx.node and super()._is_overdue(instance, now_us)


class E10(EPaxos):
    """Recovery proposes what may have been committed without asking what speaks against it."""

    def _suspects(self, instance: Instance, init: Vector) -> Iterable[m.Suspect]:
        return ()


class E11(EPaxos):
    """A fast decision is told before it is on the owner's disk: a restarted owner denies it."""

    def _commit_fast(self, lead: Lead, now_us: int) -> None:
        lead.deps = lead.init
        self._decide(lead, now_us)


class E12(EPaxos):
    """Recovery does not ask whether the fast path was taken: it merges, and proposes."""

    def _maybe_fast(self, lead: Lead) -> bool:
        return False


class E13(EPaxos):
    """Only keys interfere: what one client asks on two keys may be executed in any order."""

    def _marks(self, commands: tuple[Command, ...]) -> Footprint:
        return super()._marks(tuple(c._replace(client=0) for c in commands))


class E14(EPaxos):
    """Reads interfere with nothing, and so wait for nothing."""

    def _marks(self, commands: tuple[Command, ...]) -> Footprint:
        return super()._marks(tuple(c for c in commands if c.f != "read"))


class E15(EPaxos):
    """What is on every disk is dropped without a trace: whoever drops it first seems never to have
    heard of it."""

    def _drop_what_all_have(self) -> None:
        super()._drop_what_all_have()
        self._table.dropped = self._table.zero

    def _begin(self, commands: tuple[Command, ...], now_us: int) -> None:
        everywhere, self._everywhere = self._everywhere, self._table.zero
        super()._begin(commands, now_us)
        self._everywhere = everywhere


EPAXOS: dict[str, type[EPaxos]] = {
    cls.__name__: cls
    for cls in (
        *(B2, B3, B7, B8, B9, B10, M2),
        *(E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12, E13, E14, E15),
    )
}
