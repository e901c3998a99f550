"""Raft: a log that one leader a term writes, and all others copy.

The setting (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014;
Ongaro's thesis of the same year, cited by its sections). Raft decides what Multi-Paxos decides, a
log of commands, and puts the difficulty elsewhere. In Paxos' terms: a term is a
ballot; an entry in a log is a vote for it; an election is a Phase 1 whose promises report nothing;
AppendEntries is a Phase 2 for a slot *and all before it*.

Three rules make that safe:

    election restriction   no node is elected whose log is older than that of any of a majority
                           (`raft_election`): so a leader has all that is committed
    log matching           a follower takes an entry only after one on which its log agrees with the
                           leader's, and drops whatever of its own contradicts it (`raft_log`):
                           so to hold an entry is to hold the leader's log up to it
    commitment             an entry **of the leader's own term** is committed when a majority holds
                           it, and everything before it is committed with it

The third is the subtle one (section 5.4.2, Figure 8). A Paxos leader proposes an old value again in
its own ballot; a Raft leader leaves an old entry its old term, and copies it as it is. Then a
majority that holds an old entry proves nothing: a node outside of it may hold an entry of a later
term, win the next election with it, and replace what the majority holds. Only when an entry of the
leader's own term is on top is that node excluded. So a leader begins its term with an entry of
its own, a no-op: else what it inherited stays open until some client writes.

The rest is engineering, as in `multi_paxos`, and deliberately the same where it can be: entries are
sent at once and in parallel (in batches: `proposal_queue`), an Append does not wait for the
leader's own disk, a follower's answer waits for its own. The consistency check makes holes
impossible, so lost messages and absent nodes are handled in the same way: a follower that lacks
the entry before an Append reports how far its log may agree, and the leader sends it what follows,
or, where that is gone, a snapshot. A heartbeat is an Append without entries; it shows to a follower
what it missed.

Learners (non-voters) copy and acknowledge like all others, and do not count in any quorum.

Put `multi_paxos` beside this file. What a leader has is the same part (`leadership`): heartbeats,
lease, queue, tally, and reads past the log ("quorum" is what the thesis calls ReadIndex, 6.4).
Terms and votes are in `raft_election`, the durable state in `raft_storage`; this file is
replication, the leader's half and the follower's."""

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
"""At most so many entries travel in one message to a follower that fell behind."""


class Repair(NamedTuple):
    """What a follower that fell behind was sent: after which index, up to where, and when."""

    after: int
    through: int
    sent_us: int


class Raft(Replica):
    """One node of a Raft cluster: the leader's half of replication, and the follower's."""

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
        self._match: dict[NodeId, int] = {}  # leader: up to where a follower's log is its own
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
        """Make entries of queued commands, as many as may be open at a time."""
        queue, votes = self.leadership.queue, self.tally.votes
        if self.leadership.transfer.successor is not None:
            self._hand_over()
            return
        while queue.commands and (commands := queue.next_batch(len(votes), now_us)):
            self.clients.mark_proposed(commands)
            self._propose(commands)

    def _hand_over(self) -> None:
        """Let the successor begin as soon as nothing is open, and its log is this one."""
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
        """Elected. Whatever the log holds is to be kept; what of it is committed will show."""
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
        """An entry of the own term, under which everything inherited is committed. Until it is, a
        new leader does not know what is committed, and answers no reads."""
        self.leadership.reads.recovered_slot = self.log.last + 1
        self._propose((NOOP,))

    # ------------------------------------------------------------------ replication: the leader

    def _propose(self, commands: tuple[Command, ...]) -> None:
        """Append an entry here, durably, and everywhere."""
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
        """What a log held in an earlier term, another leader may have replaced since."""
        return term == self.storage.term

    def _holds(self, follower: NodeId, upto: int, now_us: int) -> None:
        """A follower's log is this one up to there."""
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
        """Commit what may be; use the room in the pipeline."""
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
        """Copies count for an entry of the own term only; with it all before are committed."""
        return self.log.term_at(index) == self.storage.term

    def _on_heartbeat_timer(self, now_us: int) -> None:
        self.leadership.on_heartbeat_timer(now_us)

    # ------------------------------------------------------------------ replication: the follower

    def _on_append(self, sender: NodeId, message: m.Append, now_us: int) -> None:
        term, prev_index, prev_term, entries, commit, stamp = message
        if not self.election.recognise_leader(sender, term, now_us):
            return
        if stamp and not self._ctx.is_learner:
            self.leadership.timing.heartbeat(sender, now_us)
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
        """The consistency check: whether this log agrees with the leader's up to `index`. What is
        committed does, without a look: a leader has every committed entry."""
        return index <= self.log.applied or self.log.term_at(index) == term

    def _conflict_index(self, index: int) -> int:
        """Where the logs may agree, if they do not at `index`: before the whole run of entries of
        the term that is wrong there, so that a leader gets by them in one step."""
        log = self.log
        index = min(index, log.last + 1)
        wrong = log.term_at(index)
        while index > log.applied and log.term_at(index) == wrong:
            index -= 1
        return index

    def _new_entries(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """From the first one that this log lacks, or holds otherwise. An Append that came late, or
        twice, brings nothing; what follows its entries here was acknowledged, and must stay."""
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
        """Whether a snapshot knows more than this node: a late one would take its state back."""
        return self._ctx.role != LEADER and snapshot.slot > self.log.applied

    # ------------------------------------------------------------------ repairs

    def _repair(self, follower: NodeId, after: int, now_us: int) -> None:
        """A follower's log is not this one, but may be up to `after`: send what follows. Appends
        that were under way all fail alike, and are answered once."""
        last = self._repairs.get(follower)
        fresh_us = self._ctx.config.heartbeat_us // 2
        if last is None or last.after != after or now_us - last.sent_us >= fresh_us:
            self._send_from(follower, after, now_us)

    def _send_from(self, follower: NodeId, after: int, now_us: int) -> None:
        """Send a piece of the log after `after`; a snapshot where the log no longer goes back."""
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

    # ------------------------------------------------------------------ telling

    def status(self) -> Status:
        """This node's role and its view of the cluster."""
        ctx, applied = self._ctx, self.log.applied
        return Status(ctx.role, ctx.leader, (self.storage.term,), applied, applied)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The committed entries that are still held, from `start` on."""
        return self.storage.decided_log(start)
