"""The checker during a run: how much of the history is checked, and the first violation.

BackgroundCheck   in a separate thread, for runs in real time: the kernel runs without the
                  interpreter lock, and `LiveChecker` is idle nine tenths of the time, so clients
                  are hardly affected
InlineCheck       once every few events, synchronously, for virtual time: the same run is always
                  stopped at the same event

Only the clients' history is checked. The replicas' decisions, liveness, and the whole history are
judged at the end as usual.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from harness.run.conductor import Conductor
from harness.run.config import RunConfig
from harness.workloads import WORKLOADS
from histories.checker import LiveChecker, PartitionVerdict, Progress
from histories.errors import HistoryError
from histories.events import Event
from histories.text import one_line

EVENTS_MAX: Final = 2_000_000
"""Later events are not checked: events are kept in memory for the evidence, half a kilobyte
each."""
WORDS_MAX: Final = 1_000
STEP_EVENTS: Final = 250
PAUSE_S: Final = 0.1


class OnlineCheck(Protocol):
    """Takes a run's events, and shows the progress. `violated` is called once, with the first
    violation in words; by a BackgroundCheck from its own thread."""

    violated: Callable[[str], None]

    @property
    def progress(self) -> Progress: ...

    def feed(self, event: Event) -> None: ...

    def close(self) -> None: ...


def in_words(violation: PartitionVerdict) -> str:
    """One sentence, with the key."""
    where = "" if violation.key is None else f"key {violation.key}: "
    evidence = violation.evidence
    found = evidence.sentence if evidence else "no order explains what clients saw"
    return one_line(where + found, WORDS_MAX)


class InlineCheck:
    """Judges after every STEP_EVENTS events, at once."""

    def __init__(self, model: str) -> None:
        self.violated: Callable[[str], None] = lambda _: None
        self._live = LiveChecker(model)
        self._new: list[Event] = []

    @property
    def progress(self) -> Progress:
        return self._live.progress

    def feed(self, event: Event) -> None:
        self._new.append(event)
        if len(self._new) < STEP_EVENTS or self._live.progress.violation is not None:
            return
        self._live.feed(self._new)
        self._new.clear()
        violation = self._live.judge().violation
        if violation is not None:
            self.violated(in_words(violation))

    def close(self) -> None:
        """Nothing to close."""


class BackgroundCheck:
    """Checks in a thread, which `close` ends. `problem`: why it has stopped checking."""

    def __init__(self, model: str) -> None:
        self.violated: Callable[[str], None] = lambda _: None
        self._live = LiveChecker(model)
        self._new: deque[Event] = deque()
        self._fed = 0
        self._closed = threading.Event()
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._follow, name="online_check", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> Progress:
        progress = self._live.progress
        return progress._replace(fed=max(self._fed, progress.fed))

    def feed(self, event: Event) -> None:
        """Take an event; returns at once."""
        self._fed += 1
        if self._fed <= EVENTS_MAX:
            self._new.append(event)
        elif self.problem is None:
            self.problem = f"only the first {EVENTS_MAX} events are followed"

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closed.wait(PAUSE_S):
            new = [self._new.popleft() for _ in range(len(self._new))]
            try:
                self._live.feed(new)
                progress = self._live.poll()
            except HistoryError as error:
                self.problem = str(error)
                return
            if progress.violation is not None:
                self.violated(in_words(progress.violation))
                return


def online_check_for(config: RunConfig, *, wanted: bool = False) -> OnlineCheck | None:
    """The online check of a run that should stop at its first violation, or whose display shows the
    progress; otherwise None."""
    model = WORKLOADS[config.traffic.workload].model
    if config.on == "sim":
        return InlineCheck(model) if config.stop_at_first else None
    return BackgroundCheck(model) if config.stop_at_first or wanted else None


def stop_at_violation(online_check: OnlineCheck | None, conductor: Conductor) -> None:
    """Let the run end at the first violation, if so configured."""
    if online_check is not None and conductor.config.stop_at_first:
        online_check.violated = lambda found: conductor.stop_soon(
            f"at the first violation: {found}"
        )
