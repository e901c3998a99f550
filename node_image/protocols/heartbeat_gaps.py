"""The recent gaps between heartbeats, on which an adaptive election timeout is based.

A follower measures the time between the arrivals of two heartbeats of the same leader. This
includes all delays: of the network, of the leader's machine, and of its own. The maximum of the
last one to two periods is used, not a mean and deviation: stalls of a loaded machine are rare and
long, and a mean forgets them in between. (Dynatune, 2025, uses mean and deviation of round trips;
the idea of adapting the timeout to measured intervals is from there.)
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

PERIOD_HEARTBEATS: Final = 50


class HeartbeatGaps:
    """Times are microseconds of the follower's clock."""

    __slots__ = ("_before_us", "_began_us", "_heard_us", "_longest_us", "_period_us", "_term")

    def __init__(self, heartbeat_us: int) -> None:
        self._period_us = PERIOD_HEARTBEATS * heartbeat_us
        self._term: Hashable = None
        self._heard_us = 0
        self._began_us: int | None = None  # when the current period began
        self._longest_us = 0  # in the current period
        self._before_us: int | None = None  # in the previous period

    def heard(self, term: Hashable, now_us: int) -> None:
        """A heartbeat of this term, or ballot, has arrived. The time between the heartbeats of two
        terms is not a gap, even if the same node leads in both: this node may have led between."""
        if self._began_us is None:
            self._began_us = now_us
        elif term == self._term:
            self._longest_us = max(self._longest_us, now_us - self._heard_us)
        if now_us - self._began_us >= self._period_us:
            self._before_us, self._longest_us = self._longest_us, 0
            self._began_us = now_us
        self._term, self._heard_us = term, now_us

    def longest_us(self) -> int | None:
        """The longest recent gap; None until a whole period has been measured."""
        return None if self._before_us is None else max(self._before_us, self._longest_us)
