"""Restores limits of processor and memory when the program that set them is killed.

The agents heal by themselves when their controller has died, but limits are the engine's. So a
program that sets one starts this program, as `python -m harness.inject.limits_guard`, with one line
of JSON on its standard input: [[container, cpu_quota_us, memory_limit], ...], the original limits.
When the input ends without the line "done", it restores them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from harness.runtimes.docker import limits
from harness.runtimes.docker.engine import connect


class LimitsGuard:
    """A running guard; leaving the block tells it that the limits have been restored."""

    def __init__(self, containers: Sequence[str]) -> None:
        api = connect()
        try:
            before = [
                (c, limits.cpu_quota_us(api, c) or -1, limits.memory_limit(api, c) or None)
                for c in containers
            ]
        finally:
            api.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.inject.limits_guard"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._say(json.dumps(before))

    def __enter__(self) -> LimitsGuard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._say("done")
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)

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
    for container, quota_us, memory in before:
        limits.limit_cpu(api, container, quota_us)
        if limits.memory_limit(api, container) != (memory or 0):
            limits.limit_memory(api, container, memory or limits.NO_LIMIT)


if __name__ == "__main__":
    main()
