"""A replica of a log of slots: recovery, snapshots, and catching up with the others.

What is decided reaches a replica in one of three ways: it applies its own votes once their
ballot's leader says that they are decided (`_commit_to`), it asks a node that knows more
(`CatchUp`, answered with a piece of the log, or with a snapshot when the log is gone there), or it
reads its own disk after a crash (`_recover`).

On disk stand the votes, in the order in which they were given, with how far each voter knew the
decisions then; and, as `Chosen`, what was learned from others. Replaying them therefore repeats
what the replica knew, and "slot s is decided" is never read together with a vote that was not the
decided one: a slot that is decided is not voted on again.

Every `snapshot_every` slots a checkpoint replaces the disk's content by a snapshot and the votes
after it. The last decided slots are kept in memory a while longer, for the neighbours who missed
them: most absences are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.interface import (
    Checkpoint,
    ClusterConfig,
    Decided,
    NodeId,
    Persist,
    Randomness,
    StateMachine,
)
from node_image.protocols.paxos_messages import (
    CatchUp,
    Chosen,
    Entries,
    Promised,
    Snapshot,
    SnapshotOffer,
)
from node_image.protocols.replica import LEADER, Replica
from node_image.protocols.slot_log import SlotLog, Vote

PIECE_SLOTS: Final = 256
"""At most so many decided slots travel in one message."""


class LogReplica(Replica):
    """Adds the log, its durable form, and catch-up. Subclasses decide what is decided."""

    __slots__ = ("_asked_us", "_log", "_promised", "_snapshot_slot")

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._log = SlotLog()
        self._promised: Ballot = ZERO
        self._snapshot_slot = 0
        self._asked_us = -config.retry_us

    # ------------------------------------------------------------------ recovery

    def _recover(self, disk: Sequence[tuple[Any, ...]]) -> None:
        """Repeat what the surviving records say, in their order."""
        for record in disk:
            if isinstance(record, Vote):
                self._recover_vote(record)
            elif isinstance(record, Promised):
                self._promised = max(self._promised, record.ballot)
            elif isinstance(record, Chosen):
                self._recover_chosen(record)
            elif isinstance(record, Snapshot):
                self._restore(record.slot, record.state)
            else:
                self._recover_other(record)
        self._log.restart_prefix(self._promised)

    def _recover_other(self, record: tuple[Any, ...]) -> None:
        """A record of a subclass's own."""
        raise TypeError(f"{self.name} has no record {type(record).__name__}")

    def _recover_vote(self, vote: Vote) -> None:
        self._apply_votes(vote.commit)
        self._promised = max(self._promised, vote.ballot)
        if vote.slot > self._log.applied:
            self._log.put(vote)

    def _recover_chosen(self, record: Chosen) -> None:
        self._apply_votes(record.commit)
        self._apply_entries(record.entries)

    def _restore(self, slot: int, state: Any) -> None:
        self.machine.restore(state)
        self._log.jump(slot)
        self._snapshot_slot = slot

    # ------------------------------------------------------------------ applying

    def _apply(self, slot: int) -> None:
        """Slot `slot`, the next one, is decided: apply it."""
        log = self._log
        vote = log.entries[slot]
        log.applied = slot
        self._execute(slot, vote.ballot, vote.commands)

    def _apply_votes(self, through: int) -> None:
        """The votes held up to `through` are the decided values: apply them in order."""
        log = self._log
        while log.applied < through and (log.applied + 1) in log.entries:
            self._apply(log.applied + 1)

    def _apply_entries(self, entries: Iterable[Vote]) -> None:
        """Take decided values from elsewhere: those that come next, in order."""
        log = self._log
        for vote in entries:
            if vote.slot == log.applied + 1:
                log.put(vote)
                self._apply(vote.slot)

    def _commit_to(self, commit: int) -> None:
        """The leader of the promised ballot says that the slots up to `commit` are decided.

        Its values are the votes given in its own ballot: hence `prefix`.
        """
        log = self._log
        if log.applied < commit:
            self._apply_votes(commit if commit < log.prefix else log.prefix)
            self._checkpoint_if_due()

    # ------------------------------------------------------------------ checkpoints

    def _checkpoint_if_due(self) -> None:
        if self._log.applied - self._snapshot_slot >= self.config.snapshot_every:
            self._checkpoint(self.machine.snapshot())
            self._log.forget(self._log.applied - self.config.snapshot_every // 2)

    def _checkpoint(self, state: Any) -> None:
        """Replace the disk by a snapshot of what is applied, and all that is still open."""
        log = self._log
        self._snapshot_slot = log.applied
        open_ = (*self._open_promises(), *self._open_votes())
        records = (Snapshot(log.applied, state), *open_)
        self._out.append(Checkpoint(records))
        self._count("snapshots")
        self._note("snapshot", slot=log.applied)

    def _open_promises(self) -> Iterator[tuple[Any, ...]]:
        yield Promised(self._promised)

    def _open_votes(self) -> Iterator[Vote]:
        return iter(()) if self._is_learner else self._log.open()

    # ------------------------------------------------------------------ catching up: asking

    def _ask_catch_up(self, of: NodeId, now_us: int) -> None:
        """Ask for what is missing, unless asked a moment ago: the answer may be on its way."""
        if now_us - self._asked_us >= self.config.retry_us:
            self._asked_us = now_us
            self._send(of, CatchUp(self._log.applied + 1), False)

    def _on_entries(self, sender: NodeId, message: Entries, now_us: int) -> None:
        if self.role == LEADER:
            return  # late: a leader decides by counting, and by nothing else
        before = self._log.applied
        self._learn(message.entries)
        if before < self._log.applied < message.upto:
            self._asked_us = now_us
            self._send(sender, CatchUp(self._log.applied + 1), False)
        self._caught_up(now_us)

    def _learn(self, entries: Sequence[Vote]) -> None:
        """Write down and apply decided values that another node sent."""
        log = self._log
        before = log.applied
        news = tuple(vote for vote in entries if vote.slot > before)
        if not news or news[0].slot != before + 1:
            return
        if not self._is_learner:
            self._out.append(Persist(Chosen(before, news)))
        self._apply_entries(news)
        log.extend_prefix(self._promised)
        self._count("caught_up")
        self._checkpoint_if_due()

    def _on_snapshot_offer(self, sender: NodeId, message: SnapshotOffer, now_us: int) -> None:
        if message.slot > self._log.applied and self.role != LEADER:
            self._restore(message.slot, message.state)
            self._log.extend_prefix(self._promised)
            self._note("snapshot-installed", slot=message.slot, sender=sender)
            self._checkpoint(message.state)
        self._caught_up(now_us)

    def _caught_up(self, now_us: int) -> None:
        """Something was learned: a hook for those who waited for it."""

    # ------------------------------------------------------------------ catching up: answering

    def _on_catch_up(self, sender: NodeId, message: CatchUp, now_us: int) -> None:
        log = self._log
        if message.first > log.applied:
            return
        if message.first <= log.base:
            self._send(sender, SnapshotOffer(log.applied, self.machine.snapshot()), False)
            return
        end = min(message.first + PIECE_SLOTS - 1, log.applied)
        self._send(sender, Entries(log.applied, tuple(log.held(message.first, end))), False)

    # ------------------------------------------------------------------ telling

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The decided slots that are still held, from `start` on."""
        for vote in self._log.held(start, self._log.applied):
            yield Decided(vote.slot, vote.ballot, vote.commands)
