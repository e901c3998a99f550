"""The kinds of operations whose latency and cost are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.bench.compare.clusters import read, write
from harness.bench.compare.columns import Column
from harness.workloads import Operation


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of operation. `row` is its row of the table, such as "cost.read-log"; `reads`: how
    the cluster answers reads; `beside`: the client is at the node that it prefers, and not one
    delay from all nodes."""

    row: str
    label: str
    operation: Callable[[int], Operation]
    reads: str = "log"
    beside: bool = False

    def applies(self, column: Column) -> bool:
        """Two-phase commit reads its own copy, which is not a read by a log."""
        local = column.target == "two-phase-commit"
        name = self.row.partition(".")[2]
        if name in ("read-local", "read-log"):
            return local == (name == "read-local")
        return self.reads in column.reads


def fresh_write(number: int) -> Operation:
    """A write to a fresh key."""
    return write(f"k{number}", number)


def same_read(_: int) -> Operation:
    """A read of one key."""
    return read("k0")
