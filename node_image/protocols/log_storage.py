"""The durable form of a log of slots: writing, recovery, execution in order, snapshots.

The disk holds the votes in the order in which they were given, each with the last slot known to be
decided at that time, and, as `Chosen`, the values learned from others (`catch_up`). Replaying the
records reproduces what the replica knew. A decided slot never has a vote for another value, because
decided slots are not voted on again.

Every `snapshot_every` slots a checkpoint replaces the content of the disk by a snapshot and the
votes after it. The last decided slots are kept in memory for a while, for other nodes that missed
them: most outages are short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from node_image.protocols.ballots import Ballot
from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import Decided, Json
from node_image.protocols.multi_paxos_messages import Chosen, Promised, Snapshot
from node_image.protocols.slot_log import SlotLog, Vote
from node_image.protocols.snapshots import Snapshots
from node_image.protocols.state_digests import StateDigests


class LogStorage:
    """Writes the log, reads it back, and applies what is decided in the order of slots."""

    __slots__ = ("_clients", "_ctx", "_digests", "_log", "_snapshots")

    def __init__(self, context: Context, log: SlotLog, clients: Clients) -> None:
        self._ctx = context
        self._log = log
        self._clients = clients
        self._snapshots = Snapshots(context)
        self._digests = StateDigests(context)

    # ------------------------------------------------------------------ recovery

    def recover(self, disk: Sequence[tuple[Any, ...]]) -> None:
        """Replay the surviving records, in their order."""
        log = self._log
        for record in disk:
            if isinstance(record, Vote):
                self.recover_vote(record)
            elif isinstance(record, Promised):
                log.promised = max(log.promised, record.ballot)
            elif isinstance(record, Chosen):
                self.apply_votes(record.commit)
                self.apply_entries(record.entries)
            elif isinstance(record, Snapshot):
                self.restore(record.slot, record.state)
            else:
                self.recover_other(record)
        log.restart_prefix(log.promised)
        self._ctx.note("recovered", records=len(disk), applied=log.applied, last=log.last)

    def recover_vote(self, vote: Vote) -> None:
        log = self._log
        self.apply_votes(vote.commit)
        log.promised = max(log.promised, self.ballot_of(vote))
        if vote.slot > log.applied:
            log.put(vote)

    def ballot_of(self, vote: Vote) -> Ballot:
        """The ballot that a vote promises."""
        return vote.ballot

    def recover_other(self, record: tuple[Any, ...]) -> None:
        """A record type that only some protocols have."""
        raise TypeError(f"no record {type(record).__name__} belongs to this protocol")

    def restore(self, slot: int, state: Any) -> None:
        self._digests.restore(slot, state)
        self._log.jump(slot)
        self._snapshots.last = slot

    # ------------------------------------------------------------------ applying

    def apply(self, slot: int) -> None:
        """Apply the next slot, `slot`, which is decided."""
        log = self._log
        assert slot == log.applied + 1, "slots are applied in order, each once"
        vote = log.entries[slot]
        log.applied = slot
        self._clients.execute(slot, vote.ballot, vote.commands)
        if slot >= self._digests.due:
            self._digests.applied(slot)

    def apply_votes(self, through: int) -> None:
        """The votes held up to `through` are the decided values: apply them in order."""
        log = self._log
        while log.applied < through and (log.applied + 1) in log.entries:
            self.apply(log.applied + 1)

    def apply_entries(self, entries: Iterable[Vote]) -> None:
        """Apply decided values from another node, as far as they are next in order."""
        log = self._log
        for vote in entries:
            if vote.slot == log.applied + 1:
                log.put(vote)
                self.apply(vote.slot)

    def commit_to(self, commit: int) -> None:
        """The leader of the promised ballot states that the slots up to `commit` are decided.

        Its values are the votes of its own ballot: therefore the limit is `prefix`.
        """
        log = self._log
        if log.applied < commit:
            self.apply_votes(commit if commit < log.prefix else log.prefix)
            self.checkpoint_if_due()

    # ------------------------------------------------------------------ checkpoints

    def state_to_send(self) -> Json:
        """The applied state, for a snapshot of slot `applied` for another node."""
        return self._digests.send(self._log.applied)

    def checkpoint_if_due(self) -> None:
        if self._snapshots.is_due(self._log.applied):
            self.checkpoint(self._digests.take(self._log.applied))
            self._log.forget(self._snapshots.may_forget(self._log.applied))

    def checkpoint(self, state: Any) -> None:
        """Replace the content of the disk by a snapshot, and the records of open slots."""
        log = self._log
        votes = () if self._ctx.is_learner else tuple(log.open())
        records = (Snapshot(log.applied, state), *self.open_promises(), *votes)
        self._snapshots.write(log.applied, records)

    def open_promises(self) -> Iterator[tuple[Any, ...]]:
        """The promises that a checkpoint must keep, as records."""
        yield Promised(self._log.promised)

    # ------------------------------------------------------------------ status

    def decided_log(self, start: int) -> Iterator[Decided]:
        """The decided slots that are still held, from `start` on."""
        for vote in self._log.held(start, self._log.applied):
            yield Decided(vote.slot, vote.ballot, vote.commands)
