"""Restores limits of processor and memory when the program that set them is killed.

The agents heal by themselves when their controller has died, but limits are the engine's. So a
program that sets one starts this program, as `python -m harness.inject.limits_guard`, with one line
of JSON on its standard input: [[container, limits], ...], those before the first fault, as the
fields of `Limits`. When the input ends without the line "done", it restores what differs.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from harness.runtimes.docker import limits
from harness.runtimes.docker.engine import connect

END_TIMEOUT_S: Final = 30.0


class LimitsGuard:
    """A running guard, until `end`."""

    def __init__(self, containers: Sequence[str]) -> None:
        api = connect()
        try:
            before = [(container, limits.limits_of(api, container)) for container in containers]
        finally:
            api.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.inject.limits_guard"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._say(json.dumps(before))

    def end(self, *, restored: bool) -> None:
        """Wait for its end. `restored`: the limits are known to be what they were; else it looks,
        and restores what differs."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has been killed
            if restored:
                self._say("done")
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # the engine is slow: the guard goes on by itself
            self._process.wait(timeout=END_TIMEOUT_S)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main() -> None:
    """Waits for the end of the input, and restores the limits unless it got "done"."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    before = json.loads(sys.stdin.readline())
    if sys.stdin.readline().strip() == "done":
        return
    api = connect()
    for container, fields in before:
        problems = limits.restore(api, container, limits.Limits(*fields))
        for problem in (it for it in problems if "no such container" not in it.lower()):
            print(f"a limit of {container[:12]} was not set back: {problem}", file=sys.stderr)


if __name__ == "__main__":
    main()
