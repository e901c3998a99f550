"""Creations that are in progress, which must have ended before everything is removed.

An interruption may come while an executor starts a thread: then nobody waits for the thread, and
what it creates afterwards would stay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import EngineError


class Creations:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._ended = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """For the time in which something is created. Raises EngineError after `end`."""
        with self._changed:
            if self._ended:
                raise EngineError("nothing is created any more: everything is being removed")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def end(self, limit_s: float) -> None:
        """No more of them; waits for those that are running, at most that long."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: not self._running, limit_s)
