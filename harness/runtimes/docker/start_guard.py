"""A process beside the controller that removes a run's containers, networks and volumes where the
controller ends without a word before the run's reaper has started, or where there is none.

It is started before the first request that makes something. Its imports are those of the standard
library until it has something to do, so that it costs some hundredths of a second.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from typing import Final

DONE: Final = "done"
AGAIN_S: Final = (0, 1, 3, 6, 10)
"""The times at which it looks: the engine may complete the last request only after the
controller has ended."""
END_TIMEOUT_S: Final = 10.0


class StartGuard:
    """Call `dismiss` once something else removes the run's containers, or nothing should."""

    def __init__(self, run_id: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """It ends, and removes nothing. A second time does nothing."""
        if self._process.poll() is not None:
            return
        try:
            self._process.communicate(DONE, timeout=END_TIMEOUT_S)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """It removes everything, also after the controller has ended."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()


def main() -> None:
    """Waits for the end of the input, and removes what the run has made unless it is DONE."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.read() == DONE:
        return
    from harness.errors import EngineError  # noqa: PLC0415
    from harness.runtimes.docker.engine import connect  # noqa: PLC0415
    from harness.runtimes.docker.removal import remove_labelled  # noqa: PLC0415

    began = time.monotonic()
    for at_s in AGAIN_S:
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        with contextlib.suppress(EngineError):  # until the next time
            api = connect()
            try:
                remove_labelled(api, sys.argv[1])
            finally:
                api.close()


if __name__ == "__main__":
    main()
