"""Faults in containers that are already running; see `harness.inject.api` and docs/faults.md."""

from harness.inject.api import (
    clock,
    corrupt,
    delay,
    drift,
    duplicate,
    inject,
    loss,
    memory,
    monotonic,
    partition,
    pause,
    rate,
    reorder,
    slow_cpu,
    strobe,
)

__all__ = [
    "clock",
    "corrupt",
    "delay",
    "drift",
    "duplicate",
    "inject",
    "loss",
    "memory",
    "monotonic",
    "partition",
    "pause",
    "rate",
    "reorder",
    "slow_cpu",
    "strobe",
]
