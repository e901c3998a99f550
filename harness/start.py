"""The entry point of the command. While its modules are imported, Ctrl-C ends the process without a
word, and not with a traceback through the import machinery; nothing has begun yet. Once the command
is done, a signal ends the process with the command's exit code: the interpreter takes some time to
end. The standard streams are replaced by
ones whose failures have an exit code (cli/streams.py)."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any, Final

INTERRUPTED: Final = 130
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> Any:
    """The command `antipaxos`."""
    atexit.register(_ignore_signals)
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import main as command  # noqa: PLC0415
    from harness.cli.streams import install  # noqa: PLC0415

    install()
    signal.signal(signal.SIGINT, before)
    code = INTERRUPTED
    try:
        return command()
    except KeyboardInterrupt:  # after the command's own handling of it
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        for number in SIGNALS:
            signal.signal(number, lambda *_: os._exit(code))


def _ignore_signals() -> None:
    """At the very end the interpreter would give signals their default action."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
