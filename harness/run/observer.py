"""The interface for observers of a run's progress: the live display, a script's log, a test."""

from __future__ import annotations

from collections.abc import Callable

from harness.run.conductor import Conductor
from harness.run.online_check import OnlineCheck
from harness.runtimes.interface import Runtime


class Observer:
    """Ignores everything; override the methods that are needed."""

    wants_progress = False
    """Whether the history is to be judged while it grows, to show how far that is."""

    def say(self, text: str) -> None:
        """Something takes a while: "building ..."."""

    def follow(self, text: Callable[[], str]) -> None:
        """Something goes on of which `text` says how far it is, as often as it is asked."""

    def watch(
        self, conductor: Conductor, runtime: Runtime, online_check: OnlineCheck | None
    ) -> None:
        """The chaos begins; the conductor's stats may be read from now on."""

    def stop(self) -> None:
        """Nothing more to watch."""
