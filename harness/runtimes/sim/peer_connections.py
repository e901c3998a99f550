"""The connections between nodes: the events that nodes are notified of.

Messages need no connection here, but a protocol is notified of two events (`peer_lost` and
`peer_connected` in `node_image/protocols/interface.py`):

  * A process has ended: its kernel closes its connections, and every peer is notified after the
    last message in flight. This holds for every end of a process, by a kill, a bug or a full disk.
  * A process has started: the others, which retry periodically, connect to it again.

A power cut closes no connection, and nothing arrives over a cut link: in both cases peers run into
their timeouts, as on real hardware. (In containers a power cut is a kill with a truncated disk,
whose connections the host's kernel does close.) A cut alone ends no connection.

Delays are from a separate random stream for each end and each start, so that no other stream is
affected.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.event_queue import PEER_CONNECTED, PEER_LOST, EventQueue
from harness.runtimes.sim.network import Link, Network
from harness.runtimes.sim.node import SimNode

ATTEMPT_US: Final = 100_000
"""A refused attempt to connect is repeated after this time, as in `node_image.server.transport`."""


class PeerConnections:
    """`ordered`: connections keep the order of messages, so their end arrives after all of them."""

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        network: Network,
        queue: EventQueue,
        settings: WorldConfig,
        seed: int,
        *,
        ordered: bool,
    ) -> None:
        self._nodes = nodes
        self._network = network
        self._queue = queue
        self._settings = settings
        self._seed = seed
        self._ordered = ordered

    def closed(self, node: SimNode, now_us: int) -> None:
        """The node's process has ended, and what had not left it is withdrawn: notify its peers."""
        random = Random(f"{self._seed}:closed:{node.id}:{node.boots}")
        least_us, most_us = self._settings.link_min_us, self._settings.link_max_us
        arrivals = self._last_arrivals(node.id) if self._ordered else {}
        for to, link in self._network.links[node.id].items():
            at_us = now_us + random.randrange(least_us, most_us + 1) + _extra_us(link)
            if not link.cut:
                at_us = max(at_us, arrivals.get(to, 0))
                self._queue.put(at_us, PEER_LOST, link.target, node.id)

    def opened(self, node: SimNode, now_us: int) -> None:
        """A new process of the node runs: its peers connect to it. At the start of a run this has
        no effect."""
        if node.boots == 1:
            return
        random = Random(f"{self._seed}:opened:{node.id}:{node.boots}")
        for peer in self._nodes.values():
            if peer is not node:
                link = self._network.links[peer.id][node.id]
                at_us = now_us + random.randrange(ATTEMPT_US) + _extra_us(link)
                if not link.cut:
                    self._queue.put(at_us, PEER_CONNECTED, peer, node.id)

    def _last_arrivals(self, source: int) -> dict[int, int]:
        """For each node, when the last message in flight to it arrives."""
        last: dict[int, int] = {}
        for at_us, _, what, target, _, _ in self._queue.entries:
            if what == source:
                last[target.id] = max(at_us, last.get(target.id, 0))
        return last


def _extra_us(link: Link) -> int:
    """What a fault adds to every message's delay on this link."""
    return 0 if link.conditions is None else link.conditions.delay_us()
