"""Detects and interrupts code of a target that does not return.

A run is a single thread: if a target's code blocks, everything stops, including the run's
deadlines. Once a second a signal handler of `HangGuard` checks whether this code has been on the
stack for longer than HANG_S since the last `beat`, and if so raises `Hang` there.

This works only in the main thread, and only for code in the target's file, or called from it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from histories.text import one_line

HANG_S: Final = 10.0
LOOK_S: Final = 1.0


class Hang(BaseException):
    """Raised in the code that does not return. Not an Exception, so that it is not caught there."""


class HangGuard:
    """A context manager. `path` is the file of the target; `told` is called from the signal handler
    with a message before Hang is raised. `beat` signals that the thread is not blocked."""

    def __init__(
        self,
        path: str,
        told: Callable[[str], None] = lambda _: None,
        *,
        hang_s: float = HANG_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._path = path
        self._told = told
        self._hang_s, self._look_s = hang_s, look_s
        self._last_beat = 0.0
        self._previous: Any = None
        self._is_active = False

    def beat(self) -> None:
        self._last_beat = time.monotonic()

    def __enter__(self) -> HangGuard:
        self.beat()
        in_main = threading.current_thread() is threading.main_thread()
        if self._path and in_main and signal.getsignal(signal.SIGALRM) in _FREE:
            self._previous = signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, self._look_s, self._look_s)
            self._is_active = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_active:
            self._is_active = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, self._previous)

    def _look(self, _: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._last_beat < self._hang_s:
            return
        while frame is not None:
            if frame.f_code.co_filename == self._path:
                where = f"line {frame.f_lineno}, in {frame.f_code.co_name}"
                sentence = f"did not return within {self._hang_s:g} s ({one_line(where, 100)})"
                self.beat()
                self._told(sentence)
                raise Hang(sentence)
            frame = frame.f_back


_FREE: Final = (signal.SIG_DFL, signal.SIG_IGN, None)
"""Handlers of SIGALRM that may be replaced."""
