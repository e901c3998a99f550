"""Basic Paxos: one instance per slot, each with both phases, and no leader.

The single-decree synod (Lamport, "The Part-Time Parliament", 1998; "Paxos Made Simple", 2001). One
instance decides one value. Here every slot of the log has its own instance, and the replicated
state machine applies the values in the order of slots. Nodes have three roles:

    acceptor   remembers, on disk and for each slot, the highest ballot that it has promised, and
               its last vote: a ballot and a value
    proposer   any node with a client's command, for the first slot that it does not know to be
               decided; several nodes may propose at once
    learner    finds out what is decided, and applies it in the order of slots

For one slot:

    Phase 1   the proposer picks a ballot of its own above all that it has seen in this slot and
              asks for promises. An acceptor promises to refuse lower ballots, and reports its vote.
    Phase 2   with promises of a quorum the proposer asks for votes: for the reported value of the
              highest ballot if any was reported, for its own only if none was. An acceptor votes
              unless it has promised a higher ballot; a vote implies a promise.
    Decided   when a quorum has voted in one ballot. Any two quorums share an acceptor. If it
              voted before it promised a later ballot, it reported that vote; if not, it never
              votes in the earlier ballot. Hence every later ballot proposes the same value.

Every decision takes two round trips, where Multi-Paxos needs one: its leader runs Phase 1 once for
all slots. (Compare `multi_paxos`: the difference is the scope of a ballot.) If an instance decides
another node's value, the proposer continues with the next slot.

  * **Duels.** Two proposers can preempt each other forever: each new ballot invalidates the
    other's Phase 2. Termination cannot be guaranteed (the theorem of Fischer, Lynch and Paterson);
    in practice a proposer succeeds because of randomised exponential back-off (`backoff`). The
    option `backoff` (default true) can switch it off: the protocol remains safe, but under load
    nothing may be decided.
  * A value is a tuple of commands: all that waited at the proposer, up to `batch_max` (1 gives the
    textbook's one command per instance). Losing a duel makes the next batch larger.
  * An acceptor asked about a slot that it knows to be decided answers with the decision. Silence,
    or "no vote", would let the slot be decided again, differently.
  * A decision is announced by its ballot alone. A node that voted in that ballot has the value,
    since a ballot has one proposer, and the proposer one value. A node that did not vote asks for
    it. Every node also sends another one its applied slot from time to time, for nodes that missed
    an announcement.
  * Promises and votes are sent when they are on disk (the barrier of `interface`), and so is a
    proposer's Prepare: its own promise ensures that it never uses the ballot twice.

Its parts: promises, votes and recovery (`basic_paxos_storage`, `slot_log`), values decided in any
order (`learned_values`), catching up (`catch_up`), back-off (`backoff`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

from node_image.protocols import basic_paxos_messages as m
from node_image.protocols.backoff import Backoff
from node_image.protocols.ballots import Ballot, next_ballot
from node_image.protocols.basic_paxos_storage import BasicPaxosStorage, SlotPromises
from node_image.protocols.catch_up import CatchingUp
from node_image.protocols.clients import PROPOSED, refusal
from node_image.protocols.context import Context
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    CancelTimer,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Status,
)
from node_image.protocols.learned_values import LearnedValues
from node_image.protocols.multi_paxos_messages import CatchUp, Entries, SnapshotOffer
from node_image.protocols.quorums import NO_VOTES
from node_image.protocols.replica import Replica
from node_image.protocols.slot_log import SlotLog, Vote

PROPOSER: Final = "proposer"


@dataclass(slots=True)
class Attempt:
    """This proposer's attempt at one slot, in one ballot: Phase 1, then Phase 2."""

    slot: int
    ballot: Ballot
    began_us: int
    promised_by: int = NO_VOTES
    best: Vote | None = None
    value: tuple[Command, ...] | None = None  # what Phase 2 proposes; None is Phase 1
    voted_by: int = NO_VOTES


class BasicPaxos(Replica):
    """One node of a Basic Paxos cluster: proposer, acceptor and learner in one."""

    name: ClassVar[str] = "basic-paxos"
    has_leader: ClassVar[bool] = False
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.Promised, Vote)

    on = MappingProxyType(
        {
            m.Prepare: "_on_prepare",
            m.Promise: "_on_promise",
            m.Nack: "_on_nack",
            m.Accept: "_on_accept",
            m.Accepted: "_on_accepted",
            m.Learn: "_on_learn",
            m.Known: "_on_known",
            m.CatchUp: "_on_catch_up",
            m.Entries: "_on_entries",
            m.SnapshotOffer: "_on_snapshot_offer",
        }
    )
    timers = MappingProxyType(
        {
            "propose": "_on_propose_timer",
            "retry": "_on_retry_timer",
            "tell": "_on_applied_timer",
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.log = SlotLog()
        self.promises = SlotPromises()
        self.storage = BasicPaxosStorage(context, self.log, self.clients, self.promises)
        self.catch_up = CatchingUp(context, self.log, self.storage)
        self.learned = LearnedValues(context, self.log, self.storage, self.catch_up)
        self.backoff = Backoff(context.config.retry_us)
        self._queue: deque[tuple[int, Command]] = deque()  # with the arrival time
        self._attempt: Attempt | None = None
        self._round_seen = 0  # in the next slot
        self._backing_off = False

    # ------------------------------------------------------------------ starting

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self.storage.recover(disk)
        self._ctx.set_timer("tell", 0, self._ctx.config.heartbeat_us)
        return out

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if self._ctx.is_learner:
            voters = self._ctx.config.voters
            self._ctx.answer(command, refusal(voters[command.client % len(voters)]))
        elif command.f == "read" and self._read(command):
            pass
        elif self.clients.take(command, now_us):
            self._queue.append((now_us, command))
            self._begin_when_quiet(now_us)
        return out

    def _read(self, command: Command) -> bool:
        """Reads are never answered from the local state: it may be stale."""
        return False

    # ------------------------------------------------------------------ the proposer: when

    def _begin_when_quiet(self, now_us: int) -> None:
        """Start an attempt, unless one is in progress here, or was seen at another node."""
        if self._attempt is not None or self._backing_off or not self._has_work(now_us):
            return
        if self._backs_off() and not self.backoff.is_quiet(now_us):
            self._back_off()
        else:
            self._begin(now_us)

    def _has_work(self, now_us: int) -> bool:
        """Whether a command still waits. Removes commands that have been decided, and those
        whose clients must have timed out: otherwise stale commands could fill the queue forever.
        """
        queue, waiting = self._queue, self.clients.waiting
        limit_us = self._ctx.config.election_max_us
        while queue:
            came_us, command = queue[0]
            if command[:2] in waiting:
                if now_us - came_us <= limit_us:
                    return True
                self._give_up(command)
            queue.popleft()
        return False

    def _give_up(self, command: Command) -> None:
        """It was not decided in time. If it was ever proposed, its outcome is unknown."""
        was_proposed = self.clients.waiting.pop((command.client, command.seq)) == PROPOSED
        self._ctx.count("given_up")
        self._ctx.answer(command, Answer("interrupted" if was_proposed else "overloaded"))

    def _backs_off(self) -> bool:
        return bool(self._ctx.config.options.get("backoff", True))

    def _back_off(self, least_us: int = 0) -> None:
        """Wait `least_us` and a random time."""
        self._backing_off = True
        self._ctx.set_timer("propose", least_us, least_us + self.backoff.window_us())

    def _on_propose_timer(self, now_us: int) -> None:
        """The wait is over. Do not wait for another node's attempt again: it may never end."""
        self._backing_off = False
        if self._attempt is None and self._has_work(now_us):
            self._begin(now_us)

    def _lose(self, now_us: int) -> None:
        """Another node has a higher ballot in this slot: give it time to finish."""
        self._attempt = None
        self.backoff.refused(now_us)
        self._ctx.count("ballots.lost")
        if not self._has_work(now_us):
            return
        if self._backs_off():
            self._back_off()
        else:
            self._begin(now_us)

    # ------------------------------------------------------------------ the proposer: Phase 1

    def _begin(self, now_us: int) -> None:
        """Choose a new ballot, promise it locally, and ask all others to promise it.

        The Prepare waits until that promise is durable: after a crash the node must not use this
        ballot a second time.
        """
        slot = self.log.applied + 1
        ballot = self._new_ballot(slot)
        self._attempt = Attempt(slot, ballot, now_us)
        self._ctx.count("ballots")
        self._promise(slot, ballot)
        self._ctx.out.append(Broadcast(m.Prepare(ballot, slot)))
        self._ctx.send(self._ctx.node, m.Promise(ballot, slot, self._report(slot)))
        self._ctx.set_timer("retry", self._ctx.config.retry_us)

    def _new_ballot(self, slot: int) -> Ballot:
        promised = self.promises.of(slot)
        return next_ballot(max(self._round_seen, promised.round), self._ctx.node)

    def _on_promise(self, sender: NodeId, message: m.Promise, now_us: int) -> None:
        attempt = self._attempt
        if attempt is None or attempt.slot != message.slot or attempt.value is not None:
            return
        if not self._answers_my_ballot(message.ballot):
            return
        for vote in message.votes:
            attempt.best = vote if attempt.best is None else self._higher(attempt.best, vote)
        attempt.promised_by = self._ctx.quorums.vote(attempt.promised_by, sender)
        if self._ctx.quorums.phase1(attempt.promised_by):
            self.backoff.measured(now_us - attempt.began_us)
            self._propose(attempt)

    def _answers_my_ballot(self, ballot: Ballot) -> bool:
        """Replies to an earlier ballot do not count in this one."""
        return self._attempt is not None and ballot == self._attempt.ballot

    def _higher(self, one: Vote, other: Vote) -> Vote:
        """Of two reported votes the one that may have been chosen: that of the higher ballot."""
        return other if other.ballot > one.ballot else one

    # ------------------------------------------------------------------ the proposer: Phase 2

    def _propose(self, attempt: Attempt) -> None:
        """Ask for votes; vote too, unless this node has promised a higher ballot meanwhile."""
        value = attempt.value = self._value(attempt.best)
        slot, ballot = attempt.slot, attempt.ballot
        self.clients.mark_proposed(value)
        self._ctx.out.append(Broadcast(m.Accept(ballot, slot, value), False))
        if not self._refuses(slot, ballot):
            self._vote(slot, ballot, value)
            self._ctx.send(self._ctx.node, m.Accepted(ballot, slot))

    def _value(self, best: Vote | None) -> tuple[Command, ...]:
        """The value that may have been chosen already; else commands of this node's clients."""
        if best is None:
            return self._batch()
        self._ctx.count("values.adopted")
        return best.commands

    def _batch(self) -> tuple[Command, ...]:
        """The first queued commands. They stay in the queue until they are applied."""
        waiting, batch = self.clients.waiting, []
        for _, command in self._queue:
            if command[:2] in waiting:
                batch.append(command)
                if len(batch) == self._ctx.config.batch_max:
                    break
        return tuple(batch)

    def _on_accepted(self, sender: NodeId, message: m.Accepted, now_us: int) -> None:
        attempt = self._attempt
        if attempt is None or attempt.slot != message.slot or attempt.value is None:
            return
        if not self._answers_my_ballot(message.ballot):
            return
        attempt.voted_by = self._ctx.quorums.vote(attempt.voted_by, sender)
        if self._ctx.quorums.phase2(attempt.voted_by):
            self._win(attempt, attempt.value, now_us)

    def _win(self, attempt: Attempt, value: tuple[Command, ...], now_us: int) -> None:
        """The slot is decided, in this node's ballot."""
        slot, ballot = attempt.slot, attempt.ballot
        self.backoff.won()
        self._ctx.count("ballots.won")
        self._ctx.out.append(Broadcast(m.Learn(ballot, slot), False))
        self.learned.learn((Vote(ballot, slot, value, self.log.applied),))
        self._caught_up(now_us)
        if self.backoff.has_rivals(now_us) and self._backs_off():
            self._back_off(self.backoff.head_start_us())

    def _on_nack(self, sender: NodeId, message: m.Nack, now_us: int) -> None:
        if message.slot == self.log.applied + 1:
            self._round_seen = max(self._round_seen, message.promised.round)
        attempt = self._attempt
        if attempt is None or (attempt.slot, attempt.ballot) != (message.slot, message.ballot):
            return
        self._lose(now_us)

    def _on_retry_timer(self, now_us: int) -> None:
        """A message may be lost: repeat the last request, in the same ballot."""
        attempt = self._attempt
        if attempt is None:
            return
        slot, ballot, value = attempt.slot, attempt.ballot, attempt.value
        self._ctx.count("retries")
        self._ctx.out.append(
            Broadcast(m.Prepare(ballot, slot) if value is None else m.Accept(ballot, slot, value))
        )
        self._ctx.set_timer("retry", self._ctx.config.retry_us)

    # ------------------------------------------------------------------ the acceptor

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        ballot, slot = message
        if not self._takes_part(sender, ballot, slot, now_us):
            return
        if ballot > self.promises.of(slot):
            self._promise(slot, ballot)
        self._ctx.send(sender, m.Promise(ballot, slot, self._report(slot)))

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        ballot, slot, commands = message
        if self._ctx.is_learner:
            if self.learned.is_in_window(slot):
                self.log.put(Vote(ballot, slot, commands, self.log.applied))
            return
        if not self._takes_part(sender, ballot, slot, now_us):
            return
        held = self.log.entries.get(slot)
        if held is None or held.ballot != ballot:
            self._vote(slot, ballot, commands)
        self._ctx.send(sender, m.Accepted(ballot, slot))

    def _takes_part(self, sender: NodeId, ballot: Ballot, slot: int, now_us: int) -> bool:
        """Whether this acceptor may promise or vote. If not, the proposer is sent the reason."""
        if self._ctx.is_learner:
            return False
        if self.learned.is_settled(slot):
            self._send_decided(sender, slot)
            return False
        if slot > self.log.applied + 1:
            self.catch_up.ask(sender, now_us)
            if not self.learned.is_in_window(slot):
                return False
        else:
            self.backoff.saw_rival(now_us)
        if self._refuses(slot, ballot):
            self._ctx.send(sender, m.Nack(ballot, slot, self.promises.of(slot)), False)
            return False
        return True

    def _refuses(self, slot: int, ballot: Ballot) -> bool:
        """An acceptor keeps its promise."""
        return ballot < self.promises.of(slot)

    def _promise(self, slot: int, ballot: Ballot) -> None:
        self.promises.raise_to(slot, ballot)
        self._ctx.out.append(Persist(m.Promised(slot, ballot)))

    def _report(self, slot: int) -> tuple[Vote, ...]:
        """This acceptor's vote in the slot, if it has one."""
        vote = self.log.entries.get(slot)
        return () if vote is None else (vote,)

    def _vote(self, slot: int, ballot: Ballot, commands: tuple[Command, ...]) -> None:
        """Vote, durably. A vote implies a promise of its ballot."""
        vote = Vote(ballot, slot, commands, self.log.applied)
        self.log.put(vote)
        self.promises.raise_to(slot, ballot)
        self._ctx.out.append(Persist(vote))

    # ------------------------------------------------------------------ the learner

    def _on_learn(self, sender: NodeId, message: m.Learn, now_us: int) -> None:
        ballot, slot = message
        if self.learned.is_settled(slot):
            return
        vote = self.log.entries.get(slot)
        if vote is not None and self._is_decided_by(vote, ballot):
            self.learned.learn((vote,))
            self._caught_up(now_us)
        if not self.learned.is_settled(slot):
            self.catch_up.ask(sender, now_us)

    def _is_decided_by(self, vote: Vote, ballot: Ballot) -> bool:
        """A vote in another ballot may have been for another value."""
        return vote.ballot == ballot

    def _caught_up(self, now_us: int) -> None:
        """Slots were decided: attempts in them are over."""
        applied, attempt = self.log.applied, self._attempt
        if self.promises.forget(applied):
            self._round_seen = 0
        if attempt is not None and attempt.slot <= applied:
            self._attempt = None
            self._ctx.out.append(CancelTimer("retry"))
        self.backoff.decided()
        if self._attempt is None and self._has_work(now_us) and self._backs_off():
            self._back_off()
        elif self._attempt is None and self._has_work(now_us):
            self._begin(now_us)

    # ------------------------------------------------------------------ catching up

    def _send_decided(self, to: NodeId, slot: int) -> None:
        """Answer a proposer that is behind."""
        if not self.learned.send_decided(to, slot):
            self._send_applied(to)

    def _on_catch_up(self, sender: NodeId, message: CatchUp, now_us: int) -> None:
        self.catch_up.on_catch_up(sender, message)

    def _on_entries(self, sender: NodeId, message: Entries, now_us: int) -> None:
        self.learned.on_entries(sender, message, now_us)
        self._caught_up(now_us)

    def _on_snapshot_offer(self, sender: NodeId, message: SnapshotOffer, now_us: int) -> None:
        self.learned.on_snapshot_offer(sender, message)
        self._caught_up(now_us)

    def _send_applied(self, to: NodeId) -> None:
        self._ctx.send(to, m.Known(self.log.applied), False)

    def _on_applied_timer(self, now_us: int) -> None:
        """Send another node the applied slot: an announcement may have been lost."""
        if self._ctx.others:
            to = self._ctx.others[self._ctx.random.randrange(0, len(self._ctx.others))]
            self._send_applied(to)
        self._ctx.set_timer("tell", self._ctx.config.heartbeat_us)

    def _on_known(self, sender: NodeId, message: m.Known, now_us: int) -> None:
        if message.applied > self.log.applied:
            self.catch_up.ask(sender, now_us)

    def status(self) -> Status:
        """This node's role; there is no leader."""
        attempt, applied = self._attempt, self.log.applied
        role = PROPOSER if attempt is not None else self._ctx.role
        ballot = attempt.ballot if attempt else self.promises.of(applied + 1)
        return Status(role, None, tuple(ballot), applied, applied)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The decided slots that are still held, from `start` on."""
        return self.storage.decided_log(start)
