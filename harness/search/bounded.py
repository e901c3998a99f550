"""The environment of a simulated run in a search: a limit of real time, and no garbage collection.

A run in memory is freed by reference counts alone; the collector would only traverse its events
repeatedly. It is called once in COLLECT_EVERY runs instead.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

RUN_LIMIT_S: Final = 300
"""A simulated run that takes longer than this, in real time, counts as hanging, which is a
finding."""
COLLECT_EVERY: Final = 50


class Hangs(Exception):
    """A run exceeded RUN_LIMIT_S."""


@contextmanager
def time_limit(seconds: int = RUN_LIMIT_S) -> Iterator[None]:
    """Raise Hangs in code that runs for too long; works only in a main thread."""

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
    """Disable the garbage collector; `number` counts the runs, so that it is called now and
    then."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if number % COLLECT_EVERY == 0:
            gc.collect()
        if was_enabled:
            gc.enable()
