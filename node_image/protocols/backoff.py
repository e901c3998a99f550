"""Randomised exponential back-off: how proposers share slots without a leader.

Proposers that try at the same time refuse each other, and those that try again at the same time do
so again. As on a shared medium, each listens before it starts, and waits a random time after it was
refused, from a window that doubles with every refusal. Windows are measured in lengths of attempts,
which differ between a rack and two continents, and which a proposer sees for itself.

A proposer that is refused often waits long, and one that waits long is overtaken: so a decision,
which ends the contest for one slot, makes all equal again for the next, and a winner that has heard
rivals lately lets the others go first.
"""

from __future__ import annotations

from typing import Final

PACE_US: Final = 4_000
"""What an attempt is taken to last, until one has been measured."""
PACE_US_MIN: Final = 1_000
DOUBLINGS_MAX: Final = 3
MEMORY_PACES: Final = 25
"""A rival that was heard within so many attempts' time may be waiting."""


class Backoff:
    """What one proposer knows of the contest. Times are microseconds of its own clock."""

    __slots__ = ("_losses", "_pace_us", "_pace_us_max", "_rival_us")

    def __init__(self, pace_us_max: int) -> None:
        self._pace_us_max = pace_us_max
        self._pace_us = PACE_US
        self._losses = 0
        self._rival_us: int | None = None

    def saw_rival(self, now_us: int) -> None:
        """Somebody else is trying."""
        self._rival_us = now_us

    def refused(self, now_us: int) -> None:
        self._rival_us = now_us
        self._losses += 1

    def won(self) -> None:
        self._losses = 0

    def decided(self) -> None:
        """One contest is over, and the next one begins."""
        self._losses = min(self._losses, 1)

    def measured(self, phase1_us: int) -> None:
        """Phase 1 took so long; the whole attempt takes twice that. Smoothed."""
        pace_us = (3 * self._pace_us + 2 * phase1_us) // 4
        self._pace_us = max(PACE_US_MIN, min(pace_us, self._pace_us_max))

    def is_quiet(self, now_us: int) -> bool:
        """Whether no rival has been heard for the length of an attempt."""
        return not self._has_heard_since(now_us - self._pace_us)

    def has_rivals(self, now_us: int) -> bool:
        return self._has_heard_since(now_us - MEMORY_PACES * self._pace_us)

    def _has_heard_since(self, since_us: int) -> bool:
        return self._rival_us is not None and self._rival_us > since_us

    def window_us(self) -> int:
        """Wait a random time up to this."""
        return 2 * self._pace_us << min(self._losses, DOUBLINGS_MAX)

    def head_start_us(self) -> int:
        """What a winner leaves to the others."""
        return 2 * self._pace_us
