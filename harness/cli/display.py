"""What a run shows while it goes: phase, operations by outcome, rate, faults, leader."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.run.conductor import PHASES, Conductor
from harness.run.observer import Observer
from harness.run.online_check import OnlineCheck, in_words
from harness.runtimes.interface import Runtime

REFRESH_PER_S = 5
RATE_WINDOW_S = 2.0


class Silent(Observer):
    """For `--json` and scripts: progress goes to standard error, one line each."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, style="dim", highlight=False)


class LiveDisplay(Observer):
    """A few lines that renew themselves on a terminal; on anything else, lines as faults come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._conductor: Conductor | None = None
        self._runtime: Runtime | None = None
        self._follower: OnlineCheck | None = None
        self._started = 0.0
        self._samples: deque[tuple[float, int]] = deque()
        self.wants_progress = console.is_terminal

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{text} …[/dim]", highlight=False)

    def watch(
        self, conductor: Conductor, runtime: Runtime, online_check: OnlineCheck | None
    ) -> None:
        self._conductor, self._runtime, self._follower = conductor, runtime, online_check
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        conductor, runtime = self._conductor, self._runtime
        if conductor is None or runtime is None:
            return Text("")
        stats, now = conductor.stats, time.monotonic()
        leader = getattr(runtime, "leader", lambda: None)()
        head = Text()
        for phase in PHASES[:-1]:
            head.append(f" {phase} ", style="reverse bold" if phase == stats.phase else "dim")
        head.append(f"  {now - self._started:5.1f} s of {conductor.config.time_us / 1e6:g} s")
        numbers = Table.grid(padding=(0, 2))
        outcomes = stats.outcomes
        numbers.add_row(
            Text(f"ok {outcomes['ok']}", style="green"),
            Text(f"fail {outcomes['fail']}", style="yellow"),
            Text(f"info {outcomes['info']}", style="magenta"),
            f"{self._rate(sum(outcomes.values()), now):.0f}/s",
            f"leader {'n' + str(leader) if leader else 'none known'}",
            f"faults so far {stats.injected}",
        )
        active = list(stats.active.values())
        faults = Text("\n".join(f"⚡ {a}" for a in active) or " ", style="red")
        return Group(head, numbers, self._judged(), faults)

    def _judged(self) -> Text:
        """How far the history is judged, and what was found."""
        if self._follower is None:
            return Text("")
        fed, judged, violation = self._follower.progress
        if violation is not None:
            return Text(f"not linearizable  {in_words(violation)}", style="bold red")
        return Text(f"linearizable so far: {judged} of {fed} events judged", style="dim")

    def _rate(self, done: int, now: float) -> float:
        self._samples.append((now, done))
        while now - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        then, before = self._samples[0]
        return (done - before) / (now - then) if now > then else 0.0
