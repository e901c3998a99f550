"""Removes the agent's rules when the agent is killed and its namespaces remain.

In a pod the agent is process 1: when it dies, the kernel kills every process of the pod, and with
the last of them the network namespace is removed with all rules in it. An agent that has joined the
namespaces of an existing container would leave its rules there. So where it is not process 1, it
starts this guard: a process that only waits for the agent's end of a pipe to close. An engine that
ends the agent's container ends the guard, too: then another agent has to follow
(`faults.agent.left_behind`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from faults.agent.left_behind import remove_rules


def start() -> Callable[[], None]:
    """Forks the guard, unless this is process 1. Call it before any thread is started.

    Call what it returns when the agent has healed: then the guard has nothing to remove, and does
    not touch what it could take for the agent's.
    """
    if os.getpid() == 1:
        return lambda: None
    waits_for, held_open = os.pipe()  # the agent's end closes with the agent
    os.set_inheritable(held_open, False)
    if os.fork():
        os.close(waits_for)
        return partial(_dismiss, held_open)
    os.close(held_open)
    os.setsid()  # Ctrl-C is for the agent
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, waits_for)
    os.closerange(waits_for + 1, 1024)
    try:
        if not os.read(waits_for, 1):
            remove_rules(was_killed=True)
    finally:
        os._exit(0)


def _dismiss(held_open: int) -> None:
    with suppress(BrokenPipeError):
        os.write(held_open, b".")
