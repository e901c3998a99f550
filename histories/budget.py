"""The budget of one check: seconds, and memory beyond what this process held at its start.

Python cannot tell how much memory one part of a program holds, so the resident memory of the whole
process is measured. Readers and searches check it at intervals: a budget bounds what grows step by
step, not a single huge value.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
LOOK: Final = 256
"""How many lines or events a reader processes between checks of its budget."""


class LimitReached(Exception):
    """The budget is used up; the message names the limit, `at` is how far a reader had read."""

    at: int = 0


class Budget:
    """`deadline` is a time of `clock`. None: no limit."""

    def __init__(
        self,
        time_s: float | None = None,
        memory_bytes: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.deadline = float("inf") if time_s is None else clock() + time_s
        self._memory = None if memory_bytes is None else resident_bytes() + memory_bytes

    def within(self, seconds: float) -> Budget:
        """The same budget, for at most this many seconds from now."""
        return self._until(min(self.deadline, self._clock() + seconds))

    def beyond(self, seconds: float) -> Budget:
        """The same budget with this many seconds more."""
        return self._until(self.deadline + seconds)

    def _until(self, deadline: float) -> Budget:
        budget = Budget(clock=self._clock)
        budget.deadline, budget._memory = deadline, self._memory
        return budget

    @property
    def left_s(self) -> float | None:
        """The seconds that are left, at least 0; None without a limit."""
        if self.deadline == float("inf"):
            return None
        return max(0.0, self.deadline - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._clock() > self.deadline

    def check_time(self) -> None:
        """Raises LimitReached if the time is up; does not check the memory."""
        if self.is_over:
            raise LimitReached("the time limit")

    def check(self, more_bytes: int = 0) -> None:
        """Raises LimitReached if the budget is used up, or `more_bytes` more would exceed it."""
        if self._clock() > self.deadline:
            raise LimitReached("the time limit")
        if self._memory is not None and resident_bytes() + more_bytes > self._memory:
            raise LimitReached("the memory limit")

    def look(self, number: int) -> None:
        """Calls `check` at every LOOK-th number."""
        if number % LOOK:
            return
        try:
            self.check()
        except LimitReached as limit:
            limit.at = number
            raise


def resident_bytes() -> int:
    """The resident memory of this process; its peak, if the system does not report the current
    value."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


UNLIMITED: Final = Budget()
