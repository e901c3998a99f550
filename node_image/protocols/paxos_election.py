"""Leader election and Phase 1 of Multi-Paxos and Fast Paxos.

**Phase 1** provides safety (see `multi_paxos`), with any number of proposers. The rest of this file
aims at having a single proposer most of the time, for liveness.

**Probes.** A follower that hears from no leader for a random time first asks, without raising any
promise, whether it would get promises (`Probe`). An acceptor that recently heard from a leader does
not answer. Only with grants from a Phase 1 quorum does the candidate begin Phase 1. So a node that
receives nothing but can send (a one-way cut), or that sees only part of the cluster (a bridge),
cannot disturb a leader that has a quorum. A promise counts as hearing from a leader, and a refused
candidate waits for a random time, so duels end.

How long nodes wait: `election_timing`. The leader's parts: `leadership`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node_image.protocols.ballots import Ballot, next_ballot
from node_image.protocols.catch_up import CatchingUp
from node_image.protocols.context import CANDIDATE, FOLLOWER, LEADER, LEARNER, Context
from node_image.protocols.interface import NOOP, Broadcast, Command, Json, NodeId, Persist
from node_image.protocols.leadership import Leadership
from node_image.protocols.multi_paxos_messages import (
    Heartbeat,
    Nack,
    Prepare,
    Probe,
    ProbeGranted,
    Promise,
    Promised,
    TimeoutNow,
)
from node_image.protocols.quorums import NO_VOTES
from node_image.protocols.slot_log import SlotLog, Vote

REPORTED_SLOTS_MAX: Final = 256
"""If more slots are decided, a promise does not report them; the new leader catches up first."""

IDLE: Final = "idle"
PREPARING: Final = "preparing"
CATCHING_UP: Final = "catching-up"
"""A quorum has promised, and a node in it knows more decisions than this node."""

Value = tuple[Command, ...]


class OwnBallot:
    """The ballot that this node uses as a candidate or leader, and the heartbeats sent in it."""

    __slots__ = ("_ctx", "_log", "ballot")

    def __init__(self, context: Context, log: SlotLog) -> None:
        self._ctx = context
        self._log = log
        self.ballot = Ballot(0, context.node)

    def last_proposed(self) -> int:
        return self._log.last

    def send_heartbeat(self, stamp: int, last: int) -> None:
        """Heartbeats carry the commit index."""
        heartbeat = Heartbeat(self.ballot, self._log.applied, last, stamp)
        self._ctx.out.append(Broadcast(heartbeat, False))

    def ballot_number(self) -> tuple[int, ...]:
        return self.ballot

    def note_fields(self) -> dict[str, Json]:
        return {"ballot": list(self.ballot)}


class PaxosElection:
    """Who leads, in which ballot: both sides of Probe and Phase 1, and recognising a leader.

    `phase` is the progress of this node's own Phase 1.
    """

    def __init__(
        self,
        context: Context,
        log: SlotLog,
        own: OwnBallot,
        leadership: Leadership,
        catch_up: CatchingUp,
    ) -> None:
        self._ctx = context
        self._log = log
        self._own = own
        self._catch_up = catch_up
        self._leadership = leadership
        self._timing = leadership.timing
        self._lease = leadership.lease
        self.round_seen = 0
        self._is_transferee = (
            False  # the leader transfers leadership to this node; a lease may still delay it
        )
        self._grants = NO_VOTES
        self.phase = IDLE
        self._promises: dict[NodeId, Promise] = {}
        self._promised_by = NO_VOTES

    @property
    def ballot(self) -> Ballot:
        return self._own.ballot

    # ------------------------------------------------------------------ following

    def recognise_leader(self, sender: NodeId, ballot: Ballot, now_us: int) -> bool:
        """A message from a leader arrived: follow it, or refuse it (False) if its ballot is too
        low."""
        if ballot != self._log.promised or sender != self._ctx.leader:
            if self.refuses(ballot):
                self._ctx.send(sender, Nack(ballot, self._log.promised), False)
                return False
            self.follow(sender, ballot, now_us)
        self._timing.heard_us = now_us
        return True

    def refuses(self, ballot: Ballot) -> bool:
        """An acceptor keeps its promise."""
        return ballot < self._log.promised

    def follow(self, sender: NodeId, ballot: Ballot, now_us: int) -> None:
        if self._ctx.role in (LEADER, CANDIDATE):
            self.step_down("heard a higher ballot", now_us, sender)
        self._log.promised = ballot
        self.see_round(ballot)
        self._ctx.follow(sender, ballot)
        self._log.restart_prefix(ballot)

    def see_round(self, ballot: Ballot) -> None:
        self.round_seen = max(self.round_seen, ballot.round)

    def step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        self._leadership.step_down(why, now_us, leader)
        self.phase = IDLE
        self._is_transferee = False

    def answers_my_ballot(self, ballot: tuple[int, ...]) -> bool:
        """Replies to an earlier ballot do not count in this one."""
        return ballot == self._own.ballot

    # ------------------------------------------------------------------ the candidate: probes

    def on_election_timer(self, now_us: int) -> None:
        """Become a candidate, or continue the candidacy."""
        ctx = self._ctx
        if ctx.role in (LEADER, LEARNER):
            return
        if ctx.role == CANDIDATE and self.phase != IDLE:
            if now_us < self._timing.give_up_us:
                self._repeat_requests(now_us)
                return
            self.phase = IDLE
        if self._is_transferee and now_us < self._timing.give_up_us:
            self._take_over(now_us)
        elif not self._timing.keep_waiting(now_us):
            self._probe(now_us)

    def on_timeout_now(self, sender: NodeId, message: TimeoutNow, now_us: int) -> None:
        """The leader transfers leadership: begin Phase 1 without a probe."""
        leads = sender == self._ctx.leader and message.ballot == self._log.promised
        if self._ctx.role == FOLLOWER and leads:
            self.new_candidacy()
            self._is_transferee = True
            self._timing.begin_candidacy(now_us)
            self._take_over(now_us)

    def _take_over(self, now_us: int) -> None:
        self._timing.ask_again_later()
        self.begin_phase1(now_us)

    def _probe(self, now_us: int) -> None:
        """Ask the acceptors whether they would promise."""
        self._is_transferee = False
        self.new_candidacy()
        self._grants = self._ctx.quorums.vote(NO_VOTES, self._ctx.node)
        self._ctx.count("probes")
        self._ctx.broadcast(Probe(self.ballot), False)
        self._timing.ask_again_later()
        self.begin_if_granted(now_us)

    def new_candidacy(self) -> None:
        """Follow no leader, and take a new ballot."""
        self._ctx.role = CANDIDATE
        self._ctx.leader = None
        self._own.ballot = self.new_ballot()

    def new_ballot(self) -> Ballot:
        promised = self._log.promised
        return next_ballot(max(self.round_seen, promised.round), self._ctx.node)

    def on_probe(self, sender: NodeId, message: Probe, now_us: int) -> None:
        if self._ctx.is_learner:
            return
        if message.ballot < self._log.promised:
            self._ctx.send(sender, Nack(message.ballot, self._log.promised), False)
        elif self._timing.would_accept_leader(now_us):
            self._ctx.send(sender, ProbeGranted(message.ballot), False)

    def on_probe_granted(self, sender: NodeId, message: ProbeGranted, now_us: int) -> None:
        if self._ctx.role == CANDIDATE and message.ballot == self.ballot:
            self._grants = self._ctx.quorums.vote(self._grants, sender)
            self.begin_if_granted(now_us)

    def begin_if_granted(self, now_us: int) -> None:
        if self._grants and self._ctx.quorums.phase1(self._grants):
            self._grants = NO_VOTES
            self.begin_phase1(now_us)

    def on_nack(self, message: Nack, now_us: int) -> None:
        """There is a higher ballot. Step down, and try again after a random time."""
        self.see_round(message.promised)
        if message.ballot != self.ballot or self._ctx.role not in (CANDIDATE, LEADER):
            return
        self.step_down("refused", now_us)
        config = self._ctx.config
        self._timing.wait_for_leader(config.heartbeat_us, config.election_min_us)

    # ------------------------------------------------------------------ Phase 1: the candidate

    def begin_phase1(self, now_us: int) -> None:
        """Promise the new ballot locally, and ask all others to promise it.

        The Prepare waits until that promise is durable: after a crash the node must not use this
        ballot a second time.
        """
        ctx, ballot = self._ctx, self.ballot
        if self._lease.forbids(ctx.node, now_us):
            return
        self._is_transferee = False
        self.phase = PREPARING
        self._promises = {}
        self._promised_by = NO_VOTES
        self._log.promised = ballot
        self.see_round(ballot)
        self._timing.begin_candidacy(now_us)
        ctx.count("ballots")
        ctx.note("election", ballot=list(ballot), first=self._log.applied + 1)
        ctx.out.append(Persist(Promised(ballot)))
        self._ask_for_promises()

    def _ask_for_promises(self) -> None:
        first = self._log.applied + 1
        self._ctx.broadcast(Prepare(self.ballot, first))
        self._ctx.send(self._ctx.node, self.report(first))

    def _repeat_requests(self, now_us: int) -> None:
        """Repeat the requests for missing promises, or missing decisions."""
        if self.phase == PREPARING:
            self._ask_for_promises()
        else:
            self.ask_best_informed(now_us)
        self._timing.ask_again_later()

    def on_promise(self, sender: NodeId, message: Promise) -> bool:
        """Count a promise. True if it completes a quorum: then this node learns the decisions that
        these nodes know (`reported_decisions`), and leads."""
        if self.phase != PREPARING or not self.answers_my_ballot(message.ballot):
            return False
        self._promises[sender] = message
        self._promised_by = self._ctx.quorums.vote(self._promised_by, sender)
        return self._ctx.quorums.phase1(self._promised_by)

    def reported_decisions(self) -> list[list[Vote]]:
        """The decided slots in the promises, one list for each promise."""
        self.phase = CATCHING_UP
        return [
            [vote for vote in promise.entries if vote.slot <= promise.upto]
            for promise in self._promises.values()
        ]

    def ask_best_informed(self, now_us: int) -> None:
        """Ask the node that promised and knows most for the decisions that this node lacks."""
        self._catch_up.ask(self._best_informed(), now_us)

    def _best_informed(self) -> NodeId:
        return max(self._promises, key=lambda node: self._promises[node].upto)

    def is_catching_up(self) -> bool:
        return self.phase == CATCHING_UP

    def is_won(self) -> bool:
        """Whether a quorum has promised, and all slots that any of them knows to be decided are
        applied here."""
        if self.phase != CATCHING_UP:
            return False
        return self._log.applied >= self._promises[self._best_informed()].upto

    def open_slots(self) -> dict[int, list[Vote]]:
        """Ends the election. Returns the votes that the promises reported for open slots, by
        slot."""
        self.phase = IDLE
        reported: dict[int, list[Vote]] = {}
        for promise in self._promises.values():
            for vote in promise.entries:
                if vote.slot > self._log.applied:
                    reported.setdefault(vote.slot, []).append(vote)
        self._promises = {}
        return reported

    def value_for(self, votes: Sequence[Vote]) -> Value | None:
        """What the new leader proposes for an open slot: the value that may have been chosen, or a
        value that closes the hole if there is none."""
        return self.may_be_chosen(votes).commands if votes else self.hole_value()

    def may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        """The only value that may have been chosen: the vote of the highest ballot."""
        return max(votes, key=lambda vote: vote.ballot)

    def hole_value(self) -> Value | None:
        return (NOOP,)

    # ------------------------------------------------------------------ Phase 1: the acceptor

    def on_prepare(self, sender: NodeId, message: Prepare, now_us: int) -> None:
        ctx, log, ballot = self._ctx, self._log, message.ballot
        if ctx.is_learner or self._lease.forbids(sender, now_us):
            return
        if ballot < log.promised:
            ctx.send(sender, Nack(ballot, log.promised), False)
            return
        if ballot > log.promised:
            if ctx.role in (LEADER, CANDIDATE):
                self.step_down("promised a higher ballot", now_us)
            log.promised = ballot
            self.see_round(ballot)
            ctx.out.append(Persist(Promised(ballot)))
            self._timing.defer_to_candidate(now_us)
        ctx.leader = None
        ctx.send(sender, self.report(message.first))

    def report(self, first: int) -> Promise:
        """The promise, with decided slots, and the votes for open slots."""
        log = self._log
        few = first > log.base and log.applied - first < REPORTED_SLOTS_MAX
        start = first if few else log.applied + 1
        return Promise(log.promised, log.applied, tuple(log.held(start, log.last)))
