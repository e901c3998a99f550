"""The entry point of the command. While its modules are imported, Ctrl-C ends the process without a
word, and not with a traceback through the import machinery; nothing has begun yet. Once the command
is done, signals are ignored: the interpreter, which takes some time to end, would otherwise be
ended by one, and the exit code would not be the command's. The standard streams are replaced by
ones whose failures have an exit code (cli/streams.py)."""

from __future__ import annotations

import signal
import sys
from typing import Any, Final

INTERRUPTED: Final = 130


def main() -> Any:
    """The command `antipaxos`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import main as command  # noqa: PLC0415
    from harness.cli.streams import install  # noqa: PLC0415

    install()
    signal.signal(signal.SIGINT, before)
    try:
        return command()
    except KeyboardInterrupt:  # after the command's own handling of it
        sys.exit(INTERRUPTED)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
