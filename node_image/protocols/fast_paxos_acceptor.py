"""Fast Paxos' acceptor: it votes once in a round, for the first value that it receives."""

from __future__ import annotations

from node_image.protocols.ballots import Ballot
from node_image.protocols.context import Context
from node_image.protocols.fast_paxos_messages import FastAccepted
from node_image.protocols.fast_paxos_rounds import FastSlots, Value, ballot_of, fast_round
from node_image.protocols.interface import Persist, make
from node_image.protocols.log_storage import LogStorage
from node_image.protocols.slot_log import SlotLog, Vote


class FastPaxosStorage(LogStorage):
    """The log of slots, in which a vote names its round instead of its ballot."""

    __slots__ = ()

    def ballot_of(self, vote: Vote) -> Ballot:
        return ballot_of(vote.ballot)


class FastAcceptor:
    """Votes in fast and classic rounds. Promises are the same as in Multi-Paxos."""

    __slots__ = ("_ctx", "_log", "_slots")

    def __init__(self, context: Context, log: SlotLog, slots: FastSlots) -> None:
        self._ctx = context
        self._log = log
        self._slots = slots

    def consider(self, proposer: int, ballot: Ballot, slot: int, value: Value) -> None:
        """Vote for the value in the slot's fast round if it is the first. Report to the proposer
        and the coordinator which value has this acceptor's vote."""
        round_ = fast_round(ballot)
        self._slots.use(slot)
        held = self._log.entries.get(slot)
        if self.may_vote(held, round_):
            held = Vote(round_, slot, value, self._log.applied)
            self.vote(held)
        if held is not None and held.ballot == round_:
            answer = FastAccepted(ballot, slot, held.commands)
            self._ctx.send(proposer, answer)
            leader = self._ctx.leader
            if leader is not None and leader != proposer:
                self._ctx.send(leader, answer)

    def may_vote(self, held: Vote | None, round_: Ballot) -> bool:
        """An acceptor votes once in a round, and never in one below that of its last vote."""
        return held is None or held.ballot < round_

    def vote(self, vote: Vote) -> None:
        """Vote, durably."""
        self._log.add(vote)
        if not self._ctx.is_learner:
            self._ctx.out.append(make(Persist, (vote,)))
