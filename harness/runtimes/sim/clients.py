"""The connections between clients and nodes: requests and answers, and how they are lost.

A client has a TCP connection to each node. The fate of requests and answers is drawn from separate
random streams. A lost one breaks the connection, or the client runs into its timeout.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from itertools import cycle
from random import Random
from typing import Any, Final

from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.event_queue import ANSWER, REQUEST, TOLD, EventQueue
from harness.runtimes.sim.network import draw_delays
from harness.runtimes.sim.node import SimNode
from harness.targets.interface import DISCONNECTED, Response
from node_image.protocols.interface import (
    DEFINITE_ERRORS,
    Answer,
    Command,
    LeaderKnown,
    make,
)

DELAYS: Final = 199
"""How many delays are drawn per stream; then they repeat."""


def client_delays(settings: WorldConfig, seed: int, stream: str) -> Callable[[], int]:
    """Draws the next delay of a message from or to a client."""
    least_us, most_us = settings.client_min_us, settings.client_max_us
    return cycle(draw_delays(f"{seed}:{stream}", least_us, most_us, DELAYS)).__next__


def response_to(answer: Answer) -> Response:
    """The client's response for a node's answer."""
    error, value, leader = answer
    definite = error is not None and DEFINITE_ERRORS.get(error, False)
    response: Response = make(Response, (error, value, leader, definite, None))
    return response


class ClientConnections:
    def __init__(self, queue: EventQueue, settings: WorldConfig, seed: int) -> None:
        self._queue = queue
        self._request_delay = client_delays(settings, seed, "requests")
        self._settings = settings
        self._seed = seed

    def request(self, call: int, node: SimNode, command: Command, now_us: int) -> None:
        """A client sends a command to a node."""
        at_us = now_us + self._request_delay()
        if node.client_conditions is not None:
            extra_us = node.client_conditions.client_fate()
            if extra_us is None:
                self._lose(call, node, now_us)
                return
            at_us += extra_us
        self._queue.put(at_us, REQUEST, node, (call, command))

    def reply(self, node: SimNode, effect: Any, barrier_us: int, now_us: int) -> None:
        """A node answers a command, if its client still waits there."""
        client, seq, answer, after_sync = effect
        call = node.waiting.pop((client, seq), None)
        if call is None:
            return
        if node.client_conditions is not None:
            extra_us = node.client_conditions.client_fate()
            if extra_us is None:
                self._lose(call, node, now_us)
                return
            now_us += extra_us
        departs_us = barrier_us if after_sync and barrier_us > now_us else now_us
        self.answer(call, response_to(answer), node, departs_us)

    def answer(self, call: int, response: Response, node: SimNode, departs_us: int) -> None:
        """Deliver a response to a client's request, from the node or from its operating system."""
        at_us = departs_us + node.client_delay()
        queue = self._queue
        entry = (at_us, queue.sequence(), ANSWER, node, (call, response), departs_us)
        heappush(queue.entries, entry)

    def tell(self, node: SimNode, known: LeaderKnown, now_us: int) -> None:
        """A node notifies its clients of the leader. The delay is from a separate stream."""
        least_us, most_us = self._settings.client_min_us, self._settings.client_max_us
        random = Random(f"{self._seed}:told:{node.id}:{known.ballot}")
        at_us = now_us + random.randrange(least_us, most_us + 1)
        if node.client_conditions is not None:
            at_us += node.client_conditions.delay_us()
        self._queue.put(at_us, TOLD, None, (known.leader, known.ballot))

    def _lose(self, call: int, node: SimNode, now_us: int) -> None:
        """A request or an answer is lost: the connection breaks, or no answer comes."""
        if node.client_conditions is not None and node.client_conditions.connection_breaks():
            self.answer(call, DISCONNECTED, node, now_us)
