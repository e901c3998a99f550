"""The interface for observers of a run's progress: the live display, a script's log, a test."""

from __future__ import annotations

from collections.abc import Callable

from harness.run.conductor import Conductor
from harness.run.online_check import OnlineCheck
from harness.runtimes.interface import Runtime


class Observer:
    """Ignores everything; override the methods that are needed."""

    wants_progress = False
    """Whether the history should be checked during the run, to show the progress."""

    def say(self, text: str) -> None:
        """A step that takes a while has started: "building ..."."""

    def follow(self, text: Callable[[], str]) -> None:
        """A step with progress has started; `text` returns its current state."""

    def watch(
        self, conductor: Conductor, runtime: Runtime, online_check: OnlineCheck | None
    ) -> None:
        """The chaos begins; the conductor's stats may be read from now on."""

    def stop(self) -> None:
        """The run has ended."""
