"""Virtual time, and the clocks of the nodes, which differ from it and from one another.

All times are integer microseconds. Virtual time starts at 0; only the event loop advances it.
"""

from __future__ import annotations

from typing import Final

EPOCH_US: Final = 1_700_000_000_000_000
"""Virtual time 0 on the wall clock, so that wall times look like wall times."""
MILLION: Final = 1_000_000


class VirtualTime:
    """The current moment of the simulation."""

    __slots__ = ("now_us",)

    def __init__(self) -> None:
        self.now_us = 0


class NodeClock:
    """The two clocks of one node.

    `skew_us` is how far the monotonic clock is ahead of virtual time, `drift_ppm` how much too fast
    it runs; the wall clock is the monotonic one plus `wall_offset_us`.
    """

    __slots__ = ("anchor_us", "base_us", "drift_ppm", "skew_us", "wall_offset_us")

    def __init__(self, skew_us: int, wall_offset_us: int, drift_ppm: int) -> None:
        self.skew_us = skew_us
        self.wall_offset_us = wall_offset_us
        self.drift_ppm = 0
        self.anchor_us = self.base_us = 0
        """Virtual time and monotonic clock at the last change of the rate."""
        self.set_drift(drift_ppm, 0)

    def monotonic(self, now_us: int) -> int:
        """What the monotonic clock shows."""
        if not self.drift_ppm:
            return now_us + self.skew_us
        elapsed_us = now_us - self.anchor_us
        return self.base_us + elapsed_us + elapsed_us * self.drift_ppm // MILLION

    def wall(self, now_us: int) -> int:
        """What the wall clock shows."""
        return self.monotonic(now_us) + self.wall_offset_us

    def set_drift(self, drift_ppm: int, now_us: int) -> None:
        """From now on both clocks run `drift_ppm` millionths too fast; neither jumps."""
        self.base_us = self.monotonic(now_us)
        self.anchor_us = now_us
        self.skew_us = self.base_us - now_us
        self.drift_ppm = drift_ppm

    def real_delay(self, delay_us: int) -> int:
        """How long it takes until the monotonic clock has gone on by `delay_us`."""
        if not self.drift_ppm:
            return delay_us
        return delay_us * MILLION // (MILLION + self.drift_ppm) + 1
