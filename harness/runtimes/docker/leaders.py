"""Which node leads: as the nodes announce it to their clients, and as they answer when polled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from harness.targets.guarded_client import GuardedClient

POLL_S: Final = 0.2
Term = tuple[int, ...]


class Leaders:
    """The leader of the run's cluster. From `begin` on, `led` is called with a node and its term
    when another one leads, or in another term, and `announced` with a leader and its term when a
    node tells its clients of one, which is earlier than polling finds it."""

    def __init__(self, clients: Mapping[int, GuardedClient]) -> None:
        self._clients = clients
        self._led: tuple[Term, int] = ((), 0)
        self._told: Term = ()
        self._tell_led: Callable[[int, Term], None] | None = None
        self._tell_announced: Callable[[int], None] | None = None
        self.current: int | None = None

    def begin(self, led: Callable[[int, Term], None], announced: Callable[[int], None]) -> None:
        """Tell of leaders from now on."""
        self._tell_led, self._tell_announced = led, announced

    def told(self, leader: int, term: Term) -> None:
        """A node announces a leader."""
        if term <= self._told or leader not in self._clients:
            return
        self._told = term
        if self._tell_announced is not None:
            self._note(term, leader)
            self._tell_announced(leader)

    async def ask(self) -> tuple[Term, int] | None:
        """The leader according to the nodes: the one with the highest term that reports to lead."""
        answers = await asyncio.gather(
            *(client.status(POLL_S) for client in self._clients.values() if client.is_open)
        )
        leaders = [(a.term, a.node) for a in answers if a and a.role == "leader"]
        return max(leaders, default=None)

    async def poll(self, connect: Callable[[GuardedClient], None]) -> None:
        """Ask again and again, and `connect` clients that have no open connection."""
        while True:
            if leader := await self.ask():
                self._note(*leader)
            for client in self._clients.values():
                if not client.is_open:
                    connect(client)
            await asyncio.sleep(POLL_S)

    def _note(self, term: Term, node: int) -> None:
        self.current = node
        if (term, node) != self._led and self._tell_led is not None:
            self._led = (term, node)
            self._tell_led(node, term)
