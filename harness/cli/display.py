"""What a command shows while it works, from its first moment on.

On a terminal a few lines that renew themselves and are gone at the end; anywhere else (a pipe, a
log) a line on standard error every few seconds. Results go to standard output, not through here.

    Progress     the mechanism: something to draw for a terminal, one line for a log
    Ticker       a title and how far the work is
    RunDisplay   one run: its start, phases, operations, faults
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.run.conductor import PHASES, Conductor
from harness.run.observer import Observer
from harness.run.online_check import OnlineCheck, in_words
from harness.runtimes.interface import Runtime

REFRESH_PER_S: Final = 5
TELL_EVERY_S: Final = 5.0
RATE_WINDOW_S: Final = 2.0
NOTE: Final = "note: "
"""Messages with this prefix are kept on the screen."""


class Progress:
    """A context: while it is open, `draw` is shown on a terminal, or `line` printed now and then.

    Both are called from another thread, and should only read. `live` false: lines, also on a
    terminal.
    """

    def __init__(
        self,
        console: Console,
        draw: Callable[[], RenderableType],
        line: Callable[[], str],
        *,
        live: bool = True,
        every_s: float = TELL_EVERY_S,
    ) -> None:
        self.console = console
        self.is_live = live and console.is_terminal and not console.is_dumb_terminal
        self._draw, self._line, self._every_s = draw, line, every_s
        self._live: Live | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self.is_live:
            self._live = Live(
                console=self.console,
                get_renderable=self._draw,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
        else:
            self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def print(self, text: str, style: str = "dim") -> None:
        """Print a line above the live display."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _tell(self) -> None:
        while not self._ended.wait(self._every_s):
            self.print(self._line())


class Ticker:
    """A title, the seconds since it began, and how far the work is: set `text` as it goes on."""

    def __init__(self, console: Console, title: str, *, live: bool = True) -> None:
        self.title = title
        self.text = ""
        self._started = time.monotonic()
        self._spinner = Spinner("dots")
        self.progress = Progress(console, self._draw, self._line, live=live)

    def __enter__(self) -> Ticker:
        self.progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.__exit__()

    def print(self, text: str, style: str = "dim") -> None:
        """Print a line above the live display."""
        self.progress.print(text, style)

    def _line(self) -> str:
        elapsed_s = time.monotonic() - self._started
        return f"{elapsed_s:.0f} s  {self.title}" + (f"  {self.text}" if self.text else "")

    def _draw(self) -> RenderableType:
        self._spinner.update(text=Text(self._line(), no_wrap=True, overflow="ellipsis"))
        return self._spinner


class RunDisplay(Observer):
    """One run, or one after the other: open it as a context before the run starts. `title` says
    which run of several it is.

    Moments are on the history's clock, as in everything that is said of the run afterwards.
    """

    def __init__(self, console: Console, *, title: str = "", live: bool = True) -> None:
        self.title = title
        self._step: str | Callable[[], str] = "starting"
        self._step_since = self._started = time.monotonic()
        self._conductor: Conductor | None = None
        self._runtime: Runtime | None = None
        self._online_check: OnlineCheck | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._spinner = Spinner("dots")
        self._progress = Progress(console, self._draw, self._line, live=live)
        self.wants_progress = self._progress.is_live

    def __enter__(self) -> RunDisplay:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()

    # ------------------------------------------------------------------ what a run tells

    def say(self, text: str) -> None:
        if text.startswith(NOTE):
            self._progress.print(text)
            return
        self._step, self._step_since = text, time.monotonic()
        if not self._progress.is_live:
            self._progress.print(self._step_line())

    def follow(self, text: Callable[[], str]) -> None:
        self._step, self._step_since = text, time.monotonic()

    def keep(self, text: str) -> None:
        """Print a line that is not overwritten."""
        self._progress.print(text)

    def watch(
        self, conductor: Conductor, runtime: Runtime, online_check: OnlineCheck | None
    ) -> None:
        self._samples.clear()
        self._runtime, self._online_check = runtime, online_check
        self._conductor = conductor

    def stop(self) -> None:
        """The chaos is over; what follows is said step by step."""
        self._conductor = None

    # ------------------------------------------------------------------ a line for a log

    def _step_line(self) -> str:
        now = time.monotonic()
        step = self._step if isinstance(self._step, str) else self._step()
        return f"{now - self._started:.1f} s  {self._titled(step)}"

    def _titled(self, text: str) -> str:
        return f"{self.title}: {text}" if self.title else text

    def _line(self) -> str:
        conductor, runtime = self._conductor, self._runtime
        if conductor is None or runtime is None:
            return f"{self._step_line()}, since {time.monotonic() - self._step_since:.0f} s"
        stats = conductor.stats
        operations = ", ".join(f"{count:,} {kind}" for kind, count in stats.outcomes.items())
        active = ", ".join(list(stats.active.values())) or "none"
        return self._titled(
            f"{runtime.now_us() / 1e6:.1f} s  {stats.phase}  operations {operations}  "
            f"faults {stats.injected} (now: {active})"
        )

    # ------------------------------------------------------------------ a terminal

    def _draw(self) -> RenderableType:
        conductor, runtime = self._conductor, self._runtime
        if conductor is None or runtime is None:
            self._spinner.update(text=Text(self._step_line(), no_wrap=True, overflow="ellipsis"))
            return self._spinner
        stats, now = conductor.stats, time.monotonic()
        leader = getattr(runtime, "leader", lambda: None)()
        head = Text(self._titled(""))
        for phase in PHASES[:-1]:
            head.append(f" {phase} ", style="reverse bold" if phase == stats.phase else "dim")
        head.append(f"  {runtime.now_us() / 1e6:5.1f} s")
        if stats.chaos_start_us is not None:
            end_us = stats.chaos_start_us + conductor.config.time_us
            head.append(f", chaos until {end_us / 1e6:.1f} s")
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
        if self._online_check is None:
            return Text("")
        fed, judged, violation = self._online_check.progress
        if violation is not None:
            return Text(f"not linearizable  {in_words(violation)}", style="bold red")
        return Text(f"linearizable so far: {judged} of {fed} events judged", style="dim")

    def _rate(self, done: int, now: float) -> float:
        self._samples.append((now, done))
        while now - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        then, before = self._samples[0]
        return (done - before) / (now - then) if now > then else 0.0


__all__ = ["NOTE", "Progress", "RunDisplay", "Ticker"]
