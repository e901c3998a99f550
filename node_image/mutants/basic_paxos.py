"""Planted bugs of Basic Paxos: each removes one safeguard, in one method, of `basic_paxos`.

Compare each with the method that it overrides: that method's docstring says what it is for, and
this class what happens without it.
"""

from __future__ import annotations

from node_image.protocols import basic_paxos_messages as m
from node_image.protocols.ballots import Ballot, next_ballot
from node_image.protocols.basic_paxos import Attempt, BasicPaxos
from node_image.protocols.interface import Answer, Command, Persist, Reply
from node_image.protocols.slot_log import Vote


class B1(BasicPaxos):
    """Proposes its own clients' commands although a promise reported a vote."""

    def _value(self, best: Vote | None) -> tuple[Command, ...]:
        return self._batch()


class B2(BasicPaxos):
    """Takes the vote that was reported first, not the one of the highest ballot."""

    def _higher(self, one: Vote, other: Vote) -> Vote:
        return one


class B3(BasicPaxos):
    """Counts every reply about the slot, also to another ballot."""

    def _answers_my_ballot(self, ballot: Ballot) -> bool:
        return True


class B7(BasicPaxos):
    """Counts rounds from zero in every life. Its own promise is on the disk, so it continues from
    there; but a ballot that it used before the crash counts as unused."""

    _last = (0, 0)  # slot and round of the last ballot of this life

    def _new_ballot(self, slot: int) -> Ballot:
        used = self._last[1] if self._last[0] == slot else 0
        promised = self.promises.of(slot)
        ballot = Ballot(max(used + 1, promised.round, self._round_seen), self._ctx.node)
        if ballot < promised:
            ballot = next_ballot(promised.round, self._ctx.node)
        self._last = (slot, ballot.round)
        return ballot


class B8(BasicPaxos):
    """Ballots are rounds only: two proposers of one round share a ballot."""

    def _new_ballot(self, slot: int) -> Ballot:
        return super()._new_ballot(slot)._replace(node=0)


class B10(BasicPaxos):
    """Votes for every proposal, also below the ballot that it promised."""

    def _refuses(self, slot: int, ballot: Ballot) -> bool:
        return False


class B11(BasicPaxos):
    """Retries at once when it is refused: proposers that refuse each other keep doing so."""

    def _backs_off(self) -> bool:
        return False


class B12(BasicPaxos):
    """A vote is not a promise: after a vote in a high ballot, one in a lower ballot replaces it."""

    def _vote(self, slot: int, ballot: Ballot, commands: tuple[Command, ...]) -> None:
        promised = self.promises.of(slot)
        super()._vote(slot, ballot, commands)
        self.promises.ballots[slot] = promised


class B13(BasicPaxos):
    """Takes its own commands for done when it wins a slot, though with another node's value."""

    def _win(self, attempt: Attempt, value: tuple[Command, ...], now_us: int) -> None:
        for command in self._batch():
            if command.f == "write" and command not in value:
                self.clients.take_back(command)
                self._ctx.out.append(Reply(command.client, command.seq, Answer(), False))
        super()._win(attempt, value, now_us)


class B14(BasicPaxos):
    """On a decision takes its own vote in the slot for the value, whatever the vote's ballot."""

    def _is_decided_by(self, vote: Vote, ballot: Ballot) -> bool:
        return True


class M2(BasicPaxos):
    """An acceptor drops slots that it has applied: a proposer that is behind finds them open."""

    def _takes_part(self, sender: int, ballot: Ballot, slot: int, now_us: int) -> bool:
        if not self.learned.is_settled(slot) or self._ctx.is_learner:
            return super()._takes_part(sender, ballot, slot, now_us)
        return not self._refuses(slot, ballot)

    def _report(self, slot: int) -> tuple[Vote, ...]:
        return () if self.learned.is_settled(slot) else super()._report(slot)

    def _vote(self, slot: int, ballot: Ballot, commands: tuple[Command, ...]) -> None:
        if not self.learned.is_settled(slot):
            super()._vote(slot, ballot, commands)
        else:
            self._ctx.out.append(Persist(m.Promised(slot, ballot)))


class M5(BasicPaxos):
    """A node answers reads from its applied state; the others may have decided more since."""

    def _read(self, command: Command) -> bool:
        self._ctx.answer(command, self._ctx.machine.apply(command))
        return True


BASIC_PAXOS: dict[str, type[BasicPaxos]] = {
    cls.__name__: cls for cls in (B1, B2, B3, B7, B8, B10, B11, B12, B13, B14, M2, M5)
}
