"""Multi-Paxos: a log of commands, decided by a sequence of Paxos instances under one leader.

The setting (Lamport, "The Part-Time Parliament", 1998; "Paxos Made Simple", 2001). Every slot of
the log is decided by its own instance of Paxos. Nodes have three roles:

    acceptor   remembers, on disk, the highest ballot it has promised, and for each slot its last
               vote: a ballot and a value
    proposer   owns ballots (see `ballots`), and in one ballot proposes one value per slot
    learner    finds out what is decided, and applies it in the order of slots

A value is *chosen* for a slot when a Phase 2 quorum of acceptors has voted for it in one ballot.
Safety follows from one invariant: **when a value is proposed in ballot b for a slot, no other value
is or ever will be chosen for that slot in a ballot below b.** Two phases maintain it:

    Phase 1   the proposer asks the acceptors to promise ballot b, that is, to refuse lower ballots,
              and to report their votes. After promises from a Phase 1 quorum, nothing below b can
              be chosen without the proposer knowing it: every Phase 2 quorum shares an acceptor
              with this quorum, which either voted before it promised, and reported it, or never
              will.
    Phase 2   for each slot the proposer proposes the reported vote of the highest ballot; if there
              is none, it is free to propose a command of its clients.

*Multi*-Paxos runs Phase 1 once for all slots that are not yet decided (`Prepare.first` to
infinity), and it remains valid until another proposer's Phase 1. While a leader lasts, a command
takes one round trip. The other parts are engineering, and easy to get wrong:

  * Slots are proposed in parallel, so a dead leader may leave holes. A new leader fills them with
    no-ops, because nothing after a hole can be applied.
  * Acceptors report slots that they know to be decided, or, if these are in their snapshot, how far
    they have applied. A new leader catches up before it proposes. Without this report a decided
    slot would appear to have no vote, and could be given to another command.
  * An acknowledgement covers every slot up to its own, so acceptors acknowledge only up to the
    first hole. A lost acknowledgement is replaced by the answer to a heartbeat.
  * A slot holds a tuple of commands: `proposal_queue` determines how many.
  * A vote, a promise, and the first use of a new ballot are sent when they are on disk (the barrier
    of `interface`). A proposal does not wait, since it promises nothing about the disk.

Its parts: the acceptor's state (`slot_log`), its durable form and recovery (`log_storage`),
catching up (`catch_up`), the election and Phase 1 (`paxos_election`), and the leader's parts
(`leadership`): heartbeats, lease, reads without the log, queue, tally of votes. This file is Phase
2. For quorums other than majorities see `flexible_paxos`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.catch_up import CatchingUp
from node_image.protocols.context import CANDIDATE, LEADER, Context
from node_image.protocols.interface import (
    Broadcast,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Send,
    Status,
    make,
)
from node_image.protocols.leadership import Leadership
from node_image.protocols.log_storage import LogStorage
from node_image.protocols.paxos_election import OwnBallot, PaxosElection
from node_image.protocols.reads import READ_MODES
from node_image.protocols.replica import Replica
from node_image.protocols.slot_log import SlotLog, Vote

COMMIT_DELAY_US: Final = 20_000
"""After this time a decision that no Accept has announced is sent as a separate message."""
WINDOW_SLOTS: Final = 4_096
"""How far ahead of the applied slot an acceptor keeps votes: this bounds its memory."""


class MultiPaxos(Replica):
    """One node of a Multi-Paxos cluster: proposer, acceptor and learner in one."""

    name: ClassVar[str] = "multi-paxos"
    transfers_leadership: ClassVar[bool] = True
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.Promised, Vote)
    read_modes: ClassVar[tuple[str, ...]] = READ_MODES

    leadership_type: ClassVar[type[Leadership]] = Leadership
    election_type: ClassVar[type[PaxosElection]] = PaxosElection

    on = MappingProxyType(
        {
            m.Probe: "_on_probe",
            m.ProbeGranted: "_on_probe_granted",
            m.Prepare: "_on_prepare",
            m.Promise: "_on_promise",
            m.Nack: "_on_nack",
            m.TimeoutNow: "_on_timeout_now",
            m.Accept: "_on_accept",
            m.Accepted: "_on_accepted",
            m.Commit: "_on_commit",
            m.Heartbeat: "_on_heartbeat",
            m.HeartbeatAck: "_on_heartbeat_ack",
            m.CatchUp: "_on_catch_up",
            m.Entries: "_on_entries",
            m.SnapshotOffer: "_on_snapshot_offer",
        }
    )
    timers = MappingProxyType(
        {
            "election": "_on_election_timer",
            "heartbeat": "_on_heartbeat_timer",
            "commit": "_on_commit_timer",
            "transfer": "_on_transfer_timer",
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.log = SlotLog()
        self.storage = LogStorage(context, self.log, self.clients)
        self.catch_up = CatchingUp(context, self.log, self.storage)
        self.own = OwnBallot(context, self.log)
        self.leadership = self.leadership_type(context, self.clients, self.log, self.own)
        self.election = self.election_type(
            context, self.log, self.own, self.leadership, self.catch_up
        )
        self.tally = self.leadership.tally
        self._announced = 0  # up to here decisions were sent to the others
        self._commit_timer_set = False

    # ------------------------------------------------------------------ starting, and clients

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self.storage.recover(disk)
        self.leadership.start(now_us, first_time=not disk)
        return out

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if self.leadership.take(command, now_us):
            self._propose_queued(now_us)
        return out

    def _propose_queued(self, now_us: int) -> None:
        """Propose queued commands, as long as another slot may be open."""
        queue, votes = self.leadership.queue, self.tally.votes
        if self.leadership.transfer.successor is not None:
            self._hand_over()
            return
        while queue.commands and (commands := queue.next_batch(len(votes), now_us)):
            self.clients.mark_proposed(commands)
            self._propose(self.log.last + 1, commands)

    def _hand_over(self) -> None:
        """Let the successor begin as soon as nothing is open, after sending it all decisions."""
        if self.leadership.is_ready_to_hand_over():
            out, successor = self._ctx.out, self.leadership.transfer.successor
            assert successor is not None, "a node waits for leadership"
            self._announced = self.log.applied
            out.append(Broadcast(m.Commit(self.own.ballot, self._announced), False))
            out.append(Send(successor, m.TimeoutNow(self.own.ballot), False))
            self.leadership.transfer.offered()

    def _on_transfer_timer(self, now_us: int) -> None:
        self.leadership.on_transfer_timer(now_us)
        self._propose_queued(now_us)

    # ------------------------------------------------------------------ election and Phase 1

    def _on_election_timer(self, now_us: int) -> None:
        self.election.on_election_timer(now_us)

    def _on_peer_lost(self, peer: NodeId, now_us: int) -> None:
        self.leadership.on_peer_lost(peer, now_us)

    def _on_peer_connected(self, peer: NodeId, now_us: int) -> None:
        self.leadership.on_peer_connected(now_us)

    def _on_probe(self, sender: NodeId, message: m.Probe, now_us: int) -> None:
        self.election.on_probe(sender, message, now_us)

    def _on_probe_granted(self, sender: NodeId, message: m.ProbeGranted, now_us: int) -> None:
        self.election.on_probe_granted(sender, message, now_us)

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        self.election.on_prepare(sender, message, now_us)

    def _on_timeout_now(self, sender: NodeId, message: m.TimeoutNow, now_us: int) -> None:
        self.election.on_timeout_now(sender, message, now_us)

    def _on_nack(self, sender: NodeId, message: m.Nack, now_us: int) -> None:
        self.election.on_nack(message, now_us)

    def _on_promise(self, sender: NodeId, message: m.Promise, now_us: int) -> None:
        if not self.election.on_promise(sender, message):
            return
        for decided in self.election.reported_decisions():
            self.catch_up.learn(decided)
        if self.election.is_won():
            self._lead(now_us)
        else:
            self.election.ask_best_informed(now_us)

    def _lead(self, now_us: int) -> None:
        """Phase 1 is complete: finish every open slot, then serve clients."""
        log, reported = self.log, self.election.open_slots()
        self._announced = log.applied
        self.leadership.begin(now_us)
        recovered = self.leadership.reads.recovered_slot = max(reported, default=log.applied)
        log.abandon(recovered)
        self._ctx.count("elections")
        self._ctx.note("leading", ballot=list(self.own.ballot), open=recovered - log.applied)
        for slot in range(log.applied + 1, recovered + 1):
            value = self.election.value_for(reported.get(slot, ()))
            if value is not None:
                self._propose(slot, value)
        self.leadership.begin_round(now_us)

    # ------------------------------------------------------------------ Phase 2: the proposer

    def _propose(self, slot: int, commands: tuple[Command, ...]) -> None:
        """Propose a value for a slot. The leader's own vote counts once it is on disk."""
        ctx, log, ballot = self._ctx, self.log, self.own.ballot
        applied = log.applied
        vote = Vote(ballot, slot, commands, applied)
        log.add(vote)
        self.tally.open(slot)
        self._announced = applied
        self._send_accept(m.Accept(ballot, slot, commands, applied))
        ctx.out.append(Persist(vote))
        ctx.out.append(Send(ctx.node, m.Accepted(ballot, slot, slot)))

    def _send_accept(self, accept: m.Accept) -> None:
        self._ctx.out.append(Broadcast(accept, False))

    def _on_accepted(self, sender: NodeId, message: m.Accepted, now_us: int) -> None:
        if self._ctx.role == LEADER and self.election.answers_my_ballot(message.ballot):
            self._count_votes(sender, message.first, message.upto, now_us)

    def _count_votes(self, sender: NodeId, first: int, upto: int, now_us: int) -> None:
        if not self.tally.votes:
            return  # not needed, which is common: the slot is decided already
        following = self.log.applied + 1
        self.tally.count(sender, first if first > following else following, upto)
        self._advance(now_us)

    def _advance(self, now_us: int) -> None:
        """Apply what is chosen, in order, and refill the pipeline."""
        log, tally = self.log, self.tally
        before = log.applied
        while tally.close_if_chosen(log.applied + 1):
            self.storage.apply(log.applied + 1)
        if log.applied == before:
            return
        self.storage.checkpoint_if_due()
        self._propose_queued(now_us)
        if before < self.leadership.reads.recovered_slot:
            self.leadership.reads.serve(now_us)
        if log.applied > self._announced and not self._commit_timer_set:
            self._commit_timer_set = True
            self._ctx.set_timer("commit", COMMIT_DELAY_US)

    def _on_commit_timer(self, now_us: int) -> None:
        self._commit_timer_set = False
        if self._ctx.role == LEADER and self.log.applied > self._announced:
            self._announced = self.log.applied
            self._ctx.out.append(Broadcast(m.Commit(self.own.ballot, self._announced), False))

    # ------------------------------------------------------------------ Phase 2: the acceptor

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        ballot, slot, commands, commit = message
        if not self.election.recognise_leader(sender, ballot, now_us):
            return
        log = self.log
        first, applied = log.prefix + 1, log.applied
        if applied < slot <= applied + WINDOW_SLOTS:
            held = log.entries.get(slot)
            if held is None or held.ballot != ballot:
                self._vote(make(Vote, (ballot, slot, commands, applied)))
        if self._acknowledges() and self._covers(slot):
            upto = log.prefix
            covered = first if first < slot else slot, upto if upto > slot else slot
            self._ctx.out.append(make(Send, (sender, make(m.Accepted, (ballot, *covered)), True)))
        if applied < commit:
            self.storage.commit_to(commit)

    def _vote(self, vote: Vote) -> None:
        """Vote, durably. A learner only stores the value until it learns that it is decided."""
        self.log.add(vote)
        if not self._ctx.is_learner:
            self._ctx.out.append(make(Persist, (vote,)))

    def _acknowledges(self) -> bool:
        """Learners follow the log and do not vote."""
        return not self._ctx.is_learner

    def _covers(self, slot: int) -> bool:
        """Whether this acceptor has voted for every slot up to this one. It must not acknowledge
        anything after a hole."""
        return slot <= self.log.prefix

    def _on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        if self.election.recognise_leader(sender, message.ballot, now_us):
            self.storage.commit_to(message.commit)

    # ------------------------------------------------------------------ heartbeats

    def _on_heartbeat_timer(self, now_us: int) -> None:
        self.leadership.on_heartbeat_timer(now_us)

    def _on_heartbeat(self, sender: NodeId, message: m.Heartbeat, now_us: int) -> None:
        ballot, commit, _, stamp = message
        if not self.election.recognise_leader(sender, ballot, now_us):
            return
        self.leadership.timing.heartbeat(ballot, now_us)
        self.storage.commit_to(commit)
        if self._acknowledges():
            self.leadership.lease.grant(sender, now_us)
            self._ctx.send(sender, m.HeartbeatAck(ballot, stamp, self._voted_to()))
        if self.log.applied < commit:
            self.catch_up.ask(sender, now_us)

    def _voted_to(self) -> int:
        """Up to here this acceptor has votes in the promised ballot, without a hole."""
        return self.log.prefix

    def _on_heartbeat_ack(self, sender: NodeId, message: m.HeartbeatAck, now_us: int) -> None:
        """An acknowledged round also acknowledges all votes so far: resend what was lost."""
        ballot, stamp, upto = message
        if self._ctx.role != LEADER or not self.election.answers_my_ballot(ballot):
            return
        round_ = self.leadership.heartbeats.round(stamp)
        self.leadership.reads.acknowledged(sender, stamp, now_us)
        if upto > self.log.applied:
            self._count_votes(sender, self.log.applied + 1, upto, now_us)
        if round_ is not None and upto < round_.last:
            self._resend(sender, upto, round_.last)

    def _resend(self, to: NodeId, upto: int, last: int) -> None:
        """Resend the open proposals that an acceptor lacks; it asks for decided slots itself."""
        log = self.log
        first = max(upto, log.applied) + 1
        for vote in log.held(first, min(last, first + self._ctx.config.pipeline_max)):
            accept = m.Accept(self.own.ballot, vote.slot, vote.commands, log.applied)
            self._ctx.out.append(Send(to, accept, False))

    # ------------------------------------------------------------------ catching up

    def _on_catch_up(self, sender: NodeId, message: m.CatchUp, now_us: int) -> None:
        self.catch_up.on_catch_up(sender, message)

    def _on_entries(self, sender: NodeId, message: m.Entries, now_us: int) -> None:
        if self._ctx.role == LEADER:
            return  # late: a leader learns decisions only by counting votes
        self.catch_up.on_entries(sender, message, now_us)
        if self.election.is_won():
            self._lead(now_us)

    def _on_snapshot_offer(self, sender: NodeId, message: m.SnapshotOffer, now_us: int) -> None:
        if self._ctx.role != LEADER:
            self.catch_up.on_snapshot_offer(sender, message)
        if self.election.is_won():
            self._lead(now_us)

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        """This node's role and its view of the cluster."""
        ctx, applied = self._ctx, self.log.applied
        ballot = self.own.ballot if ctx.role in (LEADER, CANDIDATE) else self.log.promised
        return Status(ctx.role, ctx.leader, tuple(ballot), applied, applied)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The decided slots that are still held, from `start` on."""
        return self.storage.decided_log(start)
