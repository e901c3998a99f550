"""How commands share slots: batches that grow with the load, and only with it.

While few slots are open a command gets one of its own at once: waiting for company would only cost
it time. Beyond that, commands wait, and share a slot when one of the open ones is decided, or when
there are enough of them to fill one.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from node_image.protocols.interface import ClusterConfig, Command

EAGER_SLOTS: Final = 4
"""While fewer slots than this are open, a command gets one of its own at once."""


def next_batch(
    queue: deque[Command], open_slots: int, config: ClusterConfig
) -> tuple[Command, ...]:
    """Take from the queue what the next slot should hold; nothing when it is better to wait."""
    waiting = len(queue)
    full = waiting >= config.batch_max
    if open_slots >= (config.pipeline_max if full else EAGER_SLOTS):
        return ()
    if waiting == 1:
        return (queue.popleft(),)
    return tuple([queue.popleft() for _ in range(min(waiting, config.batch_max))])
