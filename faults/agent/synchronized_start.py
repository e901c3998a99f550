"""Acting at the same time on all nodes.

All containers of a host share its monotonic clock. The controller names a time on it a few
milliseconds ahead; every agent prepares, waits for that time, and acts. No message is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from faults.agent.errors import BadRequest, Failed

Wait: TypeAlias = Callable[[], None]
"""Returns when it is time to act."""

AHEAD_NS_MAX = 60_000_000_000
SPIN_NS = 150_000  # sleeping is about 60 us late; the rest is a busy wait


def no_wait() -> None:
    """Act immediately."""


def wait_until(at_ns: int, closing: threading.Event) -> Wait:
    """A wait until `at_ns` on CLOCK_MONOTONIC, given up when `closing` is set meanwhile."""
    if at_ns - time.monotonic_ns() > AHEAD_NS_MAX:
        raise BadRequest(
            f"at_ns {at_ns} is more than {AHEAD_NS_MAX // 10**9} s ahead",
            "take it from CLOCK_MONOTONIC of this host, which is in the agent's first line",
        )

    def wait() -> None:
        while (left := at_ns - time.monotonic_ns()) > 0:
            if left > SPIN_NS and closing.wait((left - SPIN_NS) / 1e9):
                raise Failed("the agent had to heal before the time came", "ask again")

    return wait


def poll_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.001) -> bool:
    """Whether `condition` held within `timeout_s`, checked every `every_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True
