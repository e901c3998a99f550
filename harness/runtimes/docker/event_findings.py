"""Turns the engine's events about containers into findings of the run.

A node that has ended soon after a fault because of which it may (`UnexpectedEvents.is_late`) is
started again; whether it shows that it was because of it is part of the finding. Everything else
that no fault explains is a finding, too, told with the last lines of the container's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from harness.errors import EngineError
from harness.run.node_findings import ENGINE
from harness.runtimes.docker.unexpected import UnexpectedEvents
from harness.runtimes.docker.wants import Want
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
        self._telling: dict[asyncio.Task[None], ContainerEvent] = {}
        self._starting: dict[asyncio.Task[None], ContainerEvent] = {}

    def take(self, event: ContainerEvent) -> None:
        """An event of the engine."""
        if self._unexpected.is_unexpected(event):
            self._keep(self._telling, event, self.report(event))
        elif self._unexpected.is_late(event):
            wants = self._unexpected.restarts(event.node)
            self._keep(self._starting, event, self._start_again(event, wants))

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
        its finding is not made yet: one whose log the engine does not deliver is told without."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=SETTLE_S)
        for task, event in list(self._telling.items()):
            if not task.done():
                task.cancel()
                self._tell(self._unexpected.without_log(event))
        starting = {event.node for task, event in self._starting.items() if not task.done()}
        for event in await asyncio.to_thread(self._unexpected.found_at_end):
            is_late = self._unexpected.is_late(event) or event.node in starting
            if is_late:  # there is no time to start it and look at it
                self._tell(await self._finding(event) | {"by": "unknown"})
            else:
                await self.report(event)

    async def _start_again(self, event: ContainerEvent, wants: Sequence[Want]) -> None:
        shown = await asyncio.to_thread(self._shows, event.node, wants)
        finding = await self._finding(event)
        if await self._start_ended(event.node) or not shown:
            self._tell(finding | {"by": "fault" if shown else "doubtful"})

    def _shows(self, node: int, wants: Sequence[Want]) -> bool:
        try:
            return self._unexpected.shows(node, wants)
        except EngineError:
            return False

    async def _finding(self, event: ContainerEvent) -> dict[str, Any]:
        return await asyncio.to_thread(self._unexpected.finding, event)

    def _keep(
        self,
        tasks: dict[asyncio.Task[None], ContainerEvent],
        event: ContainerEvent,
        work: Coroutine[Any, Any, None],
    ) -> None:
        task = self._spawn(work)
        tasks[task] = event
        task.add_done_callback(lambda done: tasks.pop(done, None))
