"""The entry point of the command. While its modules are imported, Ctrl-C ends the process without a
word, and not with a traceback through the import machinery; nothing has begun yet."""

from __future__ import annotations

import signal
from typing import Any


def main() -> Any:
    """The command `antipaxos`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import main as command  # noqa: PLC0415

    signal.signal(signal.SIGINT, before)
    return command()
