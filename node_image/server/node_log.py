"""A node's output: its log, as JSON lines on standard output, and its record of what it did.

Every line of the log has `time` (nanoseconds of this machine's monotonic clock, so that the lines
of containers on one host can be put in one order), `node` and `event`. The account is two files.
`decided.jsonl` gets a line for every slot that the node applied, in every one of its lives, and
`states.jsonl` one for every digest of its state that the protocol tells. They are written once a
turn of the event loop and not synced: they serve the comparison of replicas afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from node_image.protocols.interface import Decided, NodeId, StateDigest

CHUNK: Final = 65_536
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class NodeLog:
    """The node's log. Lines leave at once: they are few."""

    def __init__(self, node: NodeId) -> None:
        self._node = node

    def log(self, event: str, **about: Any) -> None:
        line = {"time": time.monotonic_ns(), "node": self._node, "event": event, **about}
        try:
            sys.stdout.write(_encode(line) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # the log is not read any more; that is no reason to stop


class LineFile:
    """A file of JSON lines that is appended to in every life. A crash may have cut the last line
    off: it is removed; what it said is said again on recovery."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        self._lines: list[str] = []
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - CHUNK)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        os.ftruncate(self._file, end)

    def last_line(self) -> bytes:
        """Without its end; empty where there is none."""
        end = os.fstat(self._file).st_size
        tail, start = b"", end
        while start and b"\n" not in tail[:-1]:
            start = max(0, start - CHUNK)
            tail = os.pread(self._file, end - start, start)
        return tail.rstrip(b"\n").rsplit(b"\n", 1)[-1]

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(_encode(line))

    def flush(self) -> None:
        """Write what has gathered. Raises OSError, as any disk may."""
        if self._lines:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def close(self) -> None:
        self.flush()
        os.close(self._file)


class DecisionLog:
    """`decided.jsonl` and `states.jsonl`, flushed once a turn of the event loop. Lines state which
    life: one more than the last decided line there was, so lives that decide nothing do not
    count."""

    def __init__(self, directory: Path) -> None:
        self._decided = LineFile(directory / "decided.jsonl")
        self._states = LineFile(directory / "states.jsonl")
        last = self._decided.last_line()
        self._life = 1 + (int(json.loads(last).get("life", 0)) if last else 0)

    def decided(self, decided: Decided) -> None:
        self._decided.add(
            {
                "time": time.monotonic_ns(),
                "life": self._life,
                "slot": decided.slot,
                "ballot": decided.ballot,
                "commands": decided.commands,
            }
        )

    def state(self, state: StateDigest) -> None:
        line = {"time": time.monotonic_ns(), "life": self._life, **state._asdict()}
        self._states.add(line)

    def flush(self) -> None:
        """Write what has gathered. Raises OSError, as any disk may."""
        self._decided.flush()
        self._states.flush()

    def close(self) -> None:
        self._decided.close()
        self._states.close()
