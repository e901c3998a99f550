"""What surrounds one simulated run in a search: a limit of real time, and no garbage collector.

A run in memory is freed by reference counts alone; the collector would only walk over its events
again and again. It is asked once in COLLECT_EVERY runs instead.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

RUN_LIMIT_S: Final = 300
"""A simulated run that takes longer than this, in real time, hangs: that is a finding too."""
COLLECT_EVERY: Final = 50


class Hangs(Exception):
    """A run took longer than any should."""


@contextmanager
def time_limit(seconds: int = RUN_LIMIT_S) -> Iterator[None]:
    """Raise Hangs in the middle of whatever goes on for too long; only in a main thread."""

    def ring(_: int, __: FrameType | None) -> None:
        raise Hangs(f"not done after {seconds} s of real time")

    try:
        before = signal.signal(signal.SIGALRM, ring)
    except ValueError:  # not the main thread
        yield
        return
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def without_collector(number: int) -> Iterator[None]:
    """Disable the garbage collector; `number` counts the runs, so that it is asked now and then."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if number % COLLECT_EVERY == 0:
            gc.collect()
        if was_enabled:
            gc.enable()
