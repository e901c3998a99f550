"""Fast Paxos: values go directly from any node to the acceptors; the coordinator resolves
conflicts.

Lamport, "Fast Paxos" (2006). In Multi-Paxos a command travels from the node that a client asked to
the leader, to the acceptors, and back. In a *fast* round the leader, here the *coordinator*, is
bypassed: it tells the acceptors once to vote for whichever value arrives first (`Any`), and from
then on every node sends its clients' values directly to all acceptors. That takes two message
delays instead of three, but two proposers may compete for one slot, and split the votes.

A ballot belongs to a coordinator, as in Multi-Paxos, with one Phase 1 for all open slots. In a
ballot every slot has two consecutive rounds:

    fast      in the slots that `Any` has opened: an acceptor votes once, for the first value that
              it receives from any node; a *fast* quorum (three quarters of all) chooses
    classic   the coordinator proposes one value; a majority chooses

An acceptor never votes in the fast round of a slot after the classic one. Slots before the first
that `Any` opened have classic rounds only: there the coordinator proposes as in Multi-Paxos.

What a coordinator may propose depends on what may have been chosen. Let the votes of a majority be
known, and let k be the highest round among them. If k is classic, only its value may have been
chosen. If k is fast, several values may have votes in k. A value v may have been chosen only if
some fast quorum R could have voted for it, that is, if all members of R that answered voted for v
(observation O4 of the paper). This holds if the votes for v, and the acceptors that did not answer,
together form a fast quorum. Any two fast quorums and a majority share an acceptor, so at most one
value passes this test: the coordinator proposes that one, or any value if there is none.

  * **Collisions.** The coordinator receives the fast votes. When no value can reach a fast quorum
    any more, it starts the slot's classic round at once, without a new Phase 1: the fast votes of a
    majority contain what promises would report (*coordinated recovery*). The losing values are
    proposed again in later slots, by the nodes whose clients wait for them. A command that is
    decided in two slots is applied once, because of its session.
  * **Losses.** A slot that is not decided for a while is recovered in the same way, or the
    coordinator proposes in it: a value that it has seen, or a no-op.
  * **Fallback.** Under contention, or if too few acceptors answer for a fast quorum, the
    coordinator takes a new ballot and keeps its fast rounds closed for a while. Then nodes forward
    commands to the coordinator, which proposes them as in Multi-Paxos.
  * **Learning.** Fast votes are sent to the coordinator and to the proposer, which learns its own
    value after two delays. All others learn decisions from the coordinator, together with the
    values, since their own fast vote may have been for another value (`learned_values`).
  * Reads go through the log. A value may be decided, and its client answered, before the
    coordinator learns of it, so confirming its leadership does not make its state current.

Compare `multi_paxos`. The acceptor's state, elections and Phase 1, the leader's parts and catching
up are the same. The differences are the acceptor's votes (`fast_paxos_acceptor`), what a new
coordinator may propose (`fast_paxos_election`), who proposes (`fast_paxos_proposer`), and when fast
rounds are open (`fast_paxos_mode`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from node_image.protocols import fast_paxos_messages as f
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.catch_up import CatchingUp
from node_image.protocols.clients import refusal
from node_image.protocols.context import CANDIDATE, LEADER, Context
from node_image.protocols.fast_paxos_acceptor import FastAcceptor, FastPaxosStorage
from node_image.protocols.fast_paxos_election import CoordinatorBallot, FastPaxosElection
from node_image.protocols.fast_paxos_mode import FastMode
from node_image.protocols.fast_paxos_proposer import FastLeadership, FastProposer
from node_image.protocols.fast_paxos_rounds import (
    FastSlots,
    FastTally,
    Value,
    classic_round,
    fast_round,
)
from node_image.protocols.interface import (
    NOOP,
    TRANSFER,
    Broadcast,
    ClusterConfig,
    Command,
    Decided,
    Effect,
    NodeId,
    Status,
)
from node_image.protocols.learned_values import LearnedValues
from node_image.protocols.quorums import FastMajority
from node_image.protocols.replica import Replica
from node_image.protocols.slot_log import SlotLog, Vote

NUDGE_US_MIN: Final = 20_000
NUDGE_SLOTS: Final = 64


class FastPaxos(Replica):
    """One node of a Fast Paxos cluster: proposer, acceptor, learner, and possibly coordinator."""

    name: ClassVar[str] = "fast-paxos"
    transfers_leadership: ClassVar[bool] = True
    messages: ClassVar[tuple[type, ...]] = f.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.Promised, Vote)

    leadership_type: ClassVar[type[FastLeadership]] = FastLeadership
    election_type: ClassVar[type[FastPaxosElection]] = FastPaxosElection
    slots_type: ClassVar[type[FastSlots]] = FastSlots
    acceptor_type: ClassVar[type[FastAcceptor]] = FastAcceptor

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
            m.Heartbeat: "_on_heartbeat",
            m.HeartbeatAck: "_on_heartbeat_ack",
            m.CatchUp: "_on_catch_up",
            m.Entries: "_on_entries",
            m.SnapshotOffer: "_on_snapshot_offer",
            f.Any: "_on_any",
            f.Propose: "_on_propose",
            f.FastAccepted: "_on_fast_accepted",
            f.Forward: "_on_forward",
        }
    )
    timers = MappingProxyType(
        {
            "election": "_on_election_timer",
            "heartbeat": "_on_heartbeat_timer",
            "nudge": "_on_nudge_timer",
            "retry": "_on_retry_timer",
            "transfer": "_on_transfer_timer",
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.quorums, FastMajority)
        self.quorums = context.quorums
        self.log = SlotLog()
        self.storage = FastPaxosStorage(context, self.log, self.clients)
        self.catch_up = CatchingUp(context, self.log, self.storage)
        self.learned = LearnedValues(context, self.log, self.storage, self.catch_up)
        self.slots = self.slots_type(context, self.log)
        self.own = CoordinatorBallot(context, self.log, self.slots)
        self.leadership = self.leadership_type(context, self.clients, self.log, self.own)
        self.election = self.election_type(
            context, self.log, self.own, self.leadership, self.catch_up
        )
        self.tally = self.leadership.tally
        self.acceptor = self.acceptor_type(context, self.log, self.slots)
        self.proposer = FastProposer(
            context, self.log, self.clients, self.slots, self.acceptor, self.leadership
        )
        self.mode = FastMode(
            context, self.log, self.slots, self.own, self.leadership, self.election
        )
        self._announced = 0  # up to here decisions were sent to the others
        self._nudged_to = 0
        self._nudge_us = NUDGE_US_MIN

    @staticmethod
    def quorum_system(config: ClusterConfig) -> FastMajority:
        return FastMajority(config.voters)

    # ------------------------------------------------------------------ starting, and clients

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self.storage.recover(disk)
        self.leadership.start(now_us, first_time=not disk)
        return out

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if self._ctx.is_learner:
            self._ctx.answer(command, refusal(self._ctx.leader))
        elif command.f == TRANSFER:
            if self.leadership.take(command, now_us):
                self._hand_over()
        elif self.proposer.take(command, now_us):
            self._propose_queued(now_us)
        return out

    def _propose_queued(self, now_us: int) -> None:
        """Propose queued commands: in fast rounds if these are open, else by the coordinator."""
        self.proposer.enter_ballot()
        queue = self.leadership.queue
        if not queue.commands:
            return
        if self.slots.is_open(self.log.promised, self.slots.next()):
            self.proposer.propose_fast()
        elif self._ctx.role == LEADER:
            while commands := queue.next_batch(len(self.tally.votes), now_us):
                self.clients.mark_proposed(commands)
                self._propose(self.log.last + 1, commands)
        elif self._ctx.leader is not None:
            self.proposer.forward(self._ctx.leader)

    def _hand_over(self) -> None:
        """Let the successor begin at once: there are always open slots, and its Phase 1 completes
        them; commands are queued at the nodes whose clients sent them."""
        successor = self.leadership.transfer.successor
        if successor is not None:
            self._ctx.send(successor, m.TimeoutNow(self.own.ballot), False)
            self.leadership.transfer.offered()

    def _on_transfer_timer(self, now_us: int) -> None:
        self.leadership.on_transfer_timer(now_us)

    def _on_forward(self, sender: NodeId, message: f.Forward, now_us: int) -> None:
        if self.proposer.on_forward(message, now_us):
            self._propose_queued(now_us)

    def _on_retry_timer(self, now_us: int) -> None:
        self.proposer.repeat(now_us)
        self._propose_queued(now_us)
        self.proposer.repeat_later()

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
            self.learned.learn(decided)
        self._caught_up(now_us)
        if self.election.is_catching_up():
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
        self.slots.used = log.last
        self.mode.contention = self._nudged_to = 0
        self._ctx.set_timer("nudge", self._nudge_us)
        self._propose_queued(now_us)

    # ------------------------------------------------------------------ the fast round: acceptor

    def _on_any(self, sender: NodeId, message: f.Any, now_us: int) -> None:
        if (
            self.election.recognise_leader(sender, message.ballot, now_us)
            and message != self.slots.any
        ):
            self.slots.any = message
            self.slots.used = message.first - 1
            self._propose_queued(now_us)

    def _on_propose(self, sender: NodeId, message: f.Propose, now_us: int) -> None:
        ballot, slot, value = message
        if self._ctx.is_learner:
            return
        if self.learned.is_settled(slot):
            self.learned.send_decided(sender, slot)
        elif self.learned.is_in_window(slot) and self.slots.is_open(ballot, slot):
            self.acceptor.consider(sender, ballot, slot, value)

    # ------------------------------------------------------------------ the fast round: counting

    def _on_fast_accepted(self, sender: NodeId, message: f.FastAccepted, now_us: int) -> None:
        ballot, slot, value = message
        self.proposer.enter_ballot()
        if self.learned.is_settled(slot) or not self.election.answers_my_ballot(ballot):
            return
        leads = self._ctx.role == LEADER
        if not leads and slot not in self.slots.in_flight:
            return
        self.slots.use(slot)
        tally = self.slots.tallies.setdefault(slot, FastTally())
        votes = tally.add(self.quorums, sender, value)
        if self.quorums.fast(votes):
            self.learned.learn((Vote(fast_round(ballot), slot, value, self.log.applied),))
            self._caught_up(now_us)
        elif leads and not tally.may_be_chosen(self.quorums):
            self._recover_slot(slot, tally)

    def _recover_slot(self, slot: int, tally: FastTally) -> None:
        """Start the slot's classic round. The fast votes of a majority serve as promises; with
        fewer a fast quorum could be missed."""
        if slot in self.tally.votes or not self._has_enough_votes(tally):
            return
        self._ctx.count("recoveries")
        counted = [(value, self.quorums.count(votes)) for value, votes in tally.values]
        self._propose(slot, self.election.pick(counted, self.quorums.count(tally.heard)))

    def _has_enough_votes(self, tally: FastTally) -> bool:
        return self.quorums.phase1(tally.heard)

    # ------------------------------------------------------------------ the classic round

    def _propose(self, slot: int, commands: Value) -> None:
        """Propose the coordinator's value for a slot, in its classic round."""
        ballot, applied = self.own.ballot, self.log.applied
        self._ctx.count("proposals.classic")
        self.slots.use(slot)
        self.tally.open(slot)
        self._ctx.broadcast(m.Accept(ballot, slot, commands, applied), False)
        self.acceptor.vote(Vote(classic_round(ballot), slot, commands, applied))
        self._ctx.send(self._ctx.node, m.Accepted(ballot, slot, slot))

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        ballot, slot, commands, _ = message
        if not self.election.recognise_leader(sender, ballot, now_us) or self._ctx.is_learner:
            return
        self.slots.use(slot)
        if self.learned.is_settled(slot):
            self.learned.send_decided(sender, slot)
        elif self.learned.is_in_window(slot):
            held, round_ = self.log.entries.get(slot), classic_round(ballot)
            if self.acceptor.may_vote(held, round_):
                self.acceptor.vote(Vote(round_, slot, commands, self.log.applied))
            self._ctx.send(sender, m.Accepted(ballot, slot, slot))

    def _on_accepted(self, sender: NodeId, message: m.Accepted, now_us: int) -> None:
        if self._ctx.role == LEADER and self.election.answers_my_ballot(message.ballot):
            self._count_vote(sender, message.first, now_us)

    def _count_vote(self, sender: NodeId, slot: int, now_us: int) -> None:
        tally = self.tally
        if slot not in tally.votes or self.learned.is_settled(slot):
            return
        tally.count(sender, slot, slot)
        if tally.is_chosen(tally.votes[slot]):
            self.learned.learn((self.log.entries[slot],))
            self._caught_up(now_us)

    # ------------------------------------------------------------------ learning

    def _caught_up(self, now_us: int) -> None:
        """Slots may have been decided: announce them, and propose losing values again."""
        if self.election.is_won():
            self._lead(now_us)
        slots, applied = self.slots, self.log.applied
        if self._ctx.role == LEADER and self._announced < applied:
            self._announce(applied)
        for slot in [s for s in slots.in_flight if s <= applied]:
            self.proposer.queue_again(slots.in_flight.pop(slot))
        for slot in [s for s in slots.tallies if s <= applied]:
            del slots.tallies[slot]
        self._propose_queued(now_us)

    def _announce(self, applied: int) -> None:
        """Send the decided values to all nodes, and count the paths on which they were decided."""
        entries = tuple(self.log.held(self._announced + 1, applied))
        self._announced = applied
        self._ctx.out.append(Broadcast(m.Entries(applied, entries), False))
        for vote in entries:
            path = "fast" if vote.slot not in self.tally.votes else "classic"
            self._ctx.count(f"path.{path}")
            tally = self.slots.tallies.get(vote.slot)
            if tally is not None:
                self.mode.measure(tally)
        # This includes slots that are not announced because a snapshot already covers them: four
        # slots that count as open would block the queue.
        for slot in [slot for slot in self.tally.votes if slot <= applied]:
            del self.tally.votes[slot]

    def _on_catch_up(self, sender: NodeId, message: m.CatchUp, now_us: int) -> None:
        self.catch_up.on_catch_up(sender, message)

    def _on_entries(self, sender: NodeId, message: m.Entries, now_us: int) -> None:
        self.learned.on_entries(sender, message, now_us)
        self._caught_up(now_us)

    def _on_snapshot_offer(self, sender: NodeId, message: m.SnapshotOffer, now_us: int) -> None:
        if self._ctx.role != LEADER:
            self.learned.on_snapshot_offer(sender, message)
        self._caught_up(now_us)

    # ------------------------------------------------------------------ heartbeats

    def _on_heartbeat(self, sender: NodeId, message: m.Heartbeat, now_us: int) -> None:
        ballot, commit, _, stamp = message
        if not self.election.recognise_leader(sender, ballot, now_us):
            return
        self.leadership.timing.heartbeat(ballot, now_us)
        self._apply_commit_index(commit)
        if not self._ctx.is_learner:
            self._ctx.send(sender, m.HeartbeatAck(ballot, stamp, self._voted_to()))
        if self.log.applied < commit:
            self.catch_up.ask(sender, now_us)

    def _apply_commit_index(self, commit: int) -> None:
        """Ignored: the commit index does not confirm this node's fast votes. Wait for values."""

    def _voted_to(self) -> int:
        """Up to here this acceptor has only classic votes of the current ballot. Reporting them
        replaces lost Accepted messages; a fast vote may have been for another value."""
        entries, slot = self.log.entries, self.log.applied
        round_ = classic_round(self.log.promised)
        while (vote := entries.get(slot + 1)) is not None and vote.ballot == round_:
            slot += 1
        return slot

    def _on_heartbeat_ack(self, sender: NodeId, message: m.HeartbeatAck, now_us: int) -> None:
        if self._ctx.role != LEADER or not self.election.answers_my_ballot(message.ballot):
            return
        round_ = self.leadership.heartbeats.round(message.stamp)
        if round_ is not None and sender != self._ctx.node:
            trip_us = now_us - round_.sent_us
            self._nudge_us = max(NUDGE_US_MIN, (3 * self._nudge_us + 4 * trip_us) // 4)
        self.leadership.reads.acknowledged(sender, message.stamp, now_us)
        for slot in range(self.log.applied + 1, message.upto + 1):
            self._count_vote(sender, slot, now_us)
        if not self.mode.is_open() and self.mode.may_open(now_us):
            self.mode.open()
            self._propose_queued(now_us)

    def _on_heartbeat_timer(self, now_us: int) -> None:
        self.leadership.on_heartbeat_timer(now_us)
        self.proposer.forget_forwarded(now_us)
        if self._ctx.role == LEADER and self.mode.is_open() and self.mode.should_close():
            self.mode.close(now_us)

    # ------------------------------------------------------------------ the coordinator: retries

    def _on_nudge_timer(self, now_us: int) -> None:
        """Retry slots that were open when the timer last fired, and still are."""
        if self._ctx.role != LEADER:
            return
        self.proposer.enter_ballot()
        applied = self.log.applied
        for slot in range(applied + 1, min(self._nudged_to, applied + NUDGE_SLOTS) + 1):
            if not self.learned.is_settled(slot):
                self._nudge(slot)
        self._nudged_to = max(self.slots.used, self.log.last)
        self._ctx.set_timer("nudge", self._nudge_us)

    def _nudge(self, slot: int) -> None:
        tally, ballot = self.slots.tallies.get(slot), self.own.ballot
        if slot in self.tally.votes:
            vote = self.log.entries[slot]
            self._ctx.broadcast(m.Accept(ballot, slot, vote.commands, self.log.applied), False)
        elif not self.slots.is_open(ballot, slot):
            return
        elif tally is not None and self._has_enough_votes(tally):
            self._recover_slot(slot, tally)
        else:
            wanted = max(tally.values, key=lambda v: self.quorums.count(v[1]))[0] if tally else None
            self.proposer.propose_to_all(slot, wanted or (NOOP,))

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        """This node's role and its view of the cluster."""
        ctx, applied = self._ctx, self.log.applied
        ballot = self.own.ballot if ctx.role in (LEADER, CANDIDATE) else self.log.promised
        return Status(ctx.role, ctx.leader, tuple(ballot), applied, applied)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The decided slots that are still held, from `start` on."""
        return self.storage.decided_log(start)
