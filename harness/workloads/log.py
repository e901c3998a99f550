"""Appends to a few logs, and reads of them: what is applied twice, lost or reordered stays visible.

A register forgets: that a value was written twice is visible only to a client that reads at
the right moment. A log remembers, so one read, at any later time, shows every element that is
missing, doubled, or out of order. Every appended value is unique. Logs grow with the run, and so do
the answers to reads: one operation in READ_EVERY is a read.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from harness.workloads.interface import Operation
from harness.workloads.kv import skewed

READ_EVERY = 5


class LogWorkload:
    """`keys` logs k0, k1, ...; four appends to one read."""

    name: ClassVar[str] = "log"
    summary: ClassVar[str] = "appends to logs, and reads of them"
    model: ClassVar[str] = "log"

    def __init__(self, seed: int, keys: int, skew: float = 0.0) -> None:
        self._random = Random(f"{seed}:workload")
        self._keys = [f"k{i}" for i in range(keys)]
        self._wheel = skewed(self._keys, skew)
        self._last_value = 0

    def next(self) -> Operation:
        key = self._wheel[int(self._random.random() * len(self._wheel))]
        if self._random.random() * READ_EVERY < 1:
            return Operation("read", key, None)
        return self._append(key)

    def saw(self, operation: Operation, value: Any) -> None:
        """Nothing here builds on earlier answers."""

    def finale(self) -> list[Operation]:
        """Reads every log, appends to every log, reads every log."""
        reads = [Operation("read", key, None) for key in self._keys]
        return reads + [self._append(key) for key in self._keys] + reads

    def again(self, operation: Operation) -> Operation:
        return self._append(operation.key) if operation.f == "append" else operation

    def _append(self, key: str) -> Operation:
        self._last_value += 1
        return Operation("append", key, self._last_value)


WORKLOAD = LogWorkload
