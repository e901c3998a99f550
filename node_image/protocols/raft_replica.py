"""A Raft node as a follower: its durable state, its log, and what a leader may do to it.

On disk stand the term with the vote given in it, and the log. A record of the log replaces what
stood at its indices and after them, so replaying the records in their order repeats what the log
went through; each also says how far the node knew the log to be committed, which saves a record of
its own for that. The paper keeps the commit index in memory only, and that is enough for safety;
with it a node that starts again knows, and shows, what it had applied.

Every `snapshot_every` entries a checkpoint replaces the disk's content by a snapshot and the open
entries. The last applied entries are kept in memory a while longer, for neighbours who missed them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from node_image.protocols import raft_messages as m
from node_image.protocols.interface import (
    Checkpoint,
    ClusterConfig,
    Decided,
    NodeId,
    Persist,
    Randomness,
    StateMachine,
)
from node_image.protocols.raft_log import Entry, RaftLog
from node_image.protocols.replica import LEADER, Replica


class RaftReplica(Replica):
    """Adds the term, the log and their durable form, and the follower's half of replication."""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self.term = 0
        self.voted_for: NodeId | None = None
        self.leader: NodeId | None = None
        self._log = RaftLog()
        self._snapshot_index = 0

    def _hear(self, sender: NodeId, term: int, now_us: int) -> bool:
        """A leader speaks. False, and a refusal, when its term is over."""
        raise NotImplementedError

    def _grant_lease(self, leader: NodeId | None, now_us: int) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ recovery

    def _recover(self, disk: Sequence[tuple[Any, ...]]) -> None:
        """Repeat what the surviving records say, in their order."""
        for record in disk:
            if isinstance(record, m.Log):
                self._commit_to(min(record.commit, self._log.last))
                self._put(record.entries)
            elif isinstance(record, m.TermVote):
                self.term, self.voted_for = record
            elif isinstance(record, m.Snapshot):
                self._restore(record.slot, record.term, record.state)
            else:
                raise TypeError(f"{self.name} has no record {type(record).__name__}")

    def _restore(self, index: int, term: int, state: Any) -> None:
        self.machine.restore(state)
        self._log.jump(index, term)
        self._snapshot_index = index

    # ------------------------------------------------------------------ the log

    def _put(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._log.put(entry)

    def _append(self, entries: tuple[Entry, ...]) -> None:
        """Take entries into the log, durably."""
        self._put(entries)
        self._out.append(Persist(m.Log(self._log.applied, entries)))

    def _commit_to(self, commit: int) -> None:
        """Entries up to `commit` are committed: apply those that are not. It never goes back."""
        log = self._log
        while log.applied < commit:
            log.applied += 1
            term, slot, commands = log.at(log.applied)
            self._execute(slot, (term,), commands)

    def _set_term(self, term: int, voted_for: NodeId | None) -> None:
        """Enter a term, or vote in it: on disk before anything that this node says in it."""
        self.term = term
        self.voted_for = voted_for
        self._out.append(Persist(m.TermVote(term, voted_for)))

    # ------------------------------------------------------------------ following

    def _on_append(self, sender: NodeId, message: m.Append, now_us: int) -> None:
        term, prev_index, prev_term, entries, commit, stamp = message
        if not self._hear(sender, term, now_us):
            return
        if stamp and not self._is_learner:
            self._grant_lease(sender, now_us)
        if not self._matches(prev_index, prev_term):
            self._count("mismatches")
            meeting = self._meeting_point(prev_index)
            self._send(sender, m.Appended(self.term, False, meeting, stamp))
            return
        if news := self._news(entries):
            self._append(news)
        upto = prev_index + len(entries)
        self._send(sender, m.Appended(self.term, True, upto, stamp))
        self._commit_to(min(commit, upto))
        self._checkpoint_if_due()

    def _matches(self, index: int, term: int) -> bool:
        """The consistency check: whether this log agrees with the leader's up to `index`. What is
        committed does, without a look: a leader has every committed entry."""
        return index <= self._log.applied or self._log.term_at(index) == term

    def _meeting_point(self, index: int) -> int:
        """Where the logs may agree, if they do not at `index`: before the whole run of entries of
        the term that is wrong there, so that a leader gets by them in one step."""
        log = self._log
        index = min(index, log.last + 1)
        wrong = log.term_at(index)
        while index > log.applied and log.term_at(index) == wrong:
            index -= 1
        return index

    def _news(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """From the first one that this log lacks, or holds otherwise. An Append that came late, or
        twice, brings nothing; what follows its entries here was acknowledged, and must stay."""
        log = self._log
        for i, entry in enumerate(entries):
            if entry.slot > log.applied and log.term_at(entry.slot) != entry.term:
                return entries[i:]
        return ()

    def _on_install_snapshot(self, sender: NodeId, message: m.InstallSnapshot, now_us: int) -> None:
        if not self._hear(sender, message.term, now_us):
            return
        if self._is_ahead(message):
            self._restore(message.slot, message.slot_term, message.state)
            self._note("snapshot-installed", slot=message.slot, sender=sender)
            self._checkpoint(message.state)
        self._send(sender, m.Appended(self.term, True, message.slot, 0))

    def _is_ahead(self, snapshot: m.InstallSnapshot) -> bool:
        """Whether a snapshot knows more than this node: a late one would take its state back."""
        return self.role != LEADER and snapshot.slot > self._log.applied

    # ------------------------------------------------------------------ checkpoints

    def _checkpoint_if_due(self) -> None:
        if self._log.applied - self._snapshot_index >= self.config.snapshot_every:
            self._checkpoint(self.machine.snapshot())
            self._log.forget(self._log.applied - self.config.snapshot_every // 2)

    def _checkpoint(self, state: Any) -> None:
        """Replace the disk by a snapshot of what is applied, and all that is still open."""
        log = self._log
        self._snapshot_index = log.applied
        snapshot = m.Snapshot(log.applied, log.term_at(log.applied), state)
        records = (snapshot, m.TermVote(self.term, self.voted_for), m.Log(log.applied, log.open()))
        self._out.append(Checkpoint(records))
        self._count("snapshots")
        self._note("snapshot", slot=log.applied)

    # ------------------------------------------------------------------ telling

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The committed entries that are still held, from `start` on."""
        for term, slot, commands in self._log.held(start, self._log.applied):
            yield Decided(slot, (term,), commands)
