"""Histories for the checker's benchmark, made by clients of an atomic register.

Clients work in a closed loop on keys drawn at random: reads (50 %), writes (35 %) and
compare-and-sets (15 %), every written value new. An operation takes effect at a random moment
between its call and its return; a share of the writes and compare-and-sets never return (their
outcome is unknown, their client continues with a new number), half of which take effect late or
never. With `stale` one read near the end returns the value that an acknowledged write gave its key
a while ago.
"""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, TextIO


class Shape(NamedTuple):
    """What a history looks like. `unknown` is the share of writes whose outcome is unknown."""

    operations: int
    keys: int
    clients: int
    unknown: float = 0.0
    stale: bool = False
    seed: int = 1

    @property
    def name(self) -> str:
        parts = f"{self.operations}-{self.keys}k-{self.clients}c-{self.unknown:g}u"
        return f"{parts}{'-stale' if self.stale else ''}-s{self.seed}.jsonl"


class _Client:
    __slots__ = ("f", "key", "lost", "process", "seen", "stage", "value")

    def __init__(self, process: int) -> None:
        self.process, self.stage = process, 0
        self.f, self.key, self.value, self.seen, self.lost = "", 0, "null", "", False


def make(path: Path, shape: Shape) -> None:
    """Write the history to `path`."""
    draw = random.Random(f"{shape}")
    registers: list[Any] = [None] * shape.keys
    past: list[deque[Any]] = [deque(maxlen=400) for _ in range(shape.keys)]
    clients = [_Client(i) for i in range(shape.clients)]
    late: list[_Client] = []
    begun = index = time = new_value = 0
    process = shape.clients
    stale_at = int(shape.operations * 0.95) if shape.stale else -1
    with path.open("w") as out:
        while clients:
            at = int(draw.random() * len(clients))
            client = clients[at]
            time += 1000
            if client.stage == 0:
                if begun == shape.operations:
                    clients[at] = clients[-1]
                    clients.pop()
                    continue
                begun += 1
                new_value = _begin(client, draw, registers, new_value)
                index = _line(out, index, time, client, "invoke", client.value, "")
                client.lost = client.f != "read" and draw.random() < shape.unknown
            elif client.stage == 1:
                if client.lost and draw.random() < 0.5:
                    late.append(_copy(client))
                else:
                    _apply(client, registers, past)
            else:
                if client.lost:
                    index = _line(
                        out, index, time, client, "info", client.value, ',"error":"timeout"'
                    )
                    client.process = process
                    process += 1
                else:
                    if begun > stale_at > 0 and client.f == "read" and len(past[client.key]) > 300:
                        client.seen, stale_at = _text(past[client.key][0]), -1
                    index = _complete(out, index, time, client)
                client.stage = 0
                if late and draw.random() < 0.3:
                    _apply(late.pop(int(draw.random() * len(late))), registers, past)
                continue
            client.stage += 1


def _copy(client: _Client) -> _Client:
    copy = _Client(client.process)
    copy.f, copy.key, copy.value, copy.lost = client.f, client.key, client.value, True
    return copy


def _begin(client: _Client, draw: random.Random, registers: list[Any], new: int) -> int:
    client.key = int(draw.random() * len(registers))
    kind = draw.random()
    if kind < 0.5:
        client.f, client.value = "read", "null"
        return new
    new += 1
    if kind < 0.85:
        client.f, client.value = "write", str(new)
    else:
        client.f = "cas"
        client.value = f"[{_text(registers[client.key])},{new}]"
    return new


def _apply(client: _Client, registers: list[Any], past: list[deque[Any]]) -> None:
    now = registers[client.key]
    client.seen = ""
    if client.f == "read":
        client.seen = _text(now)
        return
    if client.f == "cas":
        expected, new = client.value[1:-1].split(",")
        if expected != _text(now):
            client.seen = _text(now)
            return
        registers[client.key] = int(new)
    else:
        registers[client.key] = int(client.value)
    if not client.lost:
        past[client.key].append(registers[client.key])


def _complete(out: TextIO, index: int, time: int, client: _Client) -> int:
    if client.f == "cas" and client.seen:
        more = f',"error":"mismatch","observed":{client.seen}'
        return _line(out, index, time, client, "fail", client.value, more)
    value = client.seen if client.f == "read" else client.value
    return _line(out, index, time, client, "ok", value, "")


def _line(
    out: Any, index: int, time: int, client: _Client, kind: str, value: str, more: str
) -> int:
    out.write(
        f'{{"index":{index},"time":{time},"process":{client.process},"type":"{kind}",'
        f'"f":"{client.f}","key":"k{client.key}","value":{value}{more}}}\n'
    )
    return index + 1


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
