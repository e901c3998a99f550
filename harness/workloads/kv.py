"""Reads, writes and compare-and-sets on a few keys; every written value is unique.

Unique values make histories unambiguous: a read names the one write that it saw, which is what
lets the checker decide a million operations by sorting. A compare-and-set expects the value that
was last seen on its key, so that under contention some match and some do not.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from harness.workloads.interface import Operation

READ_PERCENT = 50
WRITE_PERCENT = 35  # the rest are compare-and-sets


class KeyValueWorkload:
    """`keys` registers k0, k1, ...; 50 % reads, 35 % writes, 15 % compare-and-sets."""

    name: ClassVar[str] = "kv"
    summary: ClassVar[str] = "reads, writes and compare-and-sets of registers"
    model: ClassVar[str] = "kv"

    def __init__(self, seed: int, keys: int, skew: float = 0.0) -> None:
        self._random = Random(f"{seed}:workload")
        self._keys = [f"k{i}" for i in range(keys)]
        self._wheel = skewed(self._keys, skew)
        self._seen: dict[str, Any] = {}
        self._last_value = 0

    def next(self) -> Operation:
        key = self._wheel[int(self._random.random() * len(self._wheel))]
        kind = self._random.random() * 100
        if kind < READ_PERCENT:
            return Operation("read", key, None)
        if kind < READ_PERCENT + WRITE_PERCENT:
            return Operation("write", key, self._fresh())
        return Operation("cas", key, [self._seen.get(key), self._fresh()])

    def saw(self, operation: Operation, value: Any) -> None:
        if operation.f == "read":
            self._seen[operation.key] = value
        elif operation.f == "cas":
            self._seen[operation.key] = operation.value[1]
        else:
            self._seen[operation.key] = operation.value

    def finale(self) -> list[Operation]:
        """Reads every key, writes every key, reads every key: the first reads show what survived,
        the writes that the cluster takes commands, the last that it serves them."""
        reads = [Operation("read", key, None) for key in self._keys]
        writes = [Operation("write", key, self._fresh()) for key in self._keys]
        return reads + writes + reads

    def again(self, operation: Operation) -> Operation:
        if operation.f == "write":
            return operation._replace(value=self._fresh())  # values stay unique
        return operation

    def _fresh(self) -> int:
        self._last_value += 1
        return self._last_value


def skewed(keys: list[str], skew: float) -> list[str]:
    """A wheel to draw keys from evenly, on which the k-th key stands about 1/k**skew times as
    often as the first."""
    if skew <= 0:
        return keys
    return [key for k, key in enumerate(keys, 1) for _ in range(max(1, round(100 / k**skew)))]


WORKLOAD = KeyValueWorkload
