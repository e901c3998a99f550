"""A Raft node's durable state: term, vote and log; what is written, recovery, snapshots.

The disk holds the term with the vote given in it, and the log. A log record replaces what was at
its indices and after them, so replaying the records in order reproduces the log. Each record also
states how far the node knew the log to be committed, so no separate record is needed for that. The
paper keeps the commit index in memory only, which is enough for safety; with it on disk a restarted
node knows, and reports, what it had applied.

Every `snapshot_every` entries a checkpoint replaces the content of the disk by a snapshot and the
open entries. The last applied entries are kept in memory for a while, for nodes that missed them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from node_image.protocols import raft_messages as m
from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import Broadcast, Decided, Json, NodeId, Persist
from node_image.protocols.raft_log import Entry, RaftLog
from node_image.protocols.snapshots import Snapshots
from node_image.protocols.state_digests import StateDigests


class RaftStorage:
    """Writes the term and the log, reads them back, and applies what is committed.

    `term` is the node's term, `voted_for` the candidate that it voted for in this term.
    """

    __slots__ = ("_clients", "_ctx", "_digests", "_log", "_snapshots", "term", "voted_for")

    def __init__(self, context: Context, log: RaftLog, clients: Clients) -> None:
        self._ctx = context
        self._log = log
        self._clients = clients
        self._snapshots = Snapshots(context)
        self._digests = StateDigests(context)
        self.term = 0
        self.voted_for: NodeId | None = None

    # ------------------------------------------------------------------ recovery

    def recover(self, disk: Sequence[tuple[Any, ...]]) -> None:
        """Replay the surviving records, in their order."""
        log = self._log
        for record in disk:
            if isinstance(record, m.Log):
                self.commit_to(min(record.commit, log.last))
                self._put(record.entries)
            elif isinstance(record, m.TermVote):
                self.term, self.voted_for = record
            elif isinstance(record, m.Snapshot):
                self.restore(record.slot, record.term, record.state)
            else:
                raise TypeError(f"Raft has no record {type(record).__name__}")
        self._ctx.note("recovered", records=len(disk), applied=log.applied, last=log.last)

    def restore(self, index: int, term: int, state: Any) -> None:
        self._digests.restore(index, state)
        self._log.jump(index, term)
        self._snapshots.last = index

    # ------------------------------------------------------------------ writing

    def set_term(self, term: int, voted_for: NodeId | None) -> None:
        """Enter a term, or vote in it; on disk before any message of this node in that term."""
        self.term = term
        self.voted_for = voted_for
        self._ctx.out.append(Persist(m.TermVote(term, voted_for)))

    def _put(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._log.put(entry)

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Append entries to the log, durably."""
        self._put(entries)
        self._ctx.out.append(Persist(m.Log(self._log.applied, entries)))

    # ------------------------------------------------------------------ applying

    def commit_to(self, commit: int) -> None:
        """Entries up to `commit` are committed: apply those that are not applied yet."""
        log = self._log
        assert commit <= log.last, "nothing is committed that is not in the log"
        while log.applied < commit:
            log.applied += 1
            term, slot, commands = log.at(log.applied)
            self._clients.execute(slot, (term,), commands)
            if slot >= self._digests.due:
                self._digests.applied(slot)

    # ------------------------------------------------------------------ checkpoints

    def state_to_send(self) -> Json:
        """The applied state, for a snapshot of index `applied` for another node."""
        return self._digests.send(self._log.applied)

    def checkpoint_if_due(self) -> None:
        if self._snapshots.is_due(self._log.applied):
            self.checkpoint(self._digests.take(self._log.applied))
            self._log.forget(self._snapshots.may_forget(self._log.applied))

    def checkpoint(self, state: Any) -> None:
        """Replace the content of the disk by a snapshot, and the records of open entries."""
        log = self._log
        snapshot = m.Snapshot(log.applied, log.term_at(log.applied), state)
        records = (snapshot, m.TermVote(self.term, self.voted_for), m.Log(log.applied, log.open()))
        self._snapshots.write(log.applied, records)

    # ------------------------------------------------------------------ status

    def decided_log(self, start: int) -> Iterator[Decided]:
        """The committed entries that are still held, from `start` on."""
        for term, slot, commands in self._log.held(start, self._log.applied):
            yield Decided(slot, (term,), commands)


class TermHeartbeats:
    """A Raft leader's heartbeats: Appends without entries."""

    __slots__ = ("_ctx", "_log", "_storage")

    def __init__(self, context: Context, log: RaftLog, storage: RaftStorage) -> None:
        self._ctx = context
        self._log = log
        self._storage = storage

    def last_proposed(self) -> int:
        return self._log.last

    def send_heartbeat(self, stamp: int, last: int) -> None:
        log = self._log
        heartbeat = m.Append(self._storage.term, last, log.last_term, (), log.applied, stamp)
        self._ctx.out.append(Broadcast(heartbeat, False))

    def ballot_number(self) -> tuple[int, ...]:
        return (self._storage.term,)

    def note_fields(self) -> dict[str, Json]:
        return {"term": self._storage.term}
