"""Executes the effects of a protocol's step, in their order.

The barrier is the time at which everything that the node has persisted so far is durable; what must
not be sent before that departs then (the durable-state rule of
`node_image/protocols/interface.py`).
"""

from __future__ import annotations

from heapq import heappush
from typing import Any

from harness.runtimes.sim.clients import ClientConnections
from harness.runtimes.sim.crashes import BadEffect
from harness.runtimes.sim.event_queue import TIMER, EventQueue
from harness.runtimes.sim.network import Network
from harness.runtimes.sim.node import SimNode
from node_image.protocols.interface import (
    Broadcast,
    CancelTimer,
    Checkpoint,
    Decided,
    LeaderKnown,
    Note,
    Persist,
    Reply,
    Send,
    SetTimer,
    StateDigest,
)


class Effects:
    """For nodes that are not watched; the others go through `WatchedEffects`."""

    def __init__(self, queue: EventQueue, network: Network, clients: ClientConnections) -> None:
        self._queue = queue
        self._network = network
        self._clients = clients

    def carry_out(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        """All effects of one step. Raises BadEffect."""
        network = self._network
        barrier_us = node.disk.barrier_us
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                to, message, after_sync = effect
                network.send(node, to, message, after_sync, barrier_us, now_us)
            elif kind is Decided:
                node.decided.append(effect)
                node.decided_us.append(now_us)
            elif kind is Persist:
                barrier_us = node.disk.persist(effect[0], now_us)
            elif kind is Broadcast:
                message, after_sync = effect
                network.broadcast(node.id, message, after_sync, barrier_us, now_us)
            else:
                barrier_us = self.other_effect(node, effect, barrier_us, now_us)

    def other_effect(self, node: SimNode, effect: Any, barrier_us: int, now_us: int) -> int:
        """The other, rare or cheap effects. Returns the barrier."""
        kind = type(effect)
        if kind is SetTimer:
            self._set_timer(node, effect[0], effect[1], now_us)
        elif kind is Reply:
            self._clients.reply(node, effect, barrier_us, now_us)
        elif kind is LeaderKnown:
            self._clients.tell(node, effect, now_us)
        elif kind is Note:
            node.notes.append((now_us, effect))
        elif kind is StateDigest:
            node.digests.append((now_us, len(node.lives), effect))
        elif kind is CancelTimer:
            node.timers.pop(effect[0], None)
        elif kind is Checkpoint:
            return node.disk.checkpoint(effect[0], now_us)
        else:
            raise BadEffect(f"{effect!r} is not an effect; see node_image/protocols/interface.py")
        return barrier_us

    def _set_timer(self, node: SimNode, name: str, delay_us: int, now_us: int) -> None:
        clock = node.clock
        at_us = now_us + (clock.real_delay(delay_us) if clock.drift_ppm else delay_us)
        node.timers[name] = at_us
        queue = self._queue
        heappush(queue.entries, (at_us, queue.sequence(), TIMER, node, name, 0))
