"""Histories whose values repeat, as in Jepsen's stock register test, for the checker's benchmark.

Clients work in a closed loop on one register: reads (50 %), writes (35 %) and compare-and-sets
(15 %), every value drawn from a few. An operation takes effect at a random moment between its call
and its return. A share of the writes and compare-and-sets never returns: half of those take effect
at once, the others some time later, or never. A compare-and-set that does not match does not report
what it saw.

With `stale` one read, once that share of the operations has begun, returns the last of the values
when that is certainly gone: another write was called after all writes of it had returned, and had
returned itself before the read was called; and no operation that never returned writes it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Json = Any


class Repeated(NamedTuple):
    """What a history looks like. `unknown` is the share of operations that never return."""

    operations: int
    clients: int
    values: int = 5
    unknown: float = 0.05
    stale: float | None = None
    seed: int = 1

    @property
    def name(self) -> str:
        stale = "" if self.stale is None else f"-stale{self.stale:g}"
        shape = f"{self.operations}-{self.clients}c-{self.values}v-{self.unknown:g}u"
        return f"repeated-{shape}{stale}-s{self.seed}.jsonl"


@dataclass
class _Open:
    """An operation that has been called; `answer` is set when it takes effect."""

    process: int
    f: str
    value: Json
    called_at: int
    lost: bool
    applied: bool = False
    matched: bool = True
    answer: Json = None


@dataclass
class _Register:
    """The register: what it holds, and every write that has returned: (called, returned, value)."""

    value: Json = None
    returned: list[tuple[int, int, Json]] = field(default_factory=list)

    def apply(self, op: _Open) -> None:
        op.applied, op.answer = True, self.value
        if op.f == "write":
            self.value = op.value
        elif op.f == "cas":
            op.matched = op.value[0] == self.value
            self.value = op.value[1] if op.matched else self.value

    def is_gone(self, value: int, read: _Open, busy: list[_Open]) -> bool:
        """Whether the read cannot have seen this value, which no lost operation writes."""
        if any(_written(op) == value for op in busy):
            return False
        last = max((end for _, end, written in self.returned if written == value), default=0)
        return any(
            last < called and end < read.called_at
            for called, end, written in self.returned
            if written != value
        )


def make(path: Path, shape: Repeated) -> None:
    """Write the history to `path`."""
    with path.open("w") as out:
        for event in events(shape):
            out.write(json.dumps(event, separators=(",", ":")) + "\n")


def events(shape: Repeated) -> list[dict[str, Json]]:
    """The history's events, as they stand in a file."""
    draw = random.Random(f"{shape}")
    register, found = _Register(), []
    idle = list(range(shape.clients))
    busy: list[_Open] = []
    late: list[_Open] = []
    begun, step, fresh = 0, 0, shape.clients
    stale_from = shape.operations if shape.stale is None else int(shape.stale * shape.operations)
    while busy or begun < shape.operations:
        step += 1
        if begun < shape.operations and idle and draw.random() < len(idle) / (shape.clients / 2):
            busy.append(_begin(draw, shape, idle.pop(draw.randrange(len(idle))), step))
            found.append(_event(busy[-1], "invoke", busy[-1].value))
            begun += 1
            continue
        if late and draw.random() < 0.05:
            register.apply(late.pop(draw.randrange(len(late))))
        op = busy[draw.randrange(len(busy))]
        if not op.applied and not (op.lost and draw.random() < 0.5):
            register.apply(op)
            continue
        busy.remove(op)
        if op.lost:
            if not op.applied:
                late.append(op)
            found.append(_event(op, "info", op.value) | {"error": "timeout"})
            op.process, fresh = fresh, fresh + 1
        elif op.f == "read" and begun > stale_from:
            last = shape.values - 1
            if register.is_gone(last, op, busy):
                op.answer, stale_from = last, shape.operations
        if not op.lost:
            if op.f != "read" and op.matched:
                register.returned.append((op.called_at, step, _written(op)))
            found.append(_completion(op))
        idle.append(op.process)
    if stale_from < shape.operations:
        raise ValueError(f"{shape}: no read came when the last value was certainly gone")
    return found


def _begin(draw: random.Random, shape: Repeated, process: int, step: int) -> _Open:
    kind = draw.random()
    if kind < 0.5:
        return _Open(process, "read", None, step, lost=False)
    lost = draw.random() < shape.unknown
    if kind < 0.85:
        op = _Open(process, "write", draw.randrange(shape.values), step, lost)
    else:
        pair = [draw.randrange(shape.values), draw.randrange(shape.values)]
        op = _Open(process, "cas", pair, step, lost)
    if shape.stale is not None and _written(op) == shape.values - 1:
        op.lost = False
    return op


def _written(op: _Open) -> Json:
    """What it puts there, or may put there."""
    return op.value[1] if op.f == "cas" else op.value


def _completion(op: _Open) -> dict[str, Json]:
    if not op.matched:
        return _event(op, "fail", op.value) | {"error": "mismatch"}
    return _event(op, "ok", op.answer if op.f == "read" else op.value)


def _event(op: _Open, kind: str, value: Json) -> dict[str, Json]:
    return {"process": op.process, "type": kind, "f": op.f, "key": "k", "value": value}
