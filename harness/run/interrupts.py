"""SIGINT, SIGTERM and SIGHUP end a run in order: Ctrl-C, a cancelled job, a closed terminal alike.

While a run is driven, the first signal ends it early: everything is healed, what is under way ends,
what was recorded is judged. A second one, or `GRACE_S` seconds, ends the driving at once. While
something is started, a signal raises KeyboardInterrupt. While something is removed, signals are
noted and do nothing: what was started must not be left behind.

Whoever sends SIGTERM waits ten seconds or so before SIGKILL; GRACE_S leaves time for the removing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

GRACE_S: Final = 5.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Use as a context manager around a run; does nothing outside the main thread."""

    def __init__(self, *, active: bool = True) -> None:
        self._active = active
        self.received: list[int] = []
        self._shields = 0
        self._told: Callable[[], None] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if self._active and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # What the caller's caller ignores (nohup) stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Signals are noted and do nothing."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    @contextmanager
    def told_to(self, tell: Callable[[], None]) -> Iterator[None]:
        """Signals call `tell`, from between two instructions of the main thread."""
        self._told = tell
        try:
            yield
        finally:
            self._told = None

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        if self._shields:
            return
        if self._told is None:
            raise KeyboardInterrupt
        self._told()
