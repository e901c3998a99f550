"""The disk's behaviour, observed by an ordinary program in the node's mount namespace.

    python3 -m faults.agent.disk.probe PID DIRECTORY look|leave|check ROUNDS

It enters the namespace of that process, prints "ready", and waits for a line; then it carries out
the command, and prints the result as JSON. `look` writes, fsyncs and reads a file of its own and
reports how long that took, or the error; `leave` leaves a file of which one half was fsynced, and
`check` reports, after a power cut, what is left of it.

It is a process of its own so that it shares nothing with the file system under test, can observe
the disk also when the node exits because of it, and does not block the agent when it hangs in an
fsync. `Probe` is the agent's side.
"""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Final

from faults.agent.disk import libc
from faults.agent.processes import HELPERS

NAME: Final = ".antipaxos-probe"
CANARY: Final = ".antipaxos-canary"
SIZE: Final = 4096
START_S: Final = 10.0
"""Python may take long to start on a busy machine."""
END_S: Final = 2.0
READY: Final = b"ready\n"


class Probe:
    """One probe process. Call `is_there`, then `result`; and `close` in any case."""

    def __init__(self, pid: int, directory: str, what: str, rounds: int) -> None:
        command = [sys.executable, "-S", "-m", "faults.agent.disk.probe"]
        self._child = subprocess.Popen(
            [*command, str(pid), directory, what, str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        HELPERS.add(self._child.pid)

    def is_there(self) -> bool:
        """Wait until it is in the node's namespace; False when the node has ended before that."""
        assert self._child.stdout is not None
        readable, _, _ = select.select([self._child.stdout], [], [], START_S)
        return bool(readable) and os.read(self._child.stdout.fileno(), len(READY)) == READY

    def result(self, within_s: float) -> dict[str, Any]:
        """Let it begin; its result. `error` is "hangs" when the time is exceeded."""
        child = self._child
        try:
            out, err = child.communicate(b"go\n", timeout=within_s)
        except subprocess.TimeoutExpired:
            return {"error": "hangs", "after_ms": round(within_s * 1000)}
        if child.returncode:
            words = err.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            return {"error": f"the probe ended with {child.returncode}: {words[-1]}"}
        found: dict[str, Any] = json.loads(out)
        return found

    def close(self) -> None:
        """Also when it hangs: the file system answers the requests of killed processes."""
        self._child.kill()
        with suppress(subprocess.TimeoutExpired, ValueError):
            self._child.communicate(timeout=END_S)
        HELPERS.discard(self._child.pid)


def look(directory: str, rounds: int) -> dict[str, Any]:
    """Writes and reads back so many times."""
    took_us: list[int] = []
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    try:
        file = os.open(f"{directory}/{NAME}", flags, 0o600)
        for number in range(rounds):
            data = os.urandom(SIZE)
            if os.pwrite(file, data, number * SIZE) != SIZE:
                return {"error": "ENOSPC", "fsync_us": took_us}
            before_ns = time.monotonic_ns()
            os.fsync(file)
            took_us.append((time.monotonic_ns() - before_ns) // 1000)
            if os.pread(file, SIZE, number * SIZE) != data:
                return {"error": "read back something else", "fsync_us": took_us}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "?"), "fsync_us": took_us}
    with suppress(OSError):
        os.unlink(f"{directory}/{NAME}")  # noqa: PTH108
    return {"error": None, "fsync_us": took_us}


def leave(directory: str, _: int) -> dict[str, Any]:
    """SIZE bytes that are fsynced, and SIZE that are not."""
    try:
        file = os.open(f"{directory}/{CANARY}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(file, b"s" * SIZE, 0)
        os.fsync(file)
        os.pwrite(file, b"u" * SIZE, SIZE)
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "?")}
    return {"error": None, "synced": SIZE, "unsynced": SIZE}


def check(directory: str, _: int) -> dict[str, Any]:
    """How much of either half is present."""
    try:
        file = os.open(f"{directory}/{CANARY}", os.O_RDONLY)
        data = os.read(file, 4 * SIZE)
        os.unlink(f"{directory}/{CANARY}")  # noqa: PTH108
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "?"), "synced": 0, "unsynced": 0}
    return {"error": None, "synced": data.count(b"s"), "unsynced": data.count(b"u")}


def main(arguments: list[str]) -> None:
    pid, directory, what, rounds = arguments
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    libc.setns(namespace, libc.CLONE_NEWNS)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.readline()
    act = {"look": look, "leave": leave, "check": check}[what]
    print(json.dumps(act(directory, int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
