"""Catching up: a replica that lacks decided slots asks a node that has them.

A replica learns decided values in one of three ways: it applies its own votes once the leader of
their ballot announces that they are decided (`log_storage`), it reads its disk after a crash, or it
asks another node. `CatchUp` is answered with a part of the log, or with a snapshot if the log does
not reach back far enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.interface import NodeId
from node_image.protocols.log_storage import LogStorage
from node_image.protocols.multi_paxos_messages import CatchUp, Chosen, Entries, SnapshotOffer
from node_image.protocols.slot_log import SlotLog, Vote

PIECE_SLOTS: Final = 256
"""At most so many decided slots travel in one message."""


class CatchingUp:
    """Requests, receives and sends decided slots."""

    __slots__ = ("_asked_us", "_ctx", "_log", "_storage")

    def __init__(self, context: Context, log: SlotLog, storage: LogStorage) -> None:
        self._ctx = context
        self._log = log
        self._storage = storage
        self._asked_us = -context.config.retry_us

    # ------------------------------------------------------------------ asking

    def ask(self, of: NodeId, now_us: int) -> None:
        """Ask for missing slots, unless a recent request may still be answered."""
        if now_us - self._asked_us >= self._ctx.config.retry_us:
            self.ask_at_once(of, now_us)

    def ask_at_once(self, of: NodeId, now_us: int) -> None:
        self._asked_us = now_us
        self._ctx.send(of, CatchUp(self._log.applied + 1), False)

    def on_entries(self, sender: NodeId, message: Entries, now_us: int) -> None:
        """Apply decided slots, and ask for more while they arrive."""
        before = self._log.applied
        self.learn(message.entries)
        if before < self._log.applied < message.upto:
            self.ask_at_once(sender, now_us)

    def learn(self, entries: Sequence[Vote]) -> None:
        """Persist and apply decided values that another node sent."""
        log = self._log
        before = log.applied
        news = tuple(vote for vote in entries if vote.slot > before)
        if not news or news[0].slot != before + 1:
            return
        if not self._ctx.is_learner:
            self._ctx.persist(Chosen(before, news))
        self._storage.apply_entries(news)
        log.extend_prefix(log.promised)
        self._ctx.count("caught_up")
        self._storage.checkpoint_if_due()

    def on_snapshot_offer(self, sender: NodeId, message: SnapshotOffer) -> None:
        """Install the state of a node that is further ahead."""
        log = self._log
        if message.slot > log.applied:
            self._storage.restore(message.slot, message.state)
            log.extend_prefix(log.promised)
            self._ctx.note("snapshot-installed", slot=message.slot, sender=sender)
            self._storage.checkpoint(message.state)

    # ------------------------------------------------------------------ answering

    def on_catch_up(self, sender: NodeId, message: CatchUp) -> None:
        log = self._log
        if message.first > log.applied:
            return
        if message.first <= log.base:
            offer = SnapshotOffer(log.applied, self._storage.state_to_send())
            self._ctx.send(sender, offer, False)
            return
        end = min(message.first + PIECE_SLOTS - 1, log.applied)
        entries = tuple(log.held(message.first, end))
        self._ctx.send(sender, Entries(log.applied, entries), False)
