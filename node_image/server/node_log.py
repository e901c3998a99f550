"""A node's output: its log, as JSON lines on standard output, and the files of its decisions.

Every line of the log has `time` (nanoseconds of this machine's monotonic clock, so that lines of
containers on one host can be ordered), `node` and `event`. Decisions are in two files.
`decided.jsonl` has a line for every slot that the node applied, in every one of its lives, and
`states.jsonl` one for every state digest that the protocol emits. They are written once per turn of
the event loop and not synced: they are only used to compare replicas afterwards.
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
    """The node's log. Lines are few, and written at once."""

    def __init__(self, node: NodeId) -> None:
        self._node = node

    def log(self, event: str, **about: Any) -> None:
        line = {"time": time.monotonic_ns(), "node": self._node, "event": event, **about}
        try:
            sys.stdout.write(_encode(line) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # nothing reads the log any more; the node continues


class LineFile:
    """A file of JSON lines that is appended to in every life. A last line that a crash cut off is
    removed; recovery writes its content again."""

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
        """Without the line end; empty if there is none."""
        end = os.fstat(self._file).st_size
        tail, start = b"", end
        while start and b"\n" not in tail[:-1]:
            start = max(0, start - CHUNK)
            tail = os.pread(self._file, end - start, start)
        return tail.rstrip(b"\n").rsplit(b"\n", 1)[-1]

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(_encode(line))

    def flush(self) -> None:
        """Write what has been collected. Raises OSError."""
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
    """`decided.jsonl` and `states.jsonl`, flushed once per turn of the event loop. Lines state the
    life: that of the last decided line before, plus one. Lives that decide nothing do not count."""

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
        """Write what has been collected. Raises OSError."""
        self._decided.flush()
        self._states.flush()

    def close(self) -> None:
        self._decided.close()
        self._states.close()
