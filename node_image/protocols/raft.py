"""Raft: a log that is written by one leader in each term, and replicated by all others.

The setting (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014;
Ongaro's thesis of the same year, cited by its sections). Raft solves the same problem as
Multi-Paxos, a replicated log of commands, in a different way. In terms of Paxos: a term is a
ballot; an entry in a log is a vote for it; an election is a Phase 1 whose promises report no votes;
AppendEntries is a Phase 2 for a slot *and all slots before it*.

Three rules make this safe:

    election restriction   a candidate is elected only if its log is at least as up-to-date as those
                           of a majority (`raft_election`): so a leader has all committed entries
    log matching           a follower accepts an entry only if its log agrees with the leader's on
                           the entry before, and removes its own conflicting entries (`raft_log`):
                           so a node that holds an entry has the leader's log up to it
    commitment             an entry **of the leader's own term** is committed when a majority holds
                           it, together with all entries before it

The third rule is subtle (section 5.4.2, Figure 8). A Paxos leader proposes an old value again in
its own ballot; a Raft leader replicates an old entry unchanged, with its old term. So an old entry
held by a majority is not necessarily committed: a node outside of the majority may hold an entry of
a later term, win the next election with it, and replace what the majority holds. An entry of the
leader's own term, once a majority holds it, prevents such a node from being elected. Therefore a
leader begins its term with a no-op: otherwise inherited entries would remain uncommitted until some
client writes.

The rest is engineering, and deliberately the same as in `multi_paxos` where possible: entries are
sent at once and in parallel (in batches: `proposal_queue`), an Append does not wait for the
leader's disk, a follower's answer waits for the follower's disk. The consistency check makes holes
impossible, so lost messages and nodes that were down are handled in the same way: a follower that
lacks the entry before an Append reports up to where its log may agree, and the leader sends the
entries that follow, or a snapshot if it no longer has them. A heartbeat is an Append without
entries, so it also reveals missing entries.

Learners (non-voters) replicate and acknowledge like all others, but count in no quorum.

Compare `multi_paxos`. The leader's parts are the same (`leadership`): heartbeats, lease, queue,
tally, and reads without the log ("quorum" is ReadIndex in the thesis, 6.4). Terms and votes are in
`raft_election`, the durable state is in `raft_storage`; this file is replication, by the leader and
by the follower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from node_image.protocols import raft_messages as m
from node_image.protocols.context import LEADER, Context
from node_image.protocols.interface import (
    NOOP,
    Broadcast,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Send,
    Status,
)
from node_image.protocols.leadership import Leadership
from node_image.protocols.raft_election import RaftElection
from node_image.protocols.raft_log import Entry, RaftLog
from node_image.protocols.raft_storage import RaftStorage, TermHeartbeats
from node_image.protocols.reads import READ_MODES
from node_image.protocols.replica import Replica

PIECE_ENTRIES: Final = 256
"""The maximum number of entries in one message to a follower that fell behind."""


class Repair(NamedTuple):
    """What was sent to a follower that fell behind: the indices `after` < i <= `through`, and
    when."""

    after: int
    through: int
    sent_us: int


class Raft(Replica):
    """One node of a Raft cluster: replication, by the leader and by the follower."""

    name: ClassVar[str] = "raft"
    transfers_leadership: ClassVar[bool] = True
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.TermVote, m.Log)
    read_modes: ClassVar[tuple[str, ...]] = READ_MODES

    leadership_type: ClassVar[type[Leadership]] = Leadership
    election_type: ClassVar[type[RaftElection]] = RaftElection
    storage_type: ClassVar[type[RaftStorage]] = RaftStorage

    on = MappingProxyType(
        {
            m.PreVote: "_on_pre_vote",
            m.PreVoteGranted: "_on_pre_vote_granted",
            m.RequestVote: "_on_request_vote",
            m.VoteGranted: "_on_vote_granted",
            m.Behind: "_on_behind",
            m.TimeoutNow: "_on_timeout_now",
            m.Append: "_on_append",
            m.Appended: "_on_appended",
            m.InstallSnapshot: "_on_install_snapshot",
        }
    )
    timers = MappingProxyType(
        {
            "election": "_on_election_timer",
            "heartbeat": "_on_heartbeat_timer",
            "transfer": "_on_transfer_timer",
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.log = RaftLog()
        self.storage = self.storage_type(context, self.log, self.clients)
        heartbeats = TermHeartbeats(context, self.log, self.storage)
        self.leadership = self.leadership_type(context, self.clients, self.log, heartbeats)
        self.election = self.election_type(context, self.log, self.storage, self.leadership)
        self.tally = self.leadership.tally
        self._match: dict[NodeId, int] = {}  # leader: up to where a follower's log matches
        self._repairs: dict[NodeId, Repair] = {}
        self._held_by_quorum = 0

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
        """Append queued commands, as long as another entry may be open."""
        queue, votes = self.leadership.queue, self.tally.votes
        if self.leadership.transfer.successor is not None:
            self._hand_over()
            return
        while queue.commands and (commands := queue.next_batch(len(votes), now_us)):
            self.clients.mark_proposed(commands)
            self._propose(commands)

    def _hand_over(self) -> None:
        """Let the successor begin as soon as nothing is open, and its log is up to date."""
        successor = self.leadership.transfer.successor
        if successor is None or not self.leadership.is_ready_to_hand_over():
            return
        if self._match.get(successor, 0) == self.log.last:
            self._ctx.send(successor, m.TimeoutNow(self.storage.term), False)
            self.leadership.transfer.offered()

    def _on_transfer_timer(self, now_us: int) -> None:
        self.leadership.on_transfer_timer(now_us)
        self._propose_queued(now_us)

    # ------------------------------------------------------------------ election

    def _on_election_timer(self, now_us: int) -> None:
        self.election.on_election_timer(now_us)

    def _on_peer_lost(self, peer: NodeId, now_us: int) -> None:
        self.leadership.on_peer_lost(peer, now_us)

    def _on_peer_connected(self, peer: NodeId, now_us: int) -> None:
        self.leadership.on_peer_connected(now_us)

    def _on_pre_vote(self, sender: NodeId, message: m.PreVote, now_us: int) -> None:
        self.election.on_pre_vote(sender, message, now_us)

    def _on_pre_vote_granted(self, sender: NodeId, message: m.PreVoteGranted, now_us: int) -> None:
        self.election.on_pre_vote_granted(sender, message, now_us)

    def _on_request_vote(self, sender: NodeId, message: m.RequestVote, now_us: int) -> None:
        self.election.on_request_vote(sender, message, now_us)

    def _on_behind(self, sender: NodeId, message: m.Behind, now_us: int) -> None:
        self.election.on_behind(message, now_us)

    def _on_timeout_now(self, sender: NodeId, message: m.TimeoutNow, now_us: int) -> None:
        self.election.on_timeout_now(sender, message, now_us)

    def _on_vote_granted(self, sender: NodeId, message: m.VoteGranted, now_us: int) -> None:
        if self.election.on_vote_granted(sender, message):
            self._lead(now_us)

    def _lead(self, now_us: int) -> None:
        """Elected. All entries of the log are kept; which are committed is not known yet."""
        log = self.log
        self.leadership.begin(now_us)
        self._match.clear()
        self._repairs.clear()
        self._held_by_quorum = log.applied
        for index in range(log.applied + 1, log.last + 1):
            self.tally.open(index)
        self._ctx.count("elections")
        self._ctx.note("leading", term=self.storage.term, open=log.last - log.applied)
        self._open_term()
        self.leadership.begin_round(now_us)

    def _open_term(self) -> None:
        """Append a no-op of the new term, with which all inherited entries are committed. Until
        then the leader does not know what is committed, and answers no reads."""
        self.leadership.reads.recovered_slot = self.log.last + 1
        self._propose((NOOP,))

    # ------------------------------------------------------------------ replication: the leader

    def _propose(self, commands: tuple[Command, ...]) -> None:
        """Append an entry, durably, and send it to all other nodes."""
        out, log, term = self._ctx.out, self.log, self.storage.term
        prev_index, prev_term = log.last, log.last_term
        entries = (Entry(term, prev_index + 1, commands),)
        log.put(entries[0])
        self.tally.open(prev_index + 1)
        append = m.Append(term, prev_index, prev_term, entries, log.applied, 0)
        out.append(Broadcast(append, False))
        out.append(Persist(m.Log(log.applied, entries)))
        out.append(Send(self._ctx.node, m.Appended(term, True, prev_index + 1, 0)))

    def _on_appended(self, sender: NodeId, message: m.Appended, now_us: int) -> None:
        term, ok, upto, stamp = message
        if term > self.storage.term:
            self.election.enter_term(term, now_us)
        if self._ctx.role != LEADER or not self._answers_my_term(term):
            return
        if stamp:
            self.leadership.reads.acknowledged(sender, stamp, now_us)
        if ok:
            self._holds(sender, upto, now_us)
        else:
            self._repair(sender, upto, now_us)

    def _answers_my_term(self, term: int) -> bool:
        """Answers of an earlier term do not count: entries may have been replaced since."""
        return term == self.storage.term

    def _holds(self, follower: NodeId, upto: int, now_us: int) -> None:
        """A follower's log matches this one up to `upto`."""
        known = self._match.get(follower, 0)
        upto = min(upto, self.log.last)
        if upto > known:
            self._match[follower] = upto
            self.tally.count(follower, max(known, self._held_by_quorum) + 1, upto)
            if upto > self._held_by_quorum:
                self._advance(now_us)
            if follower == self.leadership.transfer.successor:
                self._hand_over()
        repair = self._repairs.get(follower)
        if repair is not None and upto >= repair.through:
            del self._repairs[follower]
            if upto == repair.through < self.log.last:
                self._send_from(follower, upto, now_us)

    def _advance(self, now_us: int) -> None:
        """Commit what a quorum holds, and refill the pipeline."""
        upto = self._held_by_quorum
        while self.tally.close_if_chosen(upto + 1):
            upto += 1
        self._held_by_quorum = upto
        before = self.log.applied
        if upto == before or not self._may_commit(upto):
            return
        self.storage.commit_to(upto)
        self.storage.checkpoint_if_due()
        self._propose_queued(now_us)
        if before < self.leadership.reads.recovered_slot:
            self.leadership.reads.serve(now_us)

    def _may_commit(self, index: int) -> bool:
        """Only entries of the leader's own term are committed by counting copies."""
        return self.log.term_at(index) == self.storage.term

    def _on_heartbeat_timer(self, now_us: int) -> None:
        self.leadership.on_heartbeat_timer(now_us)

    # ------------------------------------------------------------------ replication: the follower

    def _on_append(self, sender: NodeId, message: m.Append, now_us: int) -> None:
        term, prev_index, prev_term, entries, commit, stamp = message
        if not self.election.recognise_leader(sender, term, now_us):
            return
        if stamp and not self._ctx.is_learner:
            self.leadership.timing.heartbeat(term, now_us)
            self.leadership.lease.grant(sender, now_us)
        storage = self.storage
        if not self._matches(prev_index, prev_term):
            self._ctx.count("mismatches")
            conflict = self._conflict_index(prev_index)
            self._ctx.send(sender, m.Appended(storage.term, False, conflict, stamp))
            return
        if new := self._new_entries(entries):
            storage.append(new)
        upto = prev_index + len(entries)
        self._ctx.send(sender, m.Appended(storage.term, True, upto, stamp))
        storage.commit_to(min(commit, upto))
        storage.checkpoint_if_due()

    def _matches(self, index: int, term: int) -> bool:
        """The consistency check: whether this log agrees with the leader's up to `index`. Committed
        entries always agree, since a leader has every committed entry."""
        return index <= self.log.applied or self.log.term_at(index) == term

    def _conflict_index(self, index: int) -> int:
        """Up to where the logs may agree, if they do not at `index`: before all entries of the
        conflicting term, so that the leader skips that term in one step."""
        log = self.log
        index = min(index, log.last + 1)
        wrong = log.term_at(index)
        while index > log.applied and log.term_at(index) == wrong:
            index -= 1
        return index

    def _new_entries(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """The entries from the first one that this log lacks, or that conflicts. A late or
        duplicate Append has none; what follows its entries in this log was acknowledged, and must
        stay."""
        log = self.log
        for i, entry in enumerate(entries):
            if entry.slot > log.applied and log.term_at(entry.slot) != entry.term:
                return entries[i:]
        return ()

    def _on_install_snapshot(self, sender: NodeId, message: m.InstallSnapshot, now_us: int) -> None:
        if not self.election.recognise_leader(sender, message.term, now_us):
            return
        if self._is_ahead(message):
            self.storage.restore(message.slot, message.slot_term, message.state)
            self._ctx.note("snapshot-installed", slot=message.slot, sender=sender)
            self.storage.checkpoint(message.state)
        self._ctx.send(sender, m.Appended(self.storage.term, True, message.slot, 0))

    def _is_ahead(self, snapshot: m.InstallSnapshot) -> bool:
        """Whether a snapshot is newer than this node's state: a late one must not replace it."""
        return self._ctx.role != LEADER and snapshot.slot > self.log.applied

    # ------------------------------------------------------------------ repairs

    def _repair(self, follower: NodeId, after: int, now_us: int) -> None:
        """A follower's log does not match, but may match up to `after`: send what follows. All
        Appends in flight fail in the same way; only the first answer starts a repair."""
        last = self._repairs.get(follower)
        fresh_us = self._ctx.config.heartbeat_us // 2
        if last is None or last.after != after or now_us - last.sent_us >= fresh_us:
            self._send_from(follower, after, now_us)

    def _send_from(self, follower: NodeId, after: int, now_us: int) -> None:
        """Send entries after `after`, or a snapshot if the log no longer has them."""
        ctx, log, term = self._ctx, self.log, self.storage.term
        after = min(after, log.last)
        ctx.count("repairs")
        if after < log.base:
            through = log.applied
            state = self.storage.state_to_send()
            snapshot = m.InstallSnapshot(term, through, log.term_at(through), state)
            ctx.send(follower, snapshot, False)
        else:
            through = min(after + PIECE_ENTRIES, log.last)
            entries = log.held(after + 1, through)
            append = m.Append(term, after, log.term_at(after), entries, log.applied, 0)
            ctx.send(follower, append, False)
        self._repairs[follower] = Repair(after, through, now_us)

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        """This node's role and its view of the cluster."""
        ctx, applied = self._ctx, self.log.applied
        return Status(ctx.role, ctx.leader, (self.storage.term,), applied, applied)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The committed entries that are still held, from `start` on."""
        return self.storage.decided_log(start)
