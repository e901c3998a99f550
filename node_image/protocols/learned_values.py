"""Decided values one by one: learned in any order, from anybody, and applied in order.

Under a leader (`log_replica`) what is decided is a prefix of what was voted for in its ballot.
Where every slot has its own ballots, or a value may be chosen without the coordinator, that is not
so: a replica learns "slot 7 holds v" by itself, perhaps before slot 6, and perhaps having voted
there for something else. This file keeps such decisions until their turn.

On disk a decision costs nothing where this replica voted for the value: its next vote says, in
`commit`, how far it had applied. Only a decided value that it did not vote for is written, as
`Chosen`. So the rule of `log_replica` holds: in the order of the records, whatever is below a
`commit` stands there as it was decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from node_image.protocols.interface import (
    ClusterConfig,
    Json,
    NodeId,
    Persist,
    Randomness,
    StateMachine,
)
from node_image.protocols.log_replica import LogReplica
from node_image.protocols.paxos_messages import Chosen, Entries
from node_image.protocols.slot_log import Vote

WINDOW_SLOTS: Final = 4_096
"""A replica keeps nothing further ahead of what it has applied: its memory is bounded."""
FEW_SLOTS: Final = 8
"""So many decided slots are sent unasked to a proposer that lacks them."""


class LearnedValues(LogReplica):
    """Adds the decisions that wait for their turn. Subclasses find out what is decided."""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._decisions: dict[int, Vote] = {}

    def _is_settled(self, slot: int) -> bool:
        """Whether this slot is decided and applied here: nobody votes on it again."""
        return slot <= self._log.applied

    def _is_in_window(self, slot: int) -> bool:
        return self._log.applied < slot <= self._log.applied + WINDOW_SLOTS

    def _decide(self, votes: Iterable[Vote]) -> None:
        """These values are decided: apply what has its turn now."""
        for vote in votes:
            if self._is_in_window(vote.slot):
                self._decisions[vote.slot] = vote
        if (self._log.applied + 1) in self._decisions:
            self._apply_decisions()

    def _apply_decisions(self) -> None:
        log, decisions = self._log, self._decisions
        news: list[Vote] = []
        while (vote := decisions.pop(log.applied + 1 + len(news), None)) is not None:
            news.append(vote)
        if not self._is_learner and not all(self._has_voted_for(vote) for vote in news):
            self._out.append(Persist(Chosen(log.applied, tuple(news))))
        self._apply_entries(news)
        self._checkpoint_if_due()

    def _has_voted_for(self, decided: Vote) -> bool:
        """Whether the value stands on this disk already, as a vote."""
        held = self._log.entries.get(decided.slot)
        return held is not None and held.commands == decided.commands

    def _restore(self, slot: int, state: Json) -> None:
        super()._restore(slot, state)
        for old in [s for s in self._decisions if s <= slot]:
            del self._decisions[old]

    # ------------------------------------------------------------------ to and from other nodes

    def _tell_decided(self, to: NodeId, slot: int) -> None:
        """Answer a proposer that is behind: with what it lacks if that is little."""
        log = self._log
        if slot > log.base and log.applied - slot < FEW_SLOTS:
            self._send(to, Entries(log.applied, tuple(log.held(slot, log.applied))), False)
        else:
            self._tell_applied(to)

    def _tell_applied(self, to: NodeId) -> None:
        """Say how far this node is, where nothing else does."""

    def _learn(self, entries: Sequence[Vote]) -> None:
        self._decide(entries)

    def _on_entries(self, sender: NodeId, message: Entries, now_us: int) -> None:
        before = self._log.applied
        self._learn(message.entries)
        if self._log.applied < message.upto:
            if self._log.applied > before:
                self._asked_us = now_us - self.config.retry_us  # it goes on: ask for more at once
            self._ask_catch_up(sender, now_us)
        self._caught_up(now_us)
