"""A leader's rounds: how it stays, and how it answers reads past the log.

What every protocol with a leader shares, whatever it calls its election and its log. "Ballot" is
what the leader was elected in: a Paxos ballot, a Raft term.

**Staying.** The leader sends a numbered round of heartbeats. A round that a Phase 2 quorum has
acknowledged confirms that nobody had been elected above its ballot when the round was sent: every
quorum that elects would have included one of those who acknowledged. Without such a round for
`election_max_us` the leader steps down; its messages may still go out, and would keep the others
waiting for ever.

**Reading.** "quorum": a read taken now waits for a round that is sent after now to be confirmed,
and then reads the applied state, which is no older than the commit index at its invocation.
"lease": every acknowledgement also promises to refuse other ballots for `lease_us` on the
acceptor's clock; until that runs out, counted from the *sending* of the round and shortened by
`clock_drift_max_us`, the leader reads at once. After a crash an acceptor refuses everybody for
`lease_us`, since it does not remember to whom it granted. In either mode a new leader first waits
until all that its predecessors may have decided is applied: its state may lack some of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple

from node_image.protocols.interface import ClusterConfig, Command, NodeId, Randomness, StateMachine
from node_image.protocols.quorums import NOBODY
from node_image.protocols.replica import LEADER, Replica

ROUNDS_REMEMBERED: Final = 64
READ_MODES: Final = ("log", "quorum", "lease")
NO_QUORUM: Final = "no quorum answers"
"""Why a leader steps down that has heard nothing for too long."""


class Round(NamedTuple):
    """A round of heartbeats: when it was sent, and which slots had been proposed by then."""

    sent_us: int
    lease_clock_us: int
    last: int


class Heartbeats(Replica):
    """Adds the leader's rounds, and the reads and leases that rest on them.

    Raises ValueError for a read mode that does not exist, and a lease that could never hold.
    """

    read_modes: ClassVar[tuple[str, ...]] = READ_MODES

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        if config.reads not in self.read_modes:
            modes = ", ".join(self.read_modes)
            raise ValueError(f"reads must be one of {modes}, not {config.reads!r}")
        if config.reads == "lease" and config.lease_us <= config.clock_drift_max_us:
            raise ValueError(
                "lease_us must be more than clock_drift_max_us, or no lease ever holds"
            )
        self._lease_holder: NodeId | None = None
        self._lease_end_us = 0
        self._reads: list[tuple[int, Command]] = []
        self._reset_rounds(0)

    def _last_proposed(self) -> int:
        """The last slot that this leader has proposed."""
        raise NotImplementedError

    def _announce_round(self, stamp: int, last: int) -> None:
        """Broadcast the heartbeat of round `stamp`."""
        raise NotImplementedError

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ rounds

    def _reset_rounds(self, now_us: int) -> None:
        self._stamp = 0
        self._confirmed = 0
        self._rounds: dict[int, Round] = {}
        self._acked = dict.fromkeys(self.config.voters, 0)
        self._contact_us = now_us
        self._lease_until_us: int | None = None
        self._reads = []

    def _begin_round(self, now_us: int) -> None:
        """Send heartbeats, numbered."""
        self._stamp += 1
        last = self._last_proposed()
        self._rounds[self._stamp] = Round(now_us, self._lease_clock(now_us), last)
        self._rounds.pop(self._stamp - ROUNDS_REMEMBERED, None)
        self._announce_round(self._stamp, last)
        self._acknowledged_round(self.node, self._stamp, now_us)

    def _on_heartbeat_timer(self, now_us: int) -> None:
        if self.role != LEADER:
            return
        if self._has_lost_quorum(now_us):
            self._step_down(NO_QUORUM, now_us)
            return
        self._begin_round(now_us)
        self._set_timer("heartbeat", self.config.heartbeat_us)

    def _has_lost_quorum(self, now_us: int) -> bool:
        return now_us - self._contact_us > self.config.election_max_us

    def _acknowledged_round(self, voter: NodeId, stamp: int, now_us: int) -> None:
        """Count an acknowledgement; with a Phase 2 quorum the round, and all before, stand."""
        if stamp <= self._acked.get(voter, stamp):
            return
        self._acked[voter] = stamp
        round_ = self._rounds.get(stamp)
        if stamp <= self._confirmed or round_ is None:
            return
        votes = NOBODY
        for node, acked in self._acked.items():
            if acked >= stamp:
                votes = self.quorums.vote(votes, node)
        if self.quorums.phase2(votes):
            self._confirmed = stamp
            self._contact_us = round_.sent_us
            self._lease_until_us = round_.lease_clock_us + self._lease_span_us()
            self._serve_reads(now_us)

    # ------------------------------------------------------------------ reads

    def _read(self, command: Command, now_us: int) -> bool:
        """Take a read past the log. False when it has to go through the log."""
        mode = self.config.reads
        if mode == "log":
            return False
        if mode == "lease" and self._has_lease(now_us) and self._has_recovered():
            self._answer(command, self.machine.apply(command))
        elif self._takes(command, now_us):
            self._reads.append((self._stamp + 1, command))
            if self._stamp == self._confirmed:  # no round is under way
                self._begin_round(now_us)
        return True

    def _has_recovered(self) -> bool:
        """Whether everything that its predecessors may have decided has been applied."""
        raise NotImplementedError

    def _serve_reads(self, now_us: int) -> None:
        """Answer the reads whose round is confirmed; start the round that others wait for."""
        if not self._reads or not self._has_recovered():
            return
        ready = [command for stamp, command in self._reads if stamp <= self._confirmed]
        self._reads = [read for read in self._reads if read[0] > self._confirmed]
        for command in ready:
            if self._waiting.pop((command.client, command.seq), None) is not None:
                self._answer(command, self.machine.apply(command))
        if self._reads and self._stamp == self._confirmed:
            self._begin_round(now_us)

    # ------------------------------------------------------------------ leases

    def _lease_clock(self, now_us: int) -> int:
        """The clock that leases are measured on: monotonic."""
        return now_us

    def _lease_span_us(self) -> int:
        return self.config.lease_us - self.config.clock_drift_max_us

    def _has_lease(self, now_us: int) -> bool:
        until = self._lease_until_us
        return until is not None and self._lease_clock(now_us) < until

    def _grant_lease(self, leader: NodeId | None, now_us: int) -> None:
        if self.config.reads == "lease":
            self._lease_holder = leader
            self._lease_end_us = self._lease_clock(now_us) + self.config.lease_us

    def _lease_forbids(self, candidate: NodeId, now_us: int) -> bool:
        """Whether a lease granted to another node still stands in this candidate's way."""
        if self.config.reads != "lease" or candidate == self._lease_holder:
            return False
        return self._lease_clock(now_us) < self._lease_end_us
