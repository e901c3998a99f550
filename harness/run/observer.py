"""Who is told how a run goes: the live display, a script's log, a test; or nobody."""

from __future__ import annotations

from harness.run.conductor import Conductor
from harness.run.online_check import OnlineCheck
from harness.runtimes.interface import Runtime


class Observer:
    """Does not care; override what you want to know."""

    wants_progress = False
    """Whether the history is to be judged while it grows, to show how far that is."""

    def say(self, text: str) -> None:
        """Something takes a while: "building ..."."""

    def watch(
        self, conductor: Conductor, runtime: Runtime, online_check: OnlineCheck | None
    ) -> None:
        """The chaos begins; look at the conductor's stats as often as you like."""

    def stop(self) -> None:
        """Nothing more to watch."""
