"""What replicas decided differently: the records behind the agreement detector's findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from histories.events import Event, Json
from histories.folder import RunFolder
from histories.sessions import named_by_process, processes_of
from histories.untrusted import objects

RECORDS_MAX: Final = 40


def disagreements(
    folder: RunFolder,
    agreement: dict[str, Any] | None,
    zero_ns: int,
    events: Sequence[Event] = (),
) -> list[dict[str, Json]]:
    """The findings, each with the records of its slot: {kind, sentence, records}; a record states
    node, at_us, slot, ballot, words, and client (its session) and seq of its first command.
    `events` determine which process each session is: texts name these."""
    findings = (agreement or {}).get("findings")
    if not isinstance(findings, list):
        return []
    wanted = {str(f.get("slot")) for f in findings if isinstance(f, dict)} - {"None"}
    by_slot: dict[str, list[dict[str, Json]]] = {slot: [] for slot in wanted}
    names = processes_of(events) if wanted else {}
    for record in _records(folder, zero_ns) if wanted else ():
        record["words"] = named_by_process(str(record["words"]), names)
        records = by_slot.get(str(record["slot"]))
        if records is not None and len(records) < RECORDS_MAX:
            records.append(record)
    return [
        {
            "kind": str(f.get("kind")),
            "sentence": str(f.get("sentence")),
            "records": sorted(by_slot.get(str(f.get("slot")), []), key=lambda r: r["at_us"]),
        }
        for f in findings
        if isinstance(f, dict)
    ]


def _records(folder: RunFolder, zero_ns: int) -> Iterator[dict[str, Json]]:
    for node, path in folder.decided_files():
        for line, _ in objects(path):
            if line is not None and isinstance(line.get("time"), int):
                yield _record(node, line, zero_ns)


def _record(node: int, line: dict[str, Any], zero_ns: int) -> dict[str, Json]:
    found = line.get("commands")
    commands = [c for c in found if isinstance(c, list)] if isinstance(found, list) else []
    ballot = line.get("ballot")
    first = commands[0] if commands else []
    named = len(first) > 1 and all(isinstance(part, int) for part in first[:2])
    return {
        "node": node,
        "at_us": max(0, (line["time"] - zero_ns) // 1000),
        "slot": line.get("slot"),
        "ballot": ".".join(map(str, ballot)) if isinstance(ballot, list) else str(ballot),
        "words": "; ".join(_words(c) for c in commands)[:600] or "nothing",
        "client": first[0] if named else 0,
        "seq": first[1] if named else 0,
    }


def _words(command: list[Any]) -> str:
    """[client, seq, f, key, value] in words."""
    f, key, value = (*command[2:5], None, None, None)[:3]
    shown = "" if value is None else f" {json.dumps(value, ensure_ascii=False)}"
    by = f" (client {command[0]}, command {command[1]})" if command[:1] not in ([], [0]) else ""
    return f"{f}{f' {key}' if key else ''}{shown}{by}"
