"""Values that are learned one by one, in any order, and applied in the order of slots.

With a leader (`log_storage`) the decided values are a prefix of the votes in its ballot. This is
not the case where every slot has its own ballots, or a value may be chosen without the coordinator:
a replica learns "slot 7 holds v" separately, perhaps before slot 6, and perhaps after it has voted
there for another value. This part keeps such values until all earlier slots are decided.

A decision needs no disk write if this replica voted for the value: its next vote states, in
`commit`, how far it had applied. Only a decided value that it did not vote for is written, as
`Chosen`. So the rule of `log_storage` holds: replaying the records in order, every slot up to a
`commit` holds its decided value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node_image.protocols.catch_up import CatchingUp
from node_image.protocols.context import Context
from node_image.protocols.interface import NodeId
from node_image.protocols.log_storage import LogStorage
from node_image.protocols.multi_paxos_messages import Chosen, Entries, SnapshotOffer
from node_image.protocols.slot_log import SlotLog, Vote

WINDOW_SLOTS: Final = 4_096
"""How far ahead of the applied slot a replica keeps values: this bounds its memory."""
FEW_SLOTS: Final = 8
"""A proposer that is at most this many slots behind is sent them without asking."""


class LearnedValues:
    """The decided values that wait to be applied, and their exchange between nodes."""

    __slots__ = ("_catch_up", "_ctx", "_log", "_storage", "waiting")

    def __init__(
        self, context: Context, log: SlotLog, storage: LogStorage, catch_up: CatchingUp
    ) -> None:
        self._ctx = context
        self._log = log
        self._storage = storage
        self._catch_up = catch_up
        self.waiting: dict[int, Vote] = {}

    def is_settled(self, slot: int) -> bool:
        """Whether this slot is decided and applied here: it needs no more votes."""
        return slot <= self._log.applied

    def is_in_window(self, slot: int) -> bool:
        return self._log.applied < slot <= self._log.applied + WINDOW_SLOTS

    def learn(self, votes: Iterable[Vote]) -> None:
        """These values are decided: apply as many as possible in order."""
        for vote in votes:
            if self.is_in_window(vote.slot):
                self.waiting[vote.slot] = vote
        if (self._log.applied + 1) in self.waiting:
            self._apply()

    def _apply(self) -> None:
        log, waiting = self._log, self.waiting
        news: list[Vote] = []
        while (vote := waiting.pop(log.applied + 1 + len(news), None)) is not None:
            news.append(vote)
        if not self._ctx.is_learner and not all(self._has_voted_for(vote) for vote in news):
            self._ctx.persist(Chosen(log.applied, tuple(news)))
        self._storage.apply_entries(news)
        self._storage.checkpoint_if_due()

    def _has_voted_for(self, decided: Vote) -> bool:
        """Whether the value is already on this node's disk, as a vote."""
        held = self._log.entries.get(decided.slot)
        return held is not None and held.commands == decided.commands

    # ------------------------------------------------------------------ messages

    def send_decided(self, to: NodeId, slot: int) -> bool:
        """Send a proposer the decided slots that it lacks, if they are few; returns whether."""
        log = self._log
        few = slot > log.base and log.applied - slot < FEW_SLOTS
        if few:
            entries = tuple(log.held(slot, log.applied))
            self._ctx.send(to, Entries(log.applied, entries), False)
        return few

    def on_entries(self, sender: NodeId, message: Entries, now_us: int) -> None:
        before = self._log.applied
        self.learn(message.entries)
        if self._log.applied < message.upto:
            if self._log.applied > before:  # there was progress: ask for more at once
                self._catch_up.ask_at_once(sender, now_us)
            else:
                self._catch_up.ask(sender, now_us)

    def on_snapshot_offer(self, sender: NodeId, message: SnapshotOffer) -> None:
        self._catch_up.on_snapshot_offer(sender, message)
        for old in [s for s in self.waiting if s <= self._log.applied]:
            del self.waiting[old]
