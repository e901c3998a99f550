"""Fast Paxos' elections: those of Multi-Paxos, except that fast votes are weaker evidence.

What a coordinator may propose after Phase 1 is explained in `fast_paxos` (observation O4).
"""

from __future__ import annotations

from collections.abc import Sequence

from node_image.protocols.context import Context
from node_image.protocols.fast_paxos_rounds import FastSlots, Value, is_fast, pick
from node_image.protocols.interface import Broadcast
from node_image.protocols.paxos_election import OwnBallot, PaxosElection
from node_image.protocols.quorums import FastMajority
from node_image.protocols.slot_log import SlotLog, Vote


class CoordinatorBallot(OwnBallot):
    """Heartbeats carry the `Any` of the ballot, for nodes that missed it, or restarted."""

    __slots__ = ("_slots",)

    def __init__(self, context: Context, log: SlotLog, slots: FastSlots) -> None:
        super().__init__(context, log)
        self._slots = slots

    def send_heartbeat(self, stamp: int, last: int) -> None:
        super().send_heartbeat(stamp, last)
        if self._slots.any.ballot == self.ballot:
            self._ctx.out.append(Broadcast(self._slots.any, False))


class FastPaxosElection(PaxosElection):
    """What may have been chosen, where votes may be from a fast round."""

    _promisers = 0

    def answers_my_ballot(self, ballot: tuple[int, ...]) -> bool:
        """Votes of another ballot do not count in this one."""
        return ballot == self._log.promised

    def open_slots(self) -> dict[int, list[Vote]]:
        self._promisers = len(self._promises)
        return super().open_slots()

    def may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        """After Phase 1: the value of the highest round, if that is classic; otherwise `pick`."""
        highest = max(votes, key=lambda vote: vote.ballot)
        if not is_fast(highest.ballot):
            return highest
        counted: list[tuple[Value, int]] = []
        for vote in votes:
            if vote.ballot == highest.ballot and all(v != vote.commands for v, _ in counted):
                same = [v for v in votes if v[::2] == vote[::2]]  # ballot and commands
                counted.append((vote.commands, len(same)))
        return highest._replace(commands=self.pick(counted, self._promisers))

    def pick(self, counted: Sequence[tuple[Value, int]], heard: int) -> Value:
        """The only value that may have been chosen in the fast round, or any if there is none."""
        quorums = self._ctx.quorums
        assert isinstance(quorums, FastMajority)
        return pick(quorums, counted, heard)
