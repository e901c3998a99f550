"""Multi-Paxos: one decided command after the other, from a chain of Paxos instances.

The setting (Lamport, "The Part-Time Parliament", 1998; "Paxos Made Simple", 2001). Every slot of a
log is decided by its own instance of Paxos. Nodes have three roles:

    acceptor   remembers, on disk, the highest ballot it has promised, and for each slot its last
               vote: a ballot and a value
    proposer   owns ballots (see `ballots`), and in one ballot proposes one value a slot
    learner    finds out what is decided, and applies it in the order of slots

A value is *chosen* for a slot when a Phase 2 quorum of acceptors has voted for it in one ballot.
Everything follows from keeping one invariant: **when a value is proposed in ballot b for a slot,
no other value is or ever will be chosen for that slot in a ballot below b.** Two phases keep it:

    Phase 1   the proposer asks the acceptors to promise ballot b, that is, to refuse all below it,
              and to report their votes. With promises from a Phase 1 quorum, nothing below b can be
              chosen any more without the proposer knowing: the quorums share an acceptor, which has
              either voted before it promised, and reported that, or never will.
    Phase 2   the proposer proposes, for each slot, the reported vote of the highest ballot; where
              none was reported it is free, and proposes what its clients want.

What makes it *Multi*-Paxos: Phase 1 runs once, for all slots that are not yet decided, and holds
until somebody else's Phase 1 does (`Prepare.first` to infinity). While a leader lasts, a command
costs one round trip. The rest is engineering, and each piece of it can be got wrong:

  * Slots are proposed in parallel, so a dead leader may leave holes: a new leader fills those with
    no-ops, because nothing after a hole can be applied.
  * Acceptors that have decided a slot report it as decided, or, when it is in their snapshot, say
    how far they are; the new leader catches up before it proposes. Silence would look like
    "no vote", and a decided slot would be given to somebody else.
  * Acceptors acknowledge up to the first hole, never past it: an acknowledgement stands for every
    slot that it covers. A lost one is made good by the answers to heartbeats.
  * A slot holds a tuple of commands: `batches` says how many.
  * A vote, a promise, or a proposer's use of a new ballot leaves the node when it is on disk: that
    is the barrier of `interface`. A proposal does not wait: it promises nothing about that disk.

Leader election, heartbeats, and reads that avoid the log: `paxos_election`. Recovery, snapshots and
catching up: `log_replica`. Sizes other than majorities: `flexible_paxos`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

from node_image.protocols import paxos_messages as m
from node_image.protocols.batches import next_batch
from node_image.protocols.interface import (
    NOOP,
    Broadcast,
    ClusterConfig,
    Command,
    NodeId,
    Persist,
    Randomness,
    Send,
    StateMachine,
    make,
)
from node_image.protocols.paxos_election import PaxosElection
from node_image.protocols.quorums import NOBODY
from node_image.protocols.replica import CANDIDATE, LEADER
from node_image.protocols.slot_log import Vote

COMMIT_DELAY_US: Final = 20_000
"""A decision that no Accept has carried to the others by then gets a message of its own."""
WINDOW_SLOTS: Final = 4_096
"""An acceptor keeps no vote further ahead of what it has applied: its memory is bounded."""

PREPARING: Final = "preparing"
CATCHING_UP: Final = "catching-up"
IDLE: Final = "idle"


class MultiPaxos(PaxosElection):
    """One node of a Multi-Paxos cluster: proposer, acceptor and learner in one."""

    name: ClassVar[str] = "multi-paxos"
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.Promised, Vote)

    on = MappingProxyType(
        {
            m.Probe: "_on_probe",
            m.ProbeGranted: "_on_probe_granted",
            m.Prepare: "_on_prepare",
            m.Promise: "_on_promise",
            m.Nack: "_on_nack",
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
        }
    )

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._phase = IDLE
        self._promises: dict[NodeId, m.Promise] = {}
        self._promised_by = NOBODY
        self._recovered_slot = 0
        self._announced = 0
        self._commit_timer_set = False

    # ------------------------------------------------------------------ clients

    def _open_slots(self, now_us: int) -> None:
        """Give queued commands slots, as many as may be open at a time."""
        queue = self._queue
        while queue and (batch := next_batch(queue, len(self._tallies), self.config)):
            if wanted := self._wanted(batch, now_us):
                self._mark_proposed(wanted)
                self._propose(self._log.last + 1, wanted)

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        super()._step_down(why, now_us, leader)
        self._phase = IDLE

    # ------------------------------------------------------------------ Phase 1: the proposer

    def _begin_phase1(self, now_us: int) -> None:
        """Promise the new ballot to oneself, and ask everybody else to.

        The Prepare waits until that promise is durable: after a crash the node must not use this
        ballot a second time.
        """
        if self._lease_forbids(self.node, now_us):
            return
        self._phase = PREPARING
        self._promises = {}
        self._promised_by = NOBODY
        self._promised = self.ballot
        self._see_round(self.ballot)
        self._begin_candidacy(now_us)
        self._count("ballots")
        self._note("election", ballot=list(self.ballot), first=self._log.applied + 1)
        self._out.append(Persist(m.Promised(self.ballot)))
        self._ask_for_promises()

    def _ask_for_promises(self) -> None:
        first = self._log.applied + 1
        self._out.append(Broadcast(m.Prepare(self.ballot, first)))
        self._send(self.node, self._report(first))

    def _continue_candidacy(self, now_us: int) -> bool:
        if self._phase == IDLE:
            return False
        if now_us >= self._give_up_us:
            self._phase = IDLE
            return False
        if self._phase == PREPARING:
            self._ask_for_promises()
        else:
            self._ask_catch_up(self._best_informed(), now_us)
        self._set_timer("election", self.config.heartbeat_us, 2 * self.config.heartbeat_us)
        return True

    def _on_promise(self, sender: NodeId, message: m.Promise, now_us: int) -> None:
        if self._phase != PREPARING or not self._answers_my_ballot(message.ballot):
            return
        self._promises[sender] = message
        self._promised_by = self.quorums.vote(self._promised_by, sender)
        if self.quorums.phase1(self._promised_by):
            self._learn_from_promises(now_us)

    def _answers_my_ballot(self, ballot: tuple[int, ...]) -> bool:
        """Replies to an earlier ballot say nothing about this one."""
        return ballot == self.ballot

    def _learn_from_promises(self, now_us: int) -> None:
        """A quorum has promised. Learn what any of them knows to be decided; then lead."""
        for promise in self._promises.values():
            self._learn([vote for vote in promise.entries if vote.slot <= promise.upto])
        self._phase = CATCHING_UP
        self._caught_up(now_us)
        if self._phase == CATCHING_UP:
            self._ask_catch_up(self._best_informed(), now_us)

    def _best_informed(self) -> NodeId:
        return max(self._promises, key=lambda node: self._promises[node].upto)

    def _caught_up(self, now_us: int) -> None:
        if self._phase == CATCHING_UP:
            upto = self._promises[self._best_informed()].upto
            if self._log.applied >= upto:
                self._lead(now_us)

    def _lead(self, now_us: int) -> None:
        """Phase 1 is done: bring every open slot to its end, and then serve clients."""
        log = self._log
        self.role = LEADER
        self.leader = self.node
        self._phase = IDLE
        self._announced = log.applied
        self._reset_rounds(now_us)
        self._tallies.clear()
        reported = self._reported_votes()
        self._recovered_slot = max(reported, default=log.applied)
        log.abandon(self._recovered_slot)
        self._count("elections")
        self._note("leading", ballot=list(self.ballot), open=self._recovered_slot - log.applied)
        for slot in range(log.applied + 1, self._recovered_slot + 1):
            self._finish_slot(slot, reported.get(slot, ()))
        self._begin_round(now_us)
        self._set_timer("heartbeat", self.config.heartbeat_us)

    def _reported_votes(self) -> dict[int, list[Vote]]:
        """By slot, the votes that the promises reported for slots that are still open."""
        reported: dict[int, list[Vote]] = {}
        for promise in self._promises.values():
            for vote in promise.entries:
                if vote.slot > self._log.applied:
                    reported.setdefault(vote.slot, []).append(vote)
        self._promises = {}
        return reported

    def _finish_slot(self, slot: int, votes: Sequence[Vote]) -> None:
        """Propose what may have been chosen for a slot; if that is nothing, close the hole."""
        if votes:
            self._propose(slot, self._may_be_chosen(votes).commands)
        else:
            self._fill_hole(slot)

    def _may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        """The only value that may have been chosen: the vote of the highest ballot."""
        return max(votes, key=lambda vote: vote.ballot)

    def _fill_hole(self, slot: int) -> None:
        self._propose(slot, (NOOP,))

    def _has_recovered(self) -> bool:
        return self._log.applied >= self._recovered_slot

    # ------------------------------------------------------------------ Phase 1: the acceptor

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        ballot = message.ballot
        if self._is_learner or self._lease_forbids(sender, now_us):
            return
        if ballot < self._promised:
            self._send(sender, m.Nack(ballot, self._promised), False)
            return
        if ballot > self._promised:
            if self.role in (LEADER, CANDIDATE):
                self._step_down("promised a higher ballot", now_us)
            self._promised = ballot
            self._see_round(ballot)
            self._out.append(Persist(m.Promised(ballot)))
            self._make_way(now_us)
        self.leader = None
        self._send(sender, self._report(message.first))

    def _report(self, first: int) -> m.Promise:
        """The promise, with what is decided, and the votes for what is not."""
        log = self._log
        few = first > log.base and log.applied - first < WINDOW_SLOTS // 16
        start = first if few else log.applied + 1
        return m.Promise(self._promised, log.applied, tuple(log.held(start, log.last)))

    # ------------------------------------------------------------------ Phase 2: the proposer

    def _propose(self, slot: int, commands: tuple[Command, ...]) -> None:
        """Propose a value for a slot, and vote for it oneself, once that vote is on disk."""
        log, ballot, applied = self._log, self.ballot, self._log.applied
        vote = Vote(ballot, slot, commands, applied)
        log.add(vote)
        self._tallies[slot] = NOBODY
        self._announced = applied
        self._send_accept(m.Accept(ballot, slot, commands, applied))
        self._out.append(Persist(vote))
        self._out.append(Send(self.node, m.Accepted(ballot, slot, slot)))

    def _send_accept(self, accept: m.Accept) -> None:
        self._out.append(Broadcast(accept, False))

    def _on_accepted(self, sender: NodeId, message: m.Accepted, now_us: int) -> None:
        if self.role == LEADER and self._answers_my_ballot(message.ballot):
            self._count_votes(sender, message.first, message.upto, now_us)

    def _count_votes(self, sender: NodeId, first: int, upto: int, now_us: int) -> None:
        tallies = self._tallies
        if not tallies:
            return  # a vote more than was needed: as common as one that is
        vote, following = self.quorums.vote, self._log.applied + 1
        for slot in range(first if first > following else following, upto + 1):
            if slot in tallies:
                tallies[slot] = vote(tallies[slot], sender)
        if following in tallies and self._is_chosen(tallies[following]):
            self._advance(now_us)

    def _advance(self, now_us: int) -> None:
        """Apply what is chosen, in order, and use the room in the pipeline."""
        log, tallies = self._log, self._tallies
        before = log.applied
        while (votes := tallies.get(log.applied + 1)) is not None and self._is_chosen(votes):
            del tallies[log.applied + 1]
            self._apply(log.applied + 1)
        if log.applied == before:
            return
        self._checkpoint_if_due()
        self._open_slots(now_us)
        if before < self._recovered_slot:
            self._serve_reads(now_us)
        if log.applied > self._announced and not self._commit_timer_set:
            self._commit_timer_set = True
            self._set_timer("commit", COMMIT_DELAY_US)

    def _is_chosen(self, votes: int) -> bool:
        return self.quorums.phase2(votes)

    def _on_commit_timer(self, now_us: int) -> None:
        self._commit_timer_set = False
        if self.role == LEADER and self._log.applied > self._announced:
            self._announced = self._log.applied
            self._out.append(Broadcast(m.Commit(self.ballot, self._announced), False))

    def _on_heartbeat_ack(self, sender: NodeId, message: m.HeartbeatAck, now_us: int) -> None:
        """A round is acknowledged, and with it all votes so far: make good what was lost."""
        if self.role != LEADER or not self._answers_my_ballot(message.ballot):
            return
        round_ = self._rounds.get(message.stamp)
        self._acknowledged_round(sender, message.stamp, now_us)
        if message.upto > self._log.applied:
            self._count_votes(sender, self._log.applied + 1, message.upto, now_us)
        if round_ is not None and message.upto < round_.last:
            self._resend(sender, message.upto, round_.last)

    def _resend(self, to: NodeId, upto: int, last: int) -> None:
        """Send the open proposals again that an acceptor lacks; decided ones it asks for."""
        log = self._log
        first = max(upto, log.applied) + 1
        for vote in log.held(first, min(last, first + self.config.pipeline_max)):
            accept = m.Accept(self.ballot, vote.slot, vote.commands, log.applied)
            self._out.append(Send(to, accept, False))

    # ------------------------------------------------------------------ Phase 2: the acceptor

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        ballot, slot, commands, commit = message
        if not self._hear(sender, ballot, now_us):
            return
        log = self._log
        first, applied = log.prefix + 1, log.applied
        if applied < slot <= applied + WINDOW_SLOTS:
            held = log.entries.get(slot)
            if held is None or held.ballot != ballot:
                self._vote(make(Vote, (ballot, slot, commands, applied)))
        if self._acknowledges() and self._covers(slot):
            upto = log.prefix
            covered = first if first < slot else slot, upto if upto > slot else slot
            self._out.append(make(Send, (sender, make(m.Accepted, (ballot, *covered)), True)))
        if applied < commit:
            self._commit_to(commit)

    def _vote(self, vote: Vote) -> None:
        """Vote, durably. A learner only keeps the value, until it hears that it is decided."""
        log = self._log
        log.add(vote)
        if not self._is_learner:
            self._out.append(make(Persist, (vote,)))

    def _covers(self, slot: int) -> bool:
        """Whether every slot up to this one has this acceptor's vote: never speak past a hole."""
        return slot <= self._log.prefix

    def _on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        if self._hear(sender, message.ballot, now_us):
            self._commit_to(message.commit)
