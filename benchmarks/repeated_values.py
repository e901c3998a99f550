"""Histories whose values repeat, as in Jepsen's stock register test, for the checker's benchmark.

Clients work in a closed loop on one register: reads (50 %), writes (35 %) and compare-and-sets
(15 %), every value drawn from a few. An operation takes effect at a random moment between its call
and its return. A share of the writes and compare-and-sets never returns: half of those take effect
at once, the others some time later, or never. A compare-and-set that does not match does not say
what it saw. With `stale` one read returns a value that the register has not held since the read was
called, once a share `stale` of the operations has begun; it may still be explained by an operation
that never returned.
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
    """The register, and every value that it has held: (from which step on, value)."""

    draw: random.Random
    held: list[tuple[int, Json]] = field(default_factory=lambda: [(0, None)])

    def apply(self, op: _Open, step: int) -> None:
        now = self.held[-1][1]
        op.applied, op.answer = True, now
        if op.f == "write":
            self.held.append((step, op.value))
        elif op.f == "cas":
            op.matched = op.value[0] == now
            if op.matched:
                self.held.append((step, op.value[1]))

    def not_since(self, step: int, values: int) -> list[int]:
        """The values that it has not held since this step."""
        held = set()
        for since, value in reversed(self.held):
            held.add(value)
            if since <= step:
                break
        return [value for value in range(values) if value not in held]


def make(path: Path, shape: Repeated) -> None:
    """Write the history to `path`."""
    with path.open("w") as out:
        for event in events(shape):
            out.write(json.dumps(event, separators=(",", ":")) + "\n")


def events(shape: Repeated) -> list[dict[str, Json]]:
    """The history's events, as they stand in a file."""
    draw = random.Random(f"{shape}")
    register, found = _Register(draw), []
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
            register.apply(late.pop(draw.randrange(len(late))), step)
        op = busy[draw.randrange(len(busy))]
        if not op.applied and not (op.lost and draw.random() < 0.5):
            register.apply(op, step)
            continue
        busy.remove(op)
        if op.lost:
            if not op.applied:
                late.append(op)
            found.append(_event(op, "info", op.value) | {"error": "timeout"})
            op.process, fresh = fresh, fresh + 1
        elif op.f == "read" and begun > stale_from:
            wrong = register.not_since(op.called_at, shape.values)
            if wrong:
                op.answer, stale_from = draw.choice(wrong), shape.operations
        if not op.lost:
            found.append(_completion(op))
        idle.append(op.process)
    return found


def _begin(draw: random.Random, shape: Repeated, process: int, step: int) -> _Open:
    kind = draw.random()
    if kind < 0.5:
        return _Open(process, "read", None, step, lost=False)
    lost = draw.random() < shape.unknown
    if kind < 0.85:
        return _Open(process, "write", draw.randrange(shape.values), step, lost)
    pair = [draw.randrange(shape.values), draw.randrange(shape.values)]
    return _Open(process, "cas", pair, step, lost)


def _completion(op: _Open) -> dict[str, Json]:
    if not op.matched:
        return _event(op, "fail", op.value) | {"error": "mismatch"}
    return _event(op, "ok", op.answer if op.f == "read" else op.value)


def _event(op: _Open, kind: str, value: Json) -> dict[str, Json]:
    return {"process": op.process, "type": kind, "f": op.f, "key": "k", "value": value}
