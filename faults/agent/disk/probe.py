"""What the disk does, seen by an ordinary program in the node's mount namespace.

    python3 -m faults.agent.disk.probe PID DIRECTORY look|leave|check ROUNDS

It says "begun" on a line of its own, and then what it found, in JSON. `look` writes, fsyncs and
reads a file of its own and says how long that took, or which error came;
`leave` leaves a file of which one half was fsynced, and `check` says, after a power cut, what is
left of it. A process of its own: it shares nothing with the file system that it looks at, and one
that hangs in an fsync keeps neither the agent nor its end waiting.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import suppress
from typing import Any, Final

from faults.agent.disk import libc

NAME: Final = ".antipaxos-probe"
CANARY: Final = ".antipaxos-canary"
SIZE: Final = 4096


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
    """How much of either half is there."""
    try:
        file = os.open(f"{directory}/{CANARY}", os.O_RDONLY)
        data = os.read(file, 4 * SIZE)
        os.unlink(f"{directory}/{CANARY}")  # noqa: PTH108
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "?")}
    return {"error": None, "synced": data.count(b"s"), "unsynced": data.count(b"u")}


def main(arguments: list[str]) -> None:
    pid, directory, what, rounds = arguments
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    libc.setns(namespace, libc.CLONE_NEWNS)
    print("begun", flush=True)
    print(json.dumps({"look": look, "leave": leave, "check": check}[what](directory, int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
