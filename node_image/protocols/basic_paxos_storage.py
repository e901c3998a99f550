"""Basic Paxos' durable state: promises and votes of every slot that is not yet decided.

In Multi-Paxos one promise holds for all slots, and `log_storage` writes it. Here each slot is a
separate instance with its own promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from node_image.protocols.ballots import ZERO, Ballot
from node_image.protocols.basic_paxos_messages import Promised
from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.log_storage import LogStorage
from node_image.protocols.slot_log import SlotLog, Vote


class SlotPromises:
    """The highest ballot that this acceptor has promised, for every open slot."""

    __slots__ = ("ballots",)

    def __init__(self) -> None:
        self.ballots: dict[int, Ballot] = {}

    def of(self, slot: int) -> Ballot:
        return self.ballots.get(slot, ZERO)

    def raise_to(self, slot: int, ballot: Ballot) -> None:
        self.ballots[slot] = max(ballot, self.ballots.get(slot, ZERO))

    def forget(self, applied: int) -> bool:
        """Drop those of slots up to `applied`. Whether there were any."""
        old = [slot for slot in self.ballots if slot <= applied]
        for slot in old:
            del self.ballots[slot]
        return bool(old)


class BasicPaxosStorage(LogStorage):
    """The log of slots, each with its own promise."""

    __slots__ = ("_promises",)

    def __init__(
        self, context: Context, log: SlotLog, clients: Clients, promises: SlotPromises
    ) -> None:
        super().__init__(context, log, clients)
        self._promises = promises

    def recover_other(self, record: tuple[Any, ...]) -> None:
        if not isinstance(record, Promised):
            super().recover_other(record)
        elif record.slot > self._log.applied:
            self._promises.raise_to(record.slot, record.ballot)

    def recover_vote(self, vote: Vote) -> None:
        super().recover_vote(vote)
        if vote.slot > self._log.applied:
            self._promises.raise_to(vote.slot, vote.ballot)

    def open_promises(self) -> Iterator[tuple[Any, ...]]:
        for slot, ballot in self._promises.ballots.items():
            yield Promised(slot, ballot)
