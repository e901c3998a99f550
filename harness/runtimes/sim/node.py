"""One simulated node: its protocol object while it lives, its disk, clocks, timers and links.

A crash drops the protocol object and whatever had not left the node; a start makes a fresh one from
what the disk still holds. A pause keeps everything and does nothing: messages, timers and held-back
effects wait in `stash` until it goes on, while its clocks run.

Clocks: `skew_us` is what the node's monotonic clock is ahead of the simulation's, `ppm` how much
too fast it runs; the wall clock is the monotonic one plus `wall_offset_us`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from harness.runtimes.sim.disk import Disk
from node_image.protocols.interface import ConsensusProtocol, Decided, Note

if TYPE_CHECKING:
    from harness.runtimes.sim.link_conditions import Weather

EPOCH_US: Final = 1_700_000_000_000_000
"""The simulation's zero on the wall clock, so that wall times look like wall times."""
MILLION: Final = 1_000_000


class Link:
    """A directed link to `target`. `delay` draws the next message's delay; `cut` drops them all;
    `weather`, where not None, does something to each. `last_us` keeps TCP's order: of messages that
    left at once, and of those that waited for the disk."""

    __slots__ = ("cut", "delay", "last_held_us", "last_us", "target", "weather")

    def __init__(self, target: SimNode, delay: Callable[[], int]) -> None:
        self.target = target
        self.delay = delay
        self.cut = False
        self.last_us = self.last_held_us = 0
        self.weather: Weather | None = None


class SimNode:
    """The state of one node that the world keeps; the world moves it."""

    __slots__ = (
        "boots",
        "client_delay",
        "client_weather",
        "decided",
        "decided_us",
        "disk",
        "drift_anchor_us",
        "drift_base_us",
        "id",
        "links",
        "lives",
        "monotonic_start_us",
        "notes",
        "open_links",
        "paused",
        "ppm",
        "protocol",
        "receive",
        "recovered",
        "request",
        "running",
        "skew_us",
        "stash",
        "timers",
        "torn",
        "up",
        "waiting",
        "wake",
        "wall_offset_us",
        "watched",
        "watched_for",
    )

    def __init__(self, identity: int, disk: Disk, client_delay: Callable[[], int]) -> None:
        self.id = identity
        self.disk = disk
        self.client_delay = client_delay
        self.client_weather: Weather | None = None
        self.up = False
        """A process exists."""
        self.paused = False
        self.running = False
        """Up and not paused."""
        self.watched = False
        """Some outgoing link has weather, or a strike is armed: every send is looked at."""
        self.watched_for: frozenset[str] | None = None
        """The names of the messages that it is watched for; None: all of them."""
        self.boots = 0
        self.skew_us = 0
        self.ppm = 0
        self.drift_anchor_us = self.drift_base_us = 0
        self.wall_offset_us = 0
        self.links: dict[int, Link] = {}
        """To every other node, in the order of their numbers."""
        self.open_links: tuple[Link, ...] = ()
        """Those that are not cut: what a broadcast goes over."""
        self.timers: dict[str, int] = {}
        """When each timer that is set fires: an entry of the agenda that differs is void."""
        self.waiting: dict[tuple[int, int], int] = {}
        """Which call waits here for the answer to (client, seq)."""
        self.stash: list[Any] = []
        """While paused: the agenda's entries that came due, in their order."""
        self.decided: list[Decided] = []
        self.decided_us: list[int] = []
        self.lives: list[int] = []
        """Where in `decided` each life began."""
        self.notes: list[tuple[int, Note]] = []
        self.recovered: list[tuple[Any, ...]] = []
        self.protocol: ConsensusProtocol | None = None
        self.receive: Callable[[int, tuple[Any, ...], int], list[Any]]
        self.request: Callable[[Any, int], list[Any]]
        self.wake: Callable[[str, int], list[Any]]

    # ------------------------------------------------------------------ clocks

    def monotonic(self, now_us: int) -> int:
        """What this node's monotonic clock shows."""
        if not self.ppm:
            return now_us + self.skew_us
        elapsed_us = now_us - self.drift_anchor_us
        return self.drift_base_us + elapsed_us + elapsed_us * self.ppm // MILLION

    def wall(self, now_us: int) -> int:
        return self.monotonic(now_us) + self.wall_offset_us

    def set_drift(self, ppm: int, now_us: int) -> None:
        """From now on both clocks run `ppm` millionths too fast; neither jumps."""
        self.drift_base_us = self.monotonic(now_us)
        self.drift_anchor_us = now_us
        self.skew_us = self.drift_base_us - now_us
        self.ppm = ppm

    def real_delay(self, delay_us: int) -> int:
        """How long it takes until this node's clock has gone on by `delay_us`."""
        if not self.ppm:
            return delay_us
        return delay_us * MILLION // (MILLION + self.ppm) + 1

    # ------------------------------------------------------------------ links

    def refresh_links(self) -> None:
        """Work out again what the fast path goes by."""
        self.open_links = tuple(link for link in self.links.values() if not link.cut)

    def has_weather(self) -> bool:
        return self.client_weather is not None or any(
            link.weather is not None for link in self.links.values()
        )

    def let_go(self) -> None:
        """Break the cycles that this node is part of."""
        self.links.clear()
        self.open_links = ()
        self.stash.clear()
        self.protocol = None
        self.receive = self.request = self.wake = _nobody


def _nobody(*_: Any) -> list[Any]:
    raise RuntimeError("this node's run is over")
