"""The links between nodes: delays, the order of messages, and cuts.

Delays are drawn before the run, for each link from a separate random stream, so that one more
message on one link changes nothing on the others. What a fault adds comes from `link_conditions`;
messages on a link that has conditions are sent by `watched_effects`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappush
from itertools import cycle, repeat
from random import Random
from typing import Any, Final

from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.crashes import BadEffect
from harness.runtimes.sim.event_queue import EventQueue
from harness.runtimes.sim.link_conditions import LinkConditions
from harness.runtimes.sim.node import SimNode

DELAYS: Final = (97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173)
"""How many delays are drawn per link; then they repeat. Different primes, so that the combination
of links does not repeat."""


def draw_delays(stream: str, least_us: int, most_us: int, size: int) -> list[int]:
    """`size` delays, evenly distributed between both bounds (included)."""
    random = Random(stream).random
    spread = most_us - least_us + 1
    return [least_us + int(random() * spread) for _ in range(size)]


class Link:
    """A directed link to `target`. `delay` draws the next message's delay; `cut` drops all
    messages; `conditions`, if not None, may lose, delay, duplicate or reorder each. `last_us` and
    `last_held_us` maintain the order of a stream transport: of messages sent at once, and of those
    that waited for the disk."""

    __slots__ = ("conditions", "cut", "delay", "last_held_us", "last_us", "target")

    def __init__(self, target: SimNode, delay: Callable[[], int]) -> None:
        self.target = target
        self.delay = delay
        self.cut = False
        self.last_us = self.last_held_us = 0
        self.conditions: LinkConditions | None = None


class Network:
    """`links[a][b]` is the link from node a to node b; `open_links[a]` are those of a that are not
    cut, for broadcasts."""

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        settings: WorldConfig,
        seed: int,
        queue: EventQueue,
        *,
        ordered: bool,
    ) -> None:
        self._queue = queue
        self._entries, self._sequence = queue.entries, queue.sequence
        self._ordered = ordered
        self.links: dict[int, dict[int, Link]] = {n: {} for n in nodes}
        self.open_links: dict[int, tuple[Link, ...]] = {}
        sizes = cycle(DELAYS).__next__
        for source in nodes:
            for target, node in nodes.items():
                if source != target:
                    table = _link_delays(settings, f"{seed}:link:{source}>{target}", sizes())
                    self.links[source][target] = Link(node, cycle(table).__next__)
            self.refresh(source)

    def refresh(self, source: int) -> None:
        """Recompute which links of a node are open."""
        self.open_links[source] = tuple(lk for lk in self.links[source].values() if not lk.cut)

    def fix_delays(self, delays_us: Mapping[tuple[int, int], int]) -> None:
        """From now on every message on these directed links takes exactly this long."""
        for (source, target), delay_us in delays_us.items():
            self.links[source][target].delay = repeat(delay_us).__next__

    # ------------------------------------------------------------------ sending

    def broadcast(
        self, source: int, message: tuple[Any, ...], after_sync: bool, barrier_us: int, now_us: int
    ) -> None:
        """Send to every other node, if no link has conditions."""
        if after_sync and barrier_us > now_us:
            for link in self.open_links[source]:
                at_us = self.in_order(link, barrier_us + link.delay(), held=True)
                self._queue.put(at_us, source, link.target, message, barrier_us)
            return
        entries, sequence, ordered = self._entries, self._sequence, self._ordered
        for link in self.open_links[source]:
            delay = link.delay
            at_us = now_us + delay()
            if ordered:
                if at_us < link.last_us:
                    at_us = link.last_us
                else:
                    link.last_us = at_us
            heappush(entries, (at_us, sequence(), source, link.target, message, 0))

    def send(
        self,
        node: SimNode,
        to: int,
        message: tuple[Any, ...],
        after_sync: bool,
        barrier_us: int,
        now_us: int,
    ) -> None:
        """Send one message over a link without conditions, or from a node to itself."""
        source = node.id
        held = after_sync and barrier_us > now_us
        link = self.links[source].get(to)
        if link is None:
            if to != source:
                raise BadEffect(f"n{source} sends {message!r} to n{to}, which is not a node")
            at_us = barrier_us if held else now_us
            heappush(self._entries, (at_us, self._sequence(), to, node, message, at_us))
            return
        if link.cut:
            return
        delay = link.delay
        if held:
            at_us = barrier_us + delay()
            if at_us < link.last_held_us:
                at_us = link.last_held_us
            elif self._ordered:
                link.last_held_us = at_us
            departs_us = barrier_us
        else:
            at_us = now_us + delay()
            if at_us < link.last_us:
                at_us = link.last_us
            elif self._ordered:
                link.last_us = at_us
            departs_us = 0
        entry = (at_us, self._sequence(), source, link.target, message, departs_us)
        heappush(self._entries, entry)

    def in_order(self, link: Link, at_us: int, *, held: bool) -> int:
        """Not before earlier messages on this link, if the transport keeps the order."""
        if not self._ordered:
            return at_us
        if held:
            link.last_held_us = at_us = max(at_us, link.last_held_us)
        else:
            link.last_us = at_us = max(at_us, link.last_us)
        return at_us


def _link_delays(settings: WorldConfig, stream: str, size: int) -> list[int]:
    """The delays of one link: a few messages take much longer than the rest."""
    table = draw_delays(stream, settings.link_min_us, settings.link_max_us, size)
    percent, slow_us = settings.link_slow_percent, settings.link_slow_us
    if percent and slow_us:
        random = Random(f"{stream}:slow")
        for i in range(len(table)):
            if random.random() * 100 < percent:
                table[i] += int(random.random() * slow_us)
    return table
