"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from harness.search.executors.interface import Item, Outcome, Result


class InProcess:
    """For one job at a time, and for debugging: a crash ends this process."""

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        for item in items:
            yield Outcome(item, work(item))
