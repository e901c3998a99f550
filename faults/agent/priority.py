"""Threads of the agent that must not wait for a busy processor."""

from __future__ import annotations

import os
from contextlib import suppress


def raise_priority() -> str:
    """Raise the calling thread's priority, where SYS_NICE allows: "real-time" or "nice"; otherwise
    "none".

    On a machine with busy processors the wire's packets are otherwise delayed by scheduling: with
    five processes on two processors by 3 to 18 ms in the mean, and by 0.1 ms with this. The kernel
    keeps real-time threads from taking all of a processor.
    """
    with suppress(OSError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
        return "real-time"
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        return "nice"
    return "none"
