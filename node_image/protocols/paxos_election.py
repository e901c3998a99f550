"""A stable leader: who may stand for it.

Safety never depends on this file: Phase 1 and Phase 2 (`multi_paxos`) are safe with any number of
proposers. This is about there being one, most of the time.

**Standing.** A follower that hears no leader for a random time asks around first, without moving
anybody's promise (`Probe`). An acceptor that heard from a leader lately does not answer. Only with
a Phase 1 quorum of grants does the candidate go on to Phase 1. So a node that hears nothing but
can be heard (a one-way cut), and one that sees only part of the cluster (a bridge), cannot disturb
a leader who has a quorum. Promising counts as hearing from a leader, refusals send a candidate
into a random back-off, and so duels settle.

How long nodes wait, and how they step down: `election_timing`. Staying, and reading past the log:
`heartbeats`.
"""

from __future__ import annotations

from collections.abc import Callable

from node_image.protocols.ballots import Ballot, next_ballot
from node_image.protocols.election_timing import ElectionTiming
from node_image.protocols.interface import (
    Broadcast,
    ClusterConfig,
    Json,
    NodeId,
    Randomness,
    StateMachine,
    Status,
)
from node_image.protocols.log_replica import LogReplica
from node_image.protocols.paxos_messages import (
    Heartbeat,
    HeartbeatAck,
    Nack,
    Probe,
    ProbeGranted,
)
from node_image.protocols.quorums import NOBODY
from node_image.protocols.replica import CANDIDATE, FOLLOWER, LEADER, LEARNER
from node_image.protocols.slot_log import SlotLog


class PaxosElection(ElectionTiming, LogReplica):
    """Adds the leader's election, and what its rounds of heartbeats carry."""

    _log: SlotLog

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self.ballot: Ballot = Ballot(0, node)  # its own, as candidate or leader
        self._round_seen = 0
        self._grants = NOBODY

    def _begin_phase1(self, now_us: int) -> None:
        raise NotImplementedError

    def _continue_candidacy(self, now_us: int) -> bool:
        """Press on with a Phase 1 under way. False when there is none, or it has failed."""
        raise NotImplementedError

    # ------------------------------------------------------------------ following

    def _hear(self, sender: NodeId, ballot: Ballot, now_us: int) -> bool:
        """A leader speaks. False, and a refusal, when a higher ballot has been promised."""
        if ballot != self._promised or sender != self.leader:
            if self._refuses(ballot):
                self._send(sender, Nack(ballot, self._promised), False)
                return False
            self._follow(sender, ballot, now_us)
        self._heard_us = now_us
        return True

    def _refuses(self, ballot: Ballot) -> bool:
        return ballot < self._promised

    def _follow(self, sender: NodeId, ballot: Ballot, now_us: int) -> None:
        if self.role in (LEADER, CANDIDATE):
            self._step_down("heard a higher ballot", now_us, sender)
        self._promised = ballot
        self._see_round(ballot)
        self.leader = sender
        self._log.restart_prefix(ballot)

    def _see_round(self, ballot: Ballot) -> None:
        self._round_seen = max(self._round_seen, ballot.round)

    def _office(self) -> dict[str, Json]:
        return {"ballot": list(self.ballot)}

    # ------------------------------------------------------------------ standing

    def _on_election_timer(self, now_us: int) -> None:
        if self.role in (LEADER, LEARNER):
            return
        if self.role == CANDIDATE and self._continue_candidacy(now_us):
            return
        silence_us = now_us - self._heard_us
        if self.role == FOLLOWER and silence_us < self._patience_us:
            self._set_timer("election", self._patience_us - silence_us)
        else:
            self._probe(now_us)

    def _probe(self, now_us: int) -> None:
        """Ask whether a Phase 1 would be welcome."""
        self.role = CANDIDATE
        self.leader = None
        self.ballot = self._new_ballot()
        self._grants = self.quorums.vote(NOBODY, self.node)
        self._count("probes")
        self._out.append(Broadcast(Probe(self.ballot), False))
        self._set_timer("election", self.config.heartbeat_us, 2 * self.config.heartbeat_us)
        self._begin_if_granted(now_us)

    def _new_ballot(self) -> Ballot:
        return next_ballot(max(self._round_seen, self._promised.round), self.node)

    def _on_probe(self, sender: NodeId, message: Probe, now_us: int) -> None:
        if self._is_learner:
            return
        if message.ballot < self._promised:
            self._send(sender, Nack(message.ballot, self._promised), False)
        elif self._would_welcome_leader(now_us):
            self._send(sender, ProbeGranted(message.ballot), False)

    def _on_probe_granted(self, sender: NodeId, message: ProbeGranted, now_us: int) -> None:
        if self.role == CANDIDATE and message.ballot == self.ballot:
            self._grants = self.quorums.vote(self._grants, sender)
            self._begin_if_granted(now_us)

    def _begin_if_granted(self, now_us: int) -> None:
        if self._grants and self.quorums.phase1(self._grants):
            self._grants = NOBODY
            self._begin_phase1(now_us)

    def _on_nack(self, sender: NodeId, message: Nack, now_us: int) -> None:
        """A higher ballot is about. Step down; try again later, a random time from now."""
        self._see_round(message.promised)
        if message.ballot != self.ballot or self.role not in (CANDIDATE, LEADER):
            return
        self._step_down("refused", now_us)
        self._wait_for_leader(self.config.heartbeat_us, self.config.election_min_us)

    # ------------------------------------------------------------------ rounds

    def _last_proposed(self) -> int:
        return self._log.last

    def _announce_round(self, stamp: int, last: int) -> None:
        """Heartbeats carry the commit index along."""
        heartbeat = Heartbeat(self.ballot, self._log.applied, last, stamp)
        self._out.append(Broadcast(heartbeat, False))

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat, now_us: int) -> None:
        if not self._hear(sender, message.ballot, now_us):
            return
        self._commit_to(message.commit)
        if self._acknowledges():
            self._grant_lease(sender, now_us)
            self._send(sender, HeartbeatAck(message.ballot, message.stamp, self._voted_to()))
        if self._log.applied < message.commit:
            self._ask_catch_up(sender, now_us)

    def _acknowledges(self) -> bool:
        """Learners follow the log and vote on nothing."""
        return not self._is_learner

    def _voted_to(self) -> int:
        """Up to here this acceptor has, without a hole, votes in the promised ballot."""
        return self._log.prefix

    # ------------------------------------------------------------------ telling

    def status(self) -> Status:
        """What this node is, and believes."""
        own = self.role in (LEADER, CANDIDATE)
        ballot = self.ballot if own else self._promised
        applied = self._log.applied
        return Status(self.role, self.leader, tuple(ballot), applied, applied)
