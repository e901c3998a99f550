"""Names and descriptions of the anomalies of strings that are put and appended to.

Without a put a string only grows: whatever was appended stays in it, in one piece, and every answer
is a prefix of each later one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from histories.checker.descriptions import READS, described, seconds, shown
from histories.models import Model
from histories.operations import Operation

Finding = tuple[str, str]


def with_empty_strings(operations: Sequence[Operation]) -> list[Operation]:
    """A missing string reads as the empty one."""
    return [
        op._replace(result="") if op.f in READS and op.seen and op.result is None else op
        for op in operations
    ]


def recognise_strings(model: Model, part: Sequence[Operation]) -> Finding | None:
    """The anomaly in a part that consists of appends and of reads of texts."""
    appends = [op for op in part if op.f == "append" and isinstance(op.value, str)]
    reads = [op for op in with_empty_strings(part) if op.f in READS and isinstance(op.result, str)]
    if len(appends) + len(reads) < len(part):
        return None
    beginning = str(model.initial() or "")
    for read in reads:
        if found := _lacks(read, appends) or _too_long(beginning, read, appends):
            return found
    for a, b in itertools.permutations(reads, 2):
        if a.ret < b.call and len(b.result) < len(a.result) and a.result.startswith(b.result):
            return "backward-read", f"{described(b)}, although {described(a)}"
    for a, b in itertools.combinations(reads, 2):
        if not a.result.startswith(b.result) and not b.result.startswith(a.result):
            return "different-orders", f"{described(a)}, {described(b)}: neither begins the other"
    return None


def _lacks(read: Operation, appends: Sequence[Operation]) -> Finding | None:
    for append in appends:
        if append.outcome == "ok" and append.ret < read.call and append.value not in read.result:
            return (
                "lost-element",
                f"{described(read)}, without {shown(append.value)}, whose append had been "
                f"acknowledged to client {append.process} at {seconds(append.ret_ns)}",
            )
    return None


def _too_long(beginning: str, read: Operation, appends: Sequence[Operation]) -> Finding | None:
    begun = [append.value for append in appends if append.call < read.ret]
    if len(read.result) <= len(beginning) + sum(map(len, begun)):
        return None
    for text in dict.fromkeys(begun):
        there = read.result.count(text) if text else 0
        if there > beginning.count(text) + sum(other.count(text) for other in begun):
            return (
                "double-apply",
                f"{described(read)}: it holds {shown(text)} more often than it was appended",
            )
    return "unwritten-value", f"{described(read)}, which is more than was appended until then"
