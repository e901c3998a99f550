"""The disk's behaviour, observed by an ordinary program in the node's mount namespace.

    python3 -m faults.agent.disk.probe PID DIRECTORY look|leave|check ROUNDS

It enters the namespace of that process, prints "ready", and waits for a line; then it carries out
the command, and prints the result as JSON. `look` writes, fsyncs and reads a file of its own and
reports how long that took, or the error; what it knows it prints before each fsync, which may
hang. On a full disk it fsyncs its file without having written. `leave` leaves a file of which one
half was fsynced, and `check` reports, after a power cut, what is left of it.

It is a process of its own so that it shares nothing with the file system under test, can observe
the disk also when the node exits because of it, and does not block the agent when it hangs in an
fsync. `Probe` is the agent's side.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Final

from faults.agent import libc
from faults.agent.processes import HELPERS

NAME: Final = ".antipaxos-probe"
CANARY: Final = ".antipaxos-canary"
SIZE: Final = 4096
START_S: Final = 30.0
"""Python may take long to start on a busy machine."""
BEGIN_S: Final = 2.0
END_S: Final = 2.0
READY: Final = b"ready\n"


class Probe:
    """One probe process. Call `get_there`, then `result`; and `close` in any case."""

    def __init__(self, pid: int, directory: str, what: str, rounds: int) -> None:
        command = [sys.executable, "-S", "-m", "faults.agent.disk.probe"]
        self._child = subprocess.Popen(
            [*command, str(pid), directory, what, str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._waits_for_start = True
        HELPERS.add(self._child.pid)

    def get_there(self) -> bool:
        """Wait until it is in the node's namespace; False when it did not get there, as when the
        node has ended before that."""
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            if not selector.select(START_S):
                return False
        self._waits_for_start = False
        return os.read(self._child.stdout.fileno(), len(READY)) == READY

    def result(self, within_s: float) -> dict[str, Any]:
        """Let it begin; its result. With `after_ms` where the time was exceeded; `error` is then
        what came before the fsync that hangs, or "hangs". Where the probe itself failed, `error`
        says so."""
        child = self._child
        if self._waits_for_start:
            return {"error": f"the probe had not started after {START_S:g} s"}
        try:
            out, err = child.communicate(b"go\n", timeout=within_s)
        except subprocess.TimeoutExpired as late:
            return _hanging(late.stdout or self._begun(), within_s)
        if child.returncode:
            words = err.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            return {"error": f"the probe ended with {child.returncode}: {words[-1]}"}
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def _begun(self) -> bytes:
        """What it prints when it begins, which on a busy machine is later."""
        try:
            return self._child.communicate(timeout=BEGIN_S)[0]
        except subprocess.TimeoutExpired as late:
            return late.stdout or b""

    def close(self) -> None:
        """Also when it hangs: the file system answers the requests of killed processes."""
        self._child.kill()
        with suppress(subprocess.TimeoutExpired, ValueError):
            self._child.communicate(timeout=END_S)
        HELPERS.discard(self._child.pid)


def _hanging(printed: bytes, within_s: float) -> dict[str, Any]:
    """The result of a probe that did not end in time, from what it has printed."""
    *lines, _ = printed.split(b"\n")
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    error = found.get("error") or "hangs"
    return {**found, "error": error, "after_ms": round(within_s * 1000)}


def look(directory: str, rounds: int) -> dict[str, Any]:
    """Writes and reads back so many times."""
    found: dict[str, Any] = {"error": None, "fsync_us": []}
    try:
        file = os.open(f"{directory}/{NAME}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for number in range(rounds):
                found["error"] = _error_of_round(file, number * SIZE, found)
                if found["error"] is not None:
                    return found
        finally:
            os.close(file)
    except OSError as error:
        return {**found, "error": errno.errorcode.get(error.errno or 0, "?")}
    with suppress(OSError):
        os.unlink(f"{directory}/{NAME}")  # noqa: PTH108
    return found


def _error_of_round(file: int, offset: int, found: dict[str, Any]) -> str | None:
    """Write, fsync, read back; how long the fsync took goes into `found`."""
    data = os.urandom(SIZE)
    is_full = not _written(file, data, offset)
    _say({**found, "error": "ENOSPC" if is_full else None})
    before_ns = time.monotonic_ns()
    os.fsync(file)
    found["fsync_us"].append((time.monotonic_ns() - before_ns) // 1000)
    if is_full:
        return "ENOSPC"
    return None if os.pread(file, SIZE, offset) == data else "read back something else"


def _written(file: int, data: bytes, offset: int) -> bool:
    """False where the disk is full."""
    try:
        return os.pwrite(file, data, offset) == len(data)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return False
        raise


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
    _say(act(directory, int(rounds)))


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
