"""Scheduled actions, in the order in which they are due."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

NEVER: Final = 1 << 62
Action = Callable[[Any, int], None]


class Timers:
    """Actions by time (microseconds); those at the same time in the order in which they were
    scheduled."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Action, Any]] = []
        self._count = 0

    def at(self, at_us: int, action: Action, argument: Any) -> None:
        """Call `action(argument, now_us)` at `at_us`."""
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, action, argument))

    def due_us(self) -> int:
        return self._heap[0][0] if self._heap else NEVER

    def run(self, now_us: int) -> None:
        """Carry out due actions; stops at once when an action clears the timers."""
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            _, _, action, argument = heapq.heappop(heap)
            action(argument, now_us)

    def clear(self) -> None:
        self._heap.clear()
