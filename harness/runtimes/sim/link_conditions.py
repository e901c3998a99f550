"""The effect of faults on each message of a link, or of a node's client connections.

There is one random stream per link, so a fault here changes nothing on other links.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.reorder import Reorder
from faults.link_fault import LinkFault

CONNECTION_BREAKS_PERCENT: Final = 50


class LinkConditions:
    """The active faults of a link, and how many messages each has affected."""

    __slots__ = ("_random", "affected", "faults")

    def __init__(self, random: Random) -> None:
        self._random = random
        self.faults: list[LinkFault] = []
        self.affected: dict[str, int] = {}

    def fates(self, message: tuple[Any, ...]) -> list[tuple[int, bool]]:
        """The fate of a message: (extra delay, keeps its position in the order) per copy that
        arrives; empty if it is lost."""
        name = type(message).__name__
        copies = [(0, True)]
        for fault in self.faults:
            if not fault.message or fault.message == name:
                copies = self._apply_fault(fault, copies)
        return copies

    def _apply_fault(
        self, fault: LinkFault, copies: list[tuple[int, bool]]
    ) -> list[tuple[int, bool]]:
        after: list[tuple[int, bool]] = []
        for extra_us, ordered in copies:
            if isinstance(fault, Delay):
                jitter_us = self._up_to(fault.jitter_us)
                after.append((extra_us + fault.delay_us + jitter_us, ordered))
            elif not self._happens(fault):
                after.append((extra_us, ordered))
                continue
            elif isinstance(fault, Duplicate):
                after.append((extra_us, ordered))
                after.append((extra_us + self._up_to(fault.spread_us), False))
            elif isinstance(fault, Reorder):
                after.append((extra_us + self._up_to(fault.window_us), False))
            self.affected[fault.id] = self.affected.get(fault.id, 0) + 1
        return after

    def delay_us(self) -> int:
        """The fixed delay that these faults add to every message."""
        return sum(f.delay_us for f in self.faults if isinstance(f, Delay) and not f.message)

    def client_fate(self) -> int | None:
        """The extra delay of a client's request or answer; None when it is lost. A client uses
        TCP: nothing is duplicated or reordered."""
        extra_us = 0
        for fault in self.faults:
            if fault.message:
                continue
            if isinstance(fault, Delay):
                extra_us += fault.delay_us + self._up_to(fault.jitter_us)
            elif isinstance(fault, Loss) and self._happens(fault):
                self.affected[fault.id] = self.affected.get(fault.id, 0) + 1
                return None
        return extra_us

    def connection_breaks(self) -> bool:
        return self._random.random() * 100 < CONNECTION_BREAKS_PERCENT

    def _happens(self, fault: LinkFault) -> bool:
        percent: int = getattr(fault, "percent", 100)
        return self._random.random() * 100 < percent

    def _up_to(self, most_us: int) -> int:
        return int(self._random.random() * (most_us + 1))
