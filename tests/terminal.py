"""For tests that send signals to a command."""

from __future__ import annotations

import signal


def as_at_a_terminal() -> None:
    """To be called in the new process: what starts the tests (nohup, a shell's background job) may
    have been told to ignore some signals, and a process inherits that."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
