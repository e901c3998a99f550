"""When a Fast Paxos coordinator opens fast rounds, and when it closes them again.

Fast rounds are worthwhile while proposers rarely collide, and enough acceptors answer for a fast
quorum. Otherwise the coordinator takes a new ballot, and keeps its fast rounds closed for a while.
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.fast_paxos_messages import Any
from node_image.protocols.fast_paxos_rounds import FastSlots, FastTally
from node_image.protocols.interface import Broadcast
from node_image.protocols.leadership import Leadership
from node_image.protocols.paxos_election import OwnBallot, PaxosElection
from node_image.protocols.quorums import NO_VOTES, FastMajority
from node_image.protocols.slot_log import SlotLog

CLASSIC_US: Final = 2_000_000
"""How long the coordinator keeps fast rounds closed."""
CONTENTION_MAX: Final = 40
"""How many of a hundred recent slots may collide; with more, classic rounds are faster."""
CONTENTION_MEMORY: Final = 16
SILENT_ROUNDS_MAX: Final = 3
"""An acceptor that did not acknowledge this many rounds of heartbeats counts as down."""


class FastMode:
    """The coordinator's choice between fast and classic rounds.

    `contention`: of a hundred recent slots, how many had votes for several values; smoothed.
    """

    __slots__ = (
        "_classic_until_us",
        "_ctx",
        "_election",
        "_leadership",
        "_log",
        "_own",
        "_slots",
        "contention",
    )

    def __init__(
        self,
        context: Context,
        log: SlotLog,
        slots: FastSlots,
        own: OwnBallot,
        leadership: Leadership,
        election: PaxosElection,
    ) -> None:
        self._ctx = context
        self._log = log
        self._slots = slots
        self._own = own
        self._leadership = leadership
        self._election = election
        self._classic_until_us = 0
        self.contention = 0

    def measure(self, tally: FastTally) -> None:
        """A slot is decided; these were its fast votes."""
        collided = 100 if len(tally.values) > 1 else 0
        self.contention += (collided - self.contention) // CONTENTION_MEMORY

    def is_open(self) -> bool:
        """Whether fast rounds are open in this coordinator's ballot."""
        return self._slots.any.ballot == self._own.ballot

    def may_open(self, now_us: int) -> bool:
        wanted = self._ctx.config.options.get("fast", True) and now_us >= self._classic_until_us
        return bool(wanted) and self._leadership.reads.has_recovered() and self._can_be_fast()

    def should_close(self) -> bool:
        return not self._can_be_fast() or self.contention > CONTENTION_MAX

    def _can_be_fast(self) -> bool:
        """Whether enough acceptors have answered recently for a fast quorum."""
        quorums, heartbeats = self._ctx.quorums, self._leadership.heartbeats
        assert isinstance(quorums, FastMajority)
        votes, since = NO_VOTES, heartbeats.stamp - SILENT_ROUNDS_MAX
        for node, acked in heartbeats.acked.items():
            if acked > since:
                votes = quorums.vote(votes, node)
        return quorums.fast(votes)

    def open(self) -> None:
        """Open all slots after those with classic proposals: any node may propose there."""
        slots, ballot = self._slots, self._own.ballot
        slots.any = Any(ballot, max(slots.used, self._log.last) + 1)
        self._ctx.count("fast.opened")
        self._ctx.note("fast-open", ballot=list(ballot), first=slots.any.first)
        self._ctx.out.append(Broadcast(slots.any, False))

    def close(self, now_us: int) -> None:
        """Take a new ballot, in which acceptors vote only for what the coordinator proposes."""
        self._ctx.count("fast.closed")
        self._ctx.note("fast-closed", ballot=list(self._own.ballot), contention=self.contention)
        self._classic_until_us = now_us + CLASSIC_US
        self._election.new_candidacy()
        self._leadership.timing.ask_again_later()
        self._election.begin_phase1(now_us)
