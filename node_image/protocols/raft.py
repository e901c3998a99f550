"""Raft: a log that one leader a term writes, and all others copy.

The setting (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014;
Ongaro's thesis of the same year, cited by its sections). Raft decides what Multi-Paxos decides, a
log of commands, and puts the difficulty elsewhere. In the words of the Paxos family: a term is a
ballot; an entry in a log is a vote for it; an election is a Phase 1 whose promises report nothing;
AppendEntries is a Phase 2 for a slot *and all before it*.

Three rules make that safe:

    election restriction   nobody is elected whose log is older than that of any of a majority
                           (`raft_election`): so a leader has all that is committed
    log matching           a follower takes an entry only after one on which its log agrees with the
                           leader's, and drops whatever of its own contradicts it (`raft_log`,
                           `raft_replica`): so to hold an entry is to hold the leader's log up to it
    commitment             an entry **of the leader's own term** is committed when a majority holds
                           it, and everything before it is committed with it

The third is the subtle one (section 5.4.2, Figure 8). A Paxos leader proposes an old value again in
its own ballot; a Raft leader leaves an old entry its old term, and copies it as it is. Then a
majority that holds an old entry proves nothing: a node outside of it may hold an entry of a later
term, win the next election with it, and replace what the majority holds. Only when an entry of the
leader's own term stands on top is that node shut out. So a leader begins its term with an entry of
its own, a no-op: else what it inherited stays open until some client writes.

The rest is engineering, as in `multi_paxos`, and deliberately the same where it can be: entries are
sent at once and in parallel (batches: `batches`), an Append does not wait for the leader's own
disk, a follower's answer waits for its own. The consistency check makes holes impossible, so what
was lost, and whoever was away, is made good the same way: a follower that lacks the entry before an
Append says how far its log may agree, and the leader sends it what follows, or, where that is gone,
a snapshot. A heartbeat is an Append without entries; it shows to a follower what it missed.

Learners (non-voters) copy and acknowledge like everybody else, and count for nothing.
Reads past the log, and a leader that steps down when it loses its quorum: `heartbeats`; "quorum" is
what the thesis calls ReadIndex (6.4).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

from node_image.protocols import raft_messages as m
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
)
from node_image.protocols.quorums import NOBODY
from node_image.protocols.raft_election import RaftElection
from node_image.protocols.raft_log import Entry
from node_image.protocols.replica import LEADER

PIECE_ENTRIES: Final = 256
"""At most so many entries travel in one message to a follower that fell behind."""


class Repair(NamedTuple):
    """What a follower that fell behind was sent: after which index, up to where, and when."""

    after: int
    through: int
    sent_us: int


class Raft(RaftElection):
    """One node of a Raft cluster: the leader's half of replication; the rest is inherited."""

    name: ClassVar[str] = "raft"
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.TermVote, m.Log)

    on = MappingProxyType(
        {
            m.PreVote: "_on_pre_vote",
            m.PreVoteGranted: "_on_pre_vote_granted",
            m.RequestVote: "_on_request_vote",
            m.VoteGranted: "_on_vote_granted",
            m.Behind: "_on_behind",
            m.Append: "_on_append",
            m.Appended: "_on_appended",
            m.InstallSnapshot: "_on_install_snapshot",
        }
    )
    timers = MappingProxyType(
        {"election": "_on_election_timer", "heartbeat": "_on_heartbeat_timer"}
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
        self._match: dict[NodeId, int] = {}  # leader: up to where a follower's log is its own
        self._repairs: dict[NodeId, Repair] = {}
        self._held_by_quorum = 0
        self._term_opening = 0

    # ------------------------------------------------------------------ clients

    def _open_slots(self, now_us: int) -> None:
        while batch := next_batch(self._queue, len(self._tallies), self.config):
            if wanted := self._wanted(batch, now_us):
                self._mark_proposed(wanted)
                self._propose(wanted)

    # ------------------------------------------------------------------ leading

    def _lead(self, now_us: int) -> None:
        """Elected. Whatever the log holds is to be kept; what of it is committed will show."""
        log = self._log
        self.role = LEADER
        self.leader = self.node
        self._reset_rounds(now_us)
        self._match.clear()
        self._repairs.clear()
        self._held_by_quorum = log.applied
        self._tallies = dict.fromkeys(range(log.applied + 1, log.last + 1), NOBODY)
        self._count("elections")
        self._note("leading", term=self.term, open=log.last - log.applied)
        self._open_term()
        self._begin_round(now_us)
        self._set_timer("heartbeat", self.config.heartbeat_us)

    def _open_term(self) -> None:
        """An entry of the own term, under which everything inherited is committed."""
        self._term_opening = self._log.last + 1
        self._propose((NOOP,))

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        super()._step_down(why, now_us, leader)
        self._repairs.clear()

    def _has_recovered(self) -> bool:
        """A new leader knows what is committed only when an entry of its own term is."""
        return self._log.applied >= self._term_opening

    def _last_proposed(self) -> int:
        return self._log.last

    def _announce_round(self, stamp: int, last: int) -> None:
        log = self._log
        heartbeat = m.Append(self.term, last, log.last_term, (), log.applied, stamp)
        self._out.append(Broadcast(heartbeat, False))

    # ------------------------------------------------------------------ replication

    def _propose(self, commands: tuple[Command, ...]) -> None:
        """Append an entry here, durably, and everywhere."""
        log, term = self._log, self.term
        prev_index, prev_term = log.last, log.last_term
        entries = (Entry(term, prev_index + 1, commands),)
        log.put(entries[0])
        self._tallies[prev_index + 1] = NOBODY
        append = m.Append(term, prev_index, prev_term, entries, log.applied, 0)
        self._out.append(Broadcast(append, False))
        self._out.append(Persist(m.Log(log.applied, entries)))
        self._out.append(Send(self.node, m.Appended(term, True, prev_index + 1, 0)))

    def _on_appended(self, sender: NodeId, message: m.Appended, now_us: int) -> None:
        term, ok, upto, stamp = message
        if term > self.term:
            self._enter(term, now_us)
        if self.role != LEADER or not self._answers_my_term(term):
            return
        if stamp:
            self._acknowledged_round(sender, stamp, now_us)
        if ok:
            self._holds(sender, upto, now_us)
        else:
            self._repair(sender, upto, now_us)

    def _answers_my_term(self, term: int) -> bool:
        """What a log held in an earlier term, somebody else may have replaced since."""
        return term == self.term

    def _holds(self, follower: NodeId, upto: int, now_us: int) -> None:
        """A follower's log is this one up to there."""
        known = self._match.get(follower, 0)
        upto = min(upto, self._log.last)
        if upto > known:
            self._match[follower] = upto
            tallies, vote = self._tallies, self.quorums.vote
            for index in range(max(known, self._held_by_quorum) + 1, upto + 1):
                tallies[index] = vote(tallies[index], follower)
            if upto > self._held_by_quorum:
                self._advance(now_us)
        repair = self._repairs.get(follower)
        if repair is not None and upto >= repair.through:
            del self._repairs[follower]
            if upto == repair.through < self._log.last:
                self._send_from(follower, upto, now_us)

    def _advance(self, now_us: int) -> None:
        """Commit what may be; use the room in the pipeline."""
        tallies, upto = self._tallies, self._held_by_quorum
        while (votes := tallies.get(upto + 1)) is not None and self._is_held_by_quorum(votes):
            upto += 1
            del tallies[upto]
        self._held_by_quorum = upto
        before = self._log.applied
        if upto == before or not self._may_commit(upto):
            return
        self._commit_to(upto)
        self._checkpoint_if_due()
        self._open_slots(now_us)
        if before < self._term_opening:
            self._serve_reads(now_us)

    def _is_held_by_quorum(self, votes: int) -> bool:
        return self.quorums.phase2(votes)

    def _may_commit(self, index: int) -> bool:
        """Copies count for an entry of the own term only; with it all before are committed."""
        return self._log.term_at(index) == self.term

    # ------------------------------------------------------------------ repairs

    def _repair(self, follower: NodeId, after: int, now_us: int) -> None:
        """A follower's log is not this one, but may be up to `after`: send what follows. Appends
        that were under way all fail alike, and are answered once."""
        last = self._repairs.get(follower)
        fresh_us = self.config.heartbeat_us // 2
        if last is None or last.after != after or now_us - last.sent_us >= fresh_us:
            self._send_from(follower, after, now_us)

    def _send_from(self, follower: NodeId, after: int, now_us: int) -> None:
        """Send a piece of the log after `after`; a snapshot where the log no longer goes back."""
        log = self._log
        after = min(after, log.last)
        self._count("repairs")
        if after < log.base:
            through = log.applied
            state = self.machine.snapshot()
            snapshot = m.InstallSnapshot(self.term, through, log.term_at(through), state)
            self._send(follower, snapshot, False)
        else:
            through = min(after + PIECE_ENTRIES, log.last)
            entries = log.held(after + 1, through)
            append = m.Append(self.term, after, log.term_at(after), entries, log.applied, 0)
            self._send(follower, append, False)
        self._repairs[follower] = Repair(after, through, now_us)
