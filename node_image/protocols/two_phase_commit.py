"""Two-phase commit: all nodes commit, or none does; if the coordinator is down, all wait.

The setting (Gray, "Notes on Data Base Operating Systems", 1978; Mohan, Lindsay and Obermarck,
"Transaction Management in the R* Distributed Database Management System", 1986, for presumed
abort). A transaction is executed by several participants. One node, the coordinator, asks all of
them whether they can commit it, and decides:

    phase 1   the coordinator sends Prepare; a participant logs the transaction, locks what it
              accesses, and votes yes; or it votes no
    phase 2   after yes votes from **all** the coordinator logs the commit, and then announces it; a
              single no, or a missing vote, aborts

Here every node holds a copy of the whole store, every write of a client (or a batch of writes) is a
transaction on all nodes, and the first node is always the coordinator.

**Atomicity.** The decision is the coordinator's log record, and nothing that depends on it is sent
before the record is on disk. A participant that has voted yes has durably given up its right to
abort; before that it may abort. So all nodes end a transaction in the same way, whichever nodes
crash and whichever messages are lost.

**Presumed abort.** Only commits are logged. A coordinator that is asked about a transaction without
a record answers "aborted": after a crash this is true for everything that it had not decided. A
commit must be kept until every participant has confirmed that it is on its disk (`_unsettled`):
before that a participant may ask.

**Why it is included: it blocks.** Compare `multi_paxos`. The quorum is all nodes: one participant
that is down stops all writes. No node replaces the coordinator: the participants in doubt hold
their locks until it returns (`two_phase_participant`). Paxos never needs more than a majority,
because a decision is in the votes of a quorum, where a successor finds it; here it is on one disk.
(Gray and Lamport, "Consensus on Transaction Commit", 2006, make this precise: two-phase commit is
Paxos Commit with a single acceptor.) It is as safe under faults as the other protocols, but less
available.

Option: `vote_timeout_us`, how long the coordinator waits for votes (`election_max_us` by default).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from node_image.protocols import two_phase_messages as m
from node_image.protocols.clients import refusal
from node_image.protocols.context import FOLLOWER, LEADER, Context
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Status,
)
from node_image.protocols.proposal_queue import ProposalQueue
from node_image.protocols.quorums import NO_VOTES, QuorumSystem, Sizes
from node_image.protocols.replica import Replica
from node_image.protocols.two_phase_locks import Locks, Resource
from node_image.protocols.two_phase_messages import Txn
from node_image.protocols.two_phase_participant import Participant, slot_of


@dataclass(slots=True)
class Open:
    """A transaction that the coordinator has not decided yet."""

    commands: tuple[Command, ...]
    votes: int
    since_us: int


@dataclass(slots=True)
class Unconfirmed:
    """A committed transaction that some participants have not confirmed yet."""

    confirmed: int
    sent_us: int


class TwoPhaseCommit(Replica):
    """One node: a participant, and, if it is the first node, the coordinator."""

    name: ClassVar[str] = "two-phase-commit"
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.Prepared,)
    needs_all_nodes: ClassVar[bool] = True
    takes_learners: ClassVar[bool] = False

    locks_type: ClassVar[type[Locks]] = Locks
    participant_type: ClassVar[type[Participant]] = Participant

    on = MappingProxyType(
        {
            m.Prepare: "_on_prepare",
            m.Vote: "_on_vote",
            m.Commit: "_on_commit",
            m.Abort: "_on_abort",
            m.Done: "_on_done",
            m.Inquire: "_on_inquire",
            m.Logged: "_on_logged",
        }
    )
    timers = MappingProxyType(
        {
            "inquire": "_on_inquire_timer",
            "done": "_on_done_timer",
            "retry": "_on_retry_timer",
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = context.config
        if config.learners:
            raise ValueError(
                "two-phase commit has no learners: every node with a copy votes; leave them out"
            )
        timeout_us = config.options.get("vote_timeout_us", config.election_max_us)
        if not isinstance(timeout_us, int) or timeout_us <= 0:
            raise ValueError(f"vote_timeout_us must be a positive number, not {timeout_us!r}")
        self._vote_timeout_us: int = timeout_us
        self._deciding: dict[Txn, tuple[Command, ...]] = {}  # committed, not yet on disk
        self.locks = self.locks_type(context, self.clients)
        self.participant = self.participant_type(context, self.clients, self.locks, self._deciding)
        self.is_coordinator = context.node == self.participant.coordinator
        self._began = False  # this life of the coordinator is on disk
        self._last_number = 0
        self.queue = ProposalQueue(context, self.clients)
        self._parked: dict[Resource, list[Command]] = {}  # commands that wait for its lock
        self._open: dict[Txn, Open] = {}
        self._unconfirmed: dict[Txn, Unconfirmed] = {}
        self._unsettled: dict[Txn, None] = {}  # all of these, in order of their ids
        self._retry_timer_set = False

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        """All nodes together are the only quorum."""
        return Sizes(config.voters, 1, len(config.voters))

    # ------------------------------------------------------------------ starting

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self.participant.recover(disk, now_us)
        in_doubt = len(self.participant.in_doubt)
        self._ctx.note(
            "recovered", records=len(disk), commits=self.participant.commits, in_doubt=in_doubt
        )
        if self.is_coordinator:
            self._begin_life(now_us)
        elif self.participant.in_doubt:
            self._ctx.send(
                self.participant.coordinator, m.Inquire(tuple(self.participant.in_doubt)), False
            )
            self.participant.inquire_later()
        return out

    def _begin_life(self, now_us: int) -> None:
        """Resend decisions to participants that may not have received them. Transactions of this
        life begin once it is on disk."""
        self.participant.life = self._next_life()
        self._ctx.count("ballots")
        self._ctx.out.append(Persist(m.Life(self.participant.life)))
        self._ctx.send(self._ctx.node, m.Logged(Txn(self.participant.life, 0)))
        for txn in sorted(self.participant.finished):
            self._await_confirmations(txn, now_us)
        if self._unconfirmed:
            self._ctx.out.append(Broadcast(m.Commit(tuple(self._unconfirmed)), False))
            self._retry_later()

    def _next_life(self) -> int:
        return self.participant.life + 1

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if command.f != "read":
            self._write(command, now_us)
        elif self._must_wait(command.key):
            self.locks.block(command, now_us)
        else:
            self._ctx.answer(command, self._ctx.machine.apply(command))
        return out

    def _write(self, command: Command, now_us: int) -> None:
        if not self.is_coordinator:
            self._ctx.answer(command, refusal(self.participant.coordinator))
        elif not self._began:
            self._ctx.answer(command, Answer("unavailable", None, self._ctx.node))
        elif self.clients.take(command, now_us):
            self.queue.commands.append(command)
            self._begin_queued(now_us)

    def _must_wait(self, key: str) -> bool:
        """Whether a write of this key may be committed without this node knowing it. (The
        coordinator is never in doubt: what it has not decided is not committed.)"""
        return not self.is_coordinator and key in self.locks.held

    # ------------------------------------------------------------------ phase 1

    def _begin_queued(self, now_us: int) -> None:
        """Begin transactions for queued commands, except those that need a held lock."""
        while commands := self.queue.next_batch(len(self._open) + len(self._deciding), now_us):
            free = []
            for command in commands:
                held = self.locks.first_held(command)
                if held is None:
                    free.append(command)
                else:
                    self._parked.setdefault(held, []).append(command)
            if free:
                self._begin(tuple(free), now_us)

    def _begin(self, commands: tuple[Command, ...], now_us: int) -> None:
        self._last_number += 1
        txn = Txn(self.participant.life, self._last_number)
        self.locks.lock(txn, commands)
        self.clients.mark_proposed(commands)
        self._unsettled[txn] = None
        self._open[txn] = Open(commands, self._ctx.quorums.vote(NO_VOTES, self._ctx.node), now_us)
        self._ctx.out.append(Broadcast(m.Prepare(txn, commands, self._first_unsettled()), False))
        self._retry_later()
        self._decide_if_unanimous(txn)

    def _first_unsettled(self) -> Txn:
        """The first transaction whose outcome is not acknowledged by all."""
        return next(iter(self._unsettled))

    def _on_vote(self, sender: NodeId, message: m.Vote, now_us: int) -> None:
        txn, yes, done = message
        self._confirmed(sender, done)
        transaction = self._open.get(txn)
        if transaction is None:
            if yes:
                self._tell(sender, (txn,))
        elif yes:
            transaction.votes = self._ctx.quorums.vote(transaction.votes, sender)
            self._decide_if_unanimous(txn)
        else:
            self._abort(txn, now_us)

    def _decide_if_unanimous(self, txn: Txn) -> None:
        transaction = self._open[txn]
        if self._may_commit(transaction):
            del self._open[txn]
            self._deciding[txn] = transaction.commands
            self._decide(txn, transaction.commands)

    def _may_commit(self, transaction: Open) -> bool:
        return self._ctx.quorums.phase2(transaction.votes)

    # ------------------------------------------------------------------ phase 2

    def _decide(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        """Commit: log the decision. No node and no client learns of it before it is on disk, when
        the message to this node itself is delivered."""
        self._ctx.out.append(Persist(m.Committed(txn, commands, self._first_unsettled())))
        self._ctx.send(self._ctx.node, m.Logged(txn))

    def _on_logged(self, sender: NodeId, message: m.Logged, now_us: int) -> None:
        txn = message.txn
        if txn.number == 0:
            self._began = txn.life == self.participant.life
            self._ctx.note("leading", life=self.participant.life, owed=len(self._unconfirmed))
            return
        commands = self._deciding.pop(txn)
        self._ctx.count("commits")
        self._await_confirmations(txn, now_us)
        self._ctx.out.append(Broadcast(m.Commit((txn,)), False))
        self.participant.apply(txn, commands)
        self.participant.emit_state_if_due(self.participant.commits - 1)
        self._free(txn, commands, now_us)
        self._settle_own(txn)
        self.participant.checkpoint_if_due()

    def _abort(self, txn: Txn, now_us: int) -> None:
        """Forget the transaction, which aborts it, and notify participants that may be in doubt.
        The clients get a definite error: their attempts never have an effect."""
        transaction = self._open.pop(txn)
        self._ctx.count("aborts")
        del self._unsettled[txn]
        self._ctx.out.append(Decided(slot_of(txn), (txn.life,), ()))
        self._ctx.out.append(Broadcast(m.Abort((txn,)), False))
        self._deny(transaction.commands)
        self._free(txn, transaction.commands, now_us)

    def _deny(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if self.clients.waiting.pop((command.client, command.seq), None) is not None:
                self._ctx.answer(command, Answer("unavailable", None, self._ctx.node))

    def _free(self, txn: Txn, commands: tuple[Command, ...], now_us: int) -> None:
        """Release the locks, and queue the commands that waited for them."""
        self.locks.unlock(txn, commands, now_us)
        for resource in self.locks.resources(commands):
            self.queue.commands.extend(self._parked.pop(resource, ()))
        self._begin_queued(now_us)

    # ------------------------------------------------------------------ confirmations

    def _await_confirmations(self, txn: Txn, now_us: int) -> None:
        """Wait for the participants to confirm a commit."""
        self._unsettled[txn] = None
        self._unconfirmed[txn] = Unconfirmed(
            self._ctx.quorums.vote(NO_VOTES, self._ctx.node), now_us
        )

    def _on_done(self, sender: NodeId, message: m.Done, now_us: int) -> None:
        self._confirmed(sender, message.txns)

    def _confirmed(self, sender: NodeId, txns: tuple[Txn, ...]) -> None:
        for txn in txns:
            owed = self._unconfirmed.get(txn)
            if owed is not None:
                owed.confirmed = self._ctx.quorums.vote(owed.confirmed, sender)
                self._settle_own(txn)

    def _settle_own(self, txn: Txn) -> None:
        """Forget a commit once no participant can ask about it."""
        if self._may_forget(self._unconfirmed[txn]):
            del self._unconfirmed[txn]
            del self._unsettled[txn]
            self.participant.finished.pop(txn, None)

    def _may_forget(self, owed: Unconfirmed) -> bool:
        return self._ctx.quorums.phase2(owed.confirmed)

    def _on_inquire(self, sender: NodeId, message: m.Inquire, now_us: int) -> None:
        self._tell(sender, message.txns)

    def _tell(self, participant: NodeId, txns: tuple[Txn, ...]) -> None:
        """Send the outcome of these transactions, as far as it is decided."""
        committed = tuple(txn for txn in txns if txn in self._unconfirmed)
        aborted = tuple(txn for txn in txns if self._is_presumed_aborted(txn))
        if committed:
            self._ctx.send(participant, m.Commit(committed), False)
        if aborted:
            self._ctx.send(participant, m.Abort(aborted), False)

    def _is_presumed_aborted(self, txn: Txn) -> bool:
        """Without a record there is no commit. (No node in doubt can ask about a settled one.)"""
        return txn not in self._unsettled

    def _retry_later(self) -> None:
        if not self._retry_timer_set:
            self._retry_timer_set = True
            self._ctx.set_timer("retry", self._ctx.config.retry_us)

    def _on_retry_timer(self, now_us: int) -> None:
        """Abort transactions whose votes are late; repeat requests and decisions without an
        answer."""
        self._retry_timer_set = False
        for txn in [t for t, o in self._open.items() if self._has_waited_enough(o, now_us)]:
            self._abort(txn, now_us)
        for txn, transaction in self._open.items():
            prepare = m.Prepare(txn, transaction.commands, self._first_unsettled())
            for node in self._missing(transaction.votes):
                self._ctx.send(node, prepare, False)
        overdue = [
            o
            for o in self._unconfirmed.items()
            if now_us - o[1].sent_us >= self._ctx.config.retry_us
        ]
        for node in self._ctx.others:
            silent = tuple(t for t, owed in overdue if node in self._missing(owed.confirmed))
            if silent:
                self._ctx.send(node, m.Commit(silent), False)
        if self._open or self._unconfirmed:
            self._retry_later()

    def _has_waited_enough(self, transaction: Open, now_us: int) -> bool:
        return now_us - transaction.since_us >= self._vote_timeout_us

    def _missing(self, votes: int) -> tuple[NodeId, ...]:
        """The nodes that have not voted."""
        return tuple(n for n in self._ctx.others if self._ctx.quorums.vote(votes, n) != votes)

    # ------------------------------------------------------------------ the participant

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        self.participant.on_prepare(sender, message, now_us)

    def _on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        self.participant.on_commit(sender, message, now_us)

    def _on_abort(self, sender: NodeId, message: m.Abort, now_us: int) -> None:
        self.participant.on_abort(sender, message, now_us)

    def _on_done_timer(self, now_us: int) -> None:
        self.participant.on_done_timer(now_us)

    def _on_inquire_timer(self, now_us: int) -> None:
        self.participant.on_inquire_timer(now_us)

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        """This node's role; "leader" is the coordinator."""
        participant = self.participant
        role = LEADER if self.is_coordinator else FOLLOWER
        life = max(participant.life, participant.settled.life)
        commits = participant.commits
        return Status(role, participant.coordinator, (life,), commits, commits)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The last committed transactions, up to `snapshot_every` of them. They are ordered only by
        key, so `start` is not used."""
        return self.participant.decided_log()
