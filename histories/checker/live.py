"""The checker during a run: it follows the growing history, so that a run can stop at its first
violation, and a display can show how far the history has been judged.

Operations that are open now have an unknown outcome so far, so a violation that is found stays one
whatever happens later; a result without violation covers only the events fed so far. Only keys with
new events are judged again, and `poll` spends no more than a tenth of the time on judging.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from histories.budget import Budget
from histories.checker import compiled
from histories.checker.reference import judge_partition, partitions
from histories.checker.verdict import PartitionVerdict
from histories.events import NEMESIS, Event, Json
from histories.models import model_named, validate
from histories.operations import key_text, pair

SHARE = 0.1
"""The share of the time that `poll` may spend."""


class Progress(NamedTuple):
    """How far the history is judged: `judged` of `fed` events; the first violation, if any."""

    fed: int
    judged: int
    violation: PartitionVerdict | None


class LiveChecker:
    """`feed` it events in their order; `poll` judges at limited cost, `judge` judges everything."""

    def __init__(
        self,
        model: str = "kv",
        initial: Json = None,
        *,
        kernel: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self._clock = model_named(model, initial), clock
        self._events: list[Event] = []
        use_kernel = kernel and compiled.holds(self.model)
        self._kernel = compiled.Live(model, initial) if use_kernel else None
        self._changed: set[str | None] = set()
        self._fed = self._judged = 0
        self._violation: PartitionVerdict | None = None
        self._rest_until = 0.0

    @property
    def progress(self) -> Progress:
        return Progress(len(self._events), self._judged, self._violation)

    def feed(self, events: Iterable[Event]) -> None:
        """Take further events. Raises BadHistory where they cannot be part of a history."""
        for event in events:
            self._events.append(event)
            if event.process != NEMESIS:
                self._changed.add(key_text(event.key))

    def poll(self, seconds: float = 0.25) -> Progress:
        """Judge what is new, within a time limit, unless that was done too recently."""
        started = self._clock()
        if started >= self._rest_until:
            self.judge(seconds)
            self._rest_until = self._clock() + (self._clock() - started) / SHARE
        return self.progress

    def judge(self, seconds: float = 60.0) -> Progress:
        """Judge what is new now."""
        fed = len(self._events)
        if self._violation is not None or fed == self._judged:
            return self.progress
        judge = self._by_kernel if self._kernel is not None else self._by_reference
        if judge(seconds):
            self._judged = fed
        return self.progress

    def _by_kernel(self, seconds: float) -> bool:
        assert self._kernel is not None
        new = self._events[self._fed :]
        self._fed = len(self._events)
        if not self._kernel.feed(new):
            self._kernel = None
            return self._by_reference(seconds)
        whole, self._violation = self._kernel.judge(seconds, self.model, self._events)
        return whole or self._violation is not None

    def _by_reference(self, seconds: float) -> bool:
        budget = Budget(seconds, clock=self._clock)
        operations = pair(self._events)
        validate(self.model, operations)
        parts = partitions(operations)
        for key in sorted(self._changed, key=str):
            found = judge_partition(key, parts.get(key, []), self.model, budget)
            if found.outcome == "invalid":
                self._violation = found
                return True
            if found.outcome == "unknown":
                return False
            self._changed.discard(key)
        return True
