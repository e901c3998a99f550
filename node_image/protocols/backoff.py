"""Randomised exponential back-off: how proposers share slots without a leader.

Proposers that start attempts at the same time preempt each other, and do so again if they retry at
the same time. As on a shared medium, a proposer listens before it starts, and waits a random time
after it was refused. The window of that time doubles with every refusal. Its unit is the duration
of an attempt, which every proposer measures: it differs between a rack and two continents.

A proposer that was refused often waits longer, and may be overtaken again and again. So a decision
resets the windows, and a winner that has recently seen rivals waits before its next attempt.
"""

from __future__ import annotations

from typing import Final

PACE_US: Final = 4_000
"""The assumed duration of an attempt until one has been measured."""
PACE_US_MIN: Final = 1_000
DOUBLINGS_MAX: Final = 3
MEMORY_PACES: Final = 25
"""A rival that was seen within the time of this many attempts may still be waiting."""


class Backoff:
    """One proposer's back-off. Times are microseconds of its own clock."""

    __slots__ = ("_losses", "_pace_us", "_pace_us_max", "_rival_us")

    def __init__(self, pace_us_max: int) -> None:
        self._pace_us_max = pace_us_max
        self._pace_us = PACE_US
        self._losses = 0
        self._rival_us: int | None = None

    def saw_rival(self, now_us: int) -> None:
        """Another proposer has an attempt in this slot."""
        self._rival_us = now_us

    def refused(self, now_us: int) -> None:
        self._rival_us = now_us
        self._losses += 1

    def won(self) -> None:
        self._losses = 0

    def decided(self) -> None:
        """A slot was decided: the contest for the next one begins."""
        self._losses = min(self._losses, 1)

    def measured(self, phase1_us: int) -> None:
        """Phase 1 took this long; an attempt takes twice that. Smoothed."""
        pace_us = (3 * self._pace_us + 2 * phase1_us) // 4
        self._pace_us = max(PACE_US_MIN, min(pace_us, self._pace_us_max))

    def is_quiet(self, now_us: int) -> bool:
        """Whether no rival was seen for the duration of an attempt."""
        return not self._has_heard_since(now_us - self._pace_us)

    def has_rivals(self, now_us: int) -> bool:
        return self._has_heard_since(now_us - MEMORY_PACES * self._pace_us)

    def _has_heard_since(self, since_us: int) -> bool:
        return self._rival_us is not None and self._rival_us > since_us

    def window_us(self) -> int:
        """The upper bound of the random wait."""
        return 2 * self._pace_us << min(self._losses, DOUBLINGS_MAX)

    def head_start_us(self) -> int:
        """How long a winner waits before its next attempt."""
        return 2 * self._pace_us
