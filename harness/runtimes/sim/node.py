"""A simulated node: its protocol object while it is up, its disk, clock and timers.

A crash drops the protocol object, and everything that had not left the node; a start creates a new
one from the content of the disk. A node references neither other nodes nor the parts that execute
its effects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.runtimes.sim.disk import Disk
from harness.runtimes.sim.link_conditions import LinkConditions
from harness.runtimes.sim.virtual_time import NodeClock
from node_image.protocols.interface import ConsensusProtocol, Decided, Note, StateDigest
from node_image.state_machine import KeyValue


class SimNode:
    """The state of one node. `harness.runtimes.sim.processes` starts, stops and pauses it."""

    __slots__ = (
        "boots",
        "client_conditions",
        "client_delay",
        "clock",
        "counters",
        "decided",
        "decided_us",
        "digests",
        "disk",
        "id",
        "lives",
        "machine",
        "notes",
        "paused",
        "protocol",
        "receive",
        "recovered",
        "request",
        "running",
        "timers",
        "up",
        "waiting",
        "wake",
        "watched",
        "watched_for",
    )

    def __init__(
        self, identity: int, disk: Disk, clock: NodeClock, client_delay: Callable[[], int]
    ) -> None:
        self.id = identity
        self.disk = disk
        self.clock = clock
        self.client_delay = client_delay
        """Draws the delay of the next answer to a client."""
        self.client_conditions: LinkConditions | None = None
        self.up = False
        """A process exists."""
        self.paused = False
        self.running = False
        """Whether it is up and not paused."""
        self.watched = False
        """Its effects go through `WatchedEffects`, because an outgoing link has conditions, a
        trigger waits for it, or the run is recorded."""
        self.watched_for: frozenset[str] | None = None
        """The names of the messages for which it is watched; None: all of them."""
        self.boots = 0
        self.timers: dict[str, int] = {}
        """When each timer fires; an entry of the queue with another time is void."""
        self.waiting: dict[tuple[int, int], int] = {}
        """Which call waits here for the answer to (client, seq)."""
        self.decided: list[Decided] = []
        self.decided_us: list[int] = []
        self.digests: list[tuple[int, int, StateDigest]] = []
        """When, and in which life, it reported the digest of its state."""
        self.lives: list[int] = []
        """Where in `decided` each life of the process began."""
        self.notes: list[tuple[int, Note]] = []
        self.counters: Counter[str] = Counter()
        """The protocol's counters in the lives that have ended."""
        self.recovered: list[tuple[Any, ...]] = []
        """The records that the last start found on the disk."""
        self.protocol: ConsensusProtocol | None = None
        self.machine: KeyValue | None = None
        self.receive: Callable[[int, tuple[Any, ...], int], list[Any]]
        self.request: Callable[[Any, int], list[Any]]
        self.wake: Callable[[str, int], list[Any]]
