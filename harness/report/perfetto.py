"""A run as a trace for Perfetto's viewer (and Chromium's): the Trace Event Format in JSON.

    process "clients"   a track per process, an operation as a slice
    process "nodes"     a track per node: terms of leadership and log lines; messages leave and
                        arrive as short slices joined by flows
    process "faults"    a track per row of faults that do not overlap

Times are microseconds, as in the run. The format is described in Google's "Trace Event Format".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

from harness.report.fault_bands import FaultBand
from harness.report.messages import read_messages
from harness.report.operations import INFO, OUTCOMES
from harness.report.run_report import RunData

CLIENTS, NODES, FAULTS = 1, 2, 3
SLICE_US: Final = 1
"""The length of the slice that represents a message's departure or arrival: flows need slices."""
Entry = dict[str, Any]


def write_trace(data: RunData, file: TextIO) -> int:
    """Write the trace; how many entries it has."""
    count = 0
    file.write('{"displayTimeUnit":"ms","traceEvents":[')
    for entry in _entries(data):
        file.write((",\n" if count else "\n") + json.dumps(entry, separators=(",", ":")))
        count += 1
    file.write("\n]}\n")
    return count


def _entries(data: RunData) -> Iterator[Entry]:
    for process, name in ((CLIENTS, "clients"), (NODES, "nodes"), (FAULTS, "faults")):
        yield _name("process_name", process, 0, name)
        yield {
            "ph": "M",
            "name": "process_sort_index",
            "pid": process,
            "args": {"sort_index": process},
        }
    for node in data.nodes:
        yield _name("thread_name", NODES, node, f"n{node}")
    yield from _operations(data)
    yield from _faults(data.bands, data)
    yield from _leaders(data)
    yield from _logs(data)
    yield from _messages(data)


def _name(what: str, process: int, thread: int, name: str) -> Entry:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _operations(data: RunData) -> Iterator[Entry]:
    operations = data.operations
    functions, keys = operations.functions.list(), operations.keys.list()
    texts, errors = operations.texts.list(), operations.errors.list()
    for process in dict.fromkeys(operations.process):
        yield _name("thread_name", CLIENTS, process + 1, f"process {process}")
    for number in range(len(operations)):
        outcome = operations.outcome[number]
        key, value = keys[operations.key[number]], texts[operations.value[number]]
        about = {
            "outcome": OUTCOMES[outcome],
            "key": key,
            "value": value,
            "result": texts[operations.result[number]],
            "node": operations.node[number],
            "error": errors[operations.error[number]],
        }
        words = " ".join(
            part for part in (functions[operations.function[number]], key, value) if part
        )
        yield {
            "ph": "X",
            "name": words + (" ?" if outcome >= INFO else ""),
            "cat": f"operation,{OUTCOMES[outcome]}",
            "pid": CLIENTS,
            "tid": operations.process[number] + 1,
            "ts": operations.start_us[number],
            "dur": operations.latency_us(number),
            "args": {name: said for name, said in about.items() if said},
        }


def _faults(bands: list[FaultBand], data: RunData) -> Iterator[Entry]:
    last_us = data.events[-1].time // 1000 if data.events else 0
    ends: list[int] = []
    for band in bands:
        end_us = last_us if band.healed_us is None else band.healed_us
        row = next((i for i, end in enumerate(ends) if end <= band.asked_us), len(ends))
        if row == len(ends):
            ends.append(0)
            yield _name("thread_name", FAULTS, row + 1, f"faults {row + 1}")
        ends[row] = end_us
        yield {
            "ph": "X",
            "name": band.what,
            "cat": f"fault,{band.kind}",
            "pid": FAULTS,
            "tid": row + 1,
            "ts": band.asked_us,
            "dur": max(0, end_us - band.asked_us),
            "args": {"proven_us": band.proven_us, "verified": band.verified, **band.parameters},
        }


def _leaders(data: RunData) -> Iterator[Entry]:
    entries = data.logs.leaders(data.bands)
    last_us = data.events[-1].time // 1000 if data.events else 0
    for number, entry in enumerate(entries):
        if not entry["node"]:
            continue
        end_us = entries[number + 1]["at_us"] if number + 1 < len(entries) else last_us
        name = f"leads {entry['term']}"
        yield {
            "ph": "X",
            "name": name,
            "cat": "leader",
            "pid": NODES,
            "tid": entry["node"],
            "ts": entry["at_us"],
            "dur": max(0, end_us - entry["at_us"]),
        }


def _logs(data: RunData) -> Iterator[Entry]:
    for at_us, node, event, text in data.logs.lines:
        yield {
            "ph": "i",
            "s": "t",
            "name": event,
            "cat": "log",
            "pid": NODES,
            "tid": node,
            "ts": at_us,
            "args": {"text": text},
        }


def _messages(data: RunData) -> Iterator[Entry]:
    for number, message in enumerate(read_messages(data.folder)):
        sent_us, departs_us, transit, source, target, kind, fields, reason = message
        about = {"fields": fields, "to": f"n{target}", "waited_us": departs_us - sent_us}
        common = {"cat": "message", "pid": NODES, "dur": SLICE_US, "ph": "X"}
        lost = f" ({reason})" if reason else ""
        yield {"name": kind + lost, "tid": source, "ts": departs_us, "args": about} | common
        if not transit:
            continue
        arrives_us = departs_us + transit - 1
        flow = {"cat": "message", "name": kind, "id": number, "pid": NODES}
        yield {"ph": "s", "tid": source, "ts": departs_us} | flow
        yield {
            "name": kind,
            "tid": target,
            "ts": arrives_us,
            "args": {"from": f"n{source}"},
        } | common
        yield {"ph": "f", "bp": "e", "tid": target, "ts": arrives_us} | flow
