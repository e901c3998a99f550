"""Turns the engine's events about containers into findings of the run.

A node that has ended because of a fault that was healed already (`UnexpectedEvents.is_late`) is
started again. Everything else that no fault explains is a finding, told with the last lines of the
container's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from harness.run.node_findings import ENGINE
from harness.runtimes.docker.unexpected import UnexpectedEvents
from harness.runtimes.docker.watch import ContainerEvent

SETTLE_S: Final = 10.0
"""How long findings that are being made are waited for at the end."""
SIGNAL_EVENT_S: Final = 1.0
"""How much later than an end the engine may tell of the signal that caused it."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class EventFindings:
    """`tell` gets each finding, in the form for the history (`harness.run.node_findings`);
    `start_ended` starts a node that no fault holds down, and returns whether it had to."""

    def __init__(
        self,
        unexpected: UnexpectedEvents,
        *,
        start_ended: Callable[[int], Awaitable[bool]],
        tell: Callable[[dict[str, Any]], None],
        spawn: Spawn,
    ) -> None:
        self._unexpected = unexpected
        self._start_ended = start_ended
        self._tell = tell
        self._spawn = spawn
        self._telling: set[asyncio.Task[None]] = set()
        self._starting: set[asyncio.Task[None]] = set()

    def take(self, event: ContainerEvent) -> None:
        """An event of the engine."""
        if self._unexpected.is_unexpected(event):
            self._keep(self._telling, self.report(event))
        elif self._unexpected.is_late(event):
            self._unexpected.restarts(event.node)
            self._keep(self._starting, self._start_again(event))

    def lost(self) -> None:
        """The engine's events cannot be followed any longer: what other programs do to the run's
        containers from now on would not be seen."""
        what = "did not deliver its events any longer"
        self._tell({"node": None, "role": ENGINE, "what": what, "by": "unknown", "log": ""})

    async def report(self, event: ContainerEvent) -> None:
        """Tell of an event that no fault explains."""
        if event.action == "die":
            await asyncio.sleep(SIGNAL_EVENT_S)
        self._tell(await self._finding(event))

    async def await_restarts(self) -> None:
        """Wait until the nodes that are being started again have started."""
        if self._starting:
            await asyncio.wait(self._starting, timeout=SETTLE_S)

    async def report_the_last(self) -> None:
        """What happened so shortly before the end that the engine's event has not come yet, or that
        its finding is not made yet."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=SETTLE_S)
        for event in await asyncio.to_thread(self._unexpected.found_at_end):
            if self._unexpected.is_late(event):  # there is no time to start it and look at it
                self._tell(await self._finding(event) | {"by": "unknown"})
            else:
                await self.report(event)

    async def _start_again(self, event: ContainerEvent) -> None:
        if await self._start_ended(event.node):
            self._tell(await self._finding(event) | {"by": "fault"})

    async def _finding(self, event: ContainerEvent) -> dict[str, Any]:
        return await asyncio.to_thread(self._unexpected.finding, event)

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
