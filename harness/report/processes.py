"""The records of a simulated run about its nodes' processes: disk writes and final states.

`nodes/processes.jsonl` is described in `harness.runtimes.sim.record_files`. Without it there are no
writes and final states to show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypeGuard

from harness.report.columns import Names, Texts, encode_numbers
from histories.events import Json
from histories.folder import RunFolder
from histories.untrusted import objects

WRITES_MAX: Final = 500_000
TEXT_MAX: Final = 600
UNKNOWN: Final = "-"


def processes_of(folder: RunFolder, texts: Texts) -> dict[str, Any] | None:
    """{columns, kinds, count, fsyncs, left_out, final} for the page; None without a file.

    A write's `span_us` is the time until it was durable, plus one; 0 if it never was.
    Writes of a node that reached the disk at the same time shared an fsync.
    """
    if not folder.processes.is_file():
        return None
    kinds = Names()
    writes: list[tuple[int, int, int, int, int]] = []
    final: list[dict[str, Json]] = []
    syncs: set[tuple[int, int]] = set()
    for line in _lines(folder):
        at_us, node = line.get("at_us"), line.get("node")
        if not _is_count(at_us) or not _is_count(node):
            continue
        if line.get("event") == "end":
            final.append(_state(node, line))
        elif line.get("event") == "persist":
            durable_us = line.get("durable_us")
            lasted = 0
            if _is_count(durable_us):
                lasted = durable_us - at_us + 1
                syncs.add((node, durable_us))
            kind, text = kinds.number(str(line.get("kind"))), texts.number(_words(line))
            writes.append((at_us, max(0, lasted), node, kind, text))
    writes.sort(key=lambda write: write[0])
    shown = writes[:WRITES_MAX]
    columns = {
        name: encode_numbers([write[i] for write in shown], rising=not i)
        for i, name in enumerate(("at_us", "span_us", "node", "kind", "fields"))
    }
    return {
        "columns": columns,
        "kinds": kinds.list(),
        "count": len(shown),
        "fsyncs": len(syncs),
        "left_out": len(writes) - len(shown),
        "final": sorted(final, key=lambda state: state["node"]),
    }


def _is_count(value: Any) -> TypeGuard[int]:
    return value.__class__ is int and 0 <= value < 1 << 53


def _lines(folder: RunFolder) -> Iterator[dict[str, Any]]:
    yield from (line for line, _ in objects(folder.processes) if line is not None)


def _words(line: dict[str, Any]) -> str:
    text = json.dumps(line.get("fields"), ensure_ascii=False)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _state(node: int, line: dict[str, Any]) -> dict[str, Json]:
    """The final state of a node, as texts."""
    ballot = line.get("ballot")
    up = "up" if line.get("up") else "down"
    values = line.get("values")
    return {
        "node": node,
        "process": "paused" if line.get("paused") else up,
        "role": str(line.get("role") or UNKNOWN),
        "leader": f"n{line['leader']}" if _is_count(line.get("leader")) else UNKNOWN,
        "ballot": ".".join(map(str, ballot)) if isinstance(ballot, list) else UNKNOWN,
        "applied": str(line.get("applied", UNKNOWN)),
        "values": UNKNOWN if values is None else json.dumps(values, ensure_ascii=False)[:4_000],
    }
