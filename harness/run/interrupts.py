"""SIGINT, SIGTERM and SIGHUP (Ctrl-C, a cancelled job, a closed terminal) end a run with cleanup.

While a run is driven, the first signal ends it early: faults are healed, open operations end, and
the recorded part is judged. A second signal, or `GRACE_S` seconds later, driving stops at once.
During startup a signal raises KeyboardInterrupt. During removal signals are recorded and ignored:
everything that was started must be removed.

Senders of SIGTERM usually wait about ten seconds before SIGKILL; GRACE_S leaves time for removal.
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
                # A signal that was ignored before (nohup) stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Record signals, and ignore them."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    @contextmanager
    def forwarded_to(self, tell: Callable[[], None]) -> Iterator[None]:
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
