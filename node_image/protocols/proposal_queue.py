"""Commands that wait to be proposed, and how they share slots: batches that grow with the load.

While few slots are open, a command is proposed at once in a slot of its own: waiting for others
would only add latency. When more are open, commands wait until an open slot is decided, or until
there are enough to fill a batch, and then share a slot.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import ClusterConfig, Command

EAGER_SLOTS: Final = 4
"""While fewer slots than this are open, a command is proposed at once in its own slot."""


class ProposalQueue:
    """The commands that this node has accepted and not yet proposed, in order."""

    __slots__ = ("_clients", "_config", "commands")

    def __init__(self, context: Context, clients: Clients) -> None:
        self._config = context.config
        self._clients = clients
        self.commands: deque[Command] = deque()

    def next_batch(self, open_slots: int, now_us: int) -> tuple[Command, ...]:
        """Remove and return the commands for the next slot; none if it is better to wait.
        `open_slots`: how many are proposed and not decided. Commands whose clients have given up
        are refused."""
        commands = self.commands
        while commands and (batch := next_batch(commands, open_slots, self._config)):
            if wanted := self._clients.wanted(batch, now_us):
                return wanted
        return ()

    def clear(self) -> None:
        self.commands.clear()


def next_batch(
    queue: deque[Command], open_slots: int, config: ClusterConfig
) -> tuple[Command, ...]:
    """Remove and return the commands for the next slot; none if it is better to wait."""
    waiting = len(queue)
    full = waiting >= config.batch_max
    if open_slots >= (config.pipeline_max if full else EAGER_SLOTS):
        return ()
    if waiting == 1:
        return (queue.popleft(),)
    return tuple([queue.popleft() for _ in range(min(waiting, config.batch_max))])
