"""Writing a history during the run, so that a run that is cut off can still be judged.

One JSON object per line. Every `append` passes its line to the operating system in one write before
it returns: when the controller is killed, the file is whole up to the last event, and at worst
the very last line is torn (the disk was full, the machine lost power), which the reader drops.
There is no fsync: the history has to outlive the controller, not the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from histories.events import Event

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def event_line(event: Event) -> str:
    """The event as one line of JSON, without its newline.

    Raises ValueError where a value is not JSON (NaN, infinities), TypeError for other objects.
    """
    return _encode(event.to_json())


class HistoryWriter:
    """Appends events to a new file. Not thread-safe: the controller is a single event loop.

    Raises FileExistsError where the file is there already: a history is never overwritten.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._fd: int | None = os.open(self.path, flags, 0o644)
        self.events = 0

    def append(self, event: Event) -> None:
        """Write one event, in one system call."""
        self._write(event_line(event) + "\n")
        self.events += 1

    def extend(self, events: Iterable[Event]) -> None:
        """Write a batch of events, in one system call for all of them."""
        lines = [event_line(event) for event in events]
        if lines:
            self._write("\n".join(lines) + "\n")
            self.events += len(lines)

    def _write(self, text: str) -> None:
        if self._fd is None:
            raise ValueError(f"{self.path} is closed: events must be recorded before close()")
        data = memoryview(text.encode("ascii"))
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
