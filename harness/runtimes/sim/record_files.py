"""The files of a recorded run: `messages.jsonl` and `processes.jsonl`, one JSON object a line.

    messages.jsonl   {"sent_us", "departs_us", "arrives_us", "source", "target", "kind", "fields"},
                     in the order in which they were sent; "reason" where arrives_us is null:
                     lost (by a link fault), cut (by a partition), down (no process received it),
                     unsynced (the sender crashed while it waited for the disk; departs_us is then
                     null too), in flight (the run ended before). A last line {"not_recorded": n}
                     where there were more than `MESSAGES_MAX`
    processes.jsonl  {"at_us", "node", "event", ...}, by time:
                     start    recovered: how many records the disk held
                     crash    power: a power cut, else a kill; kept, lost: records; torn
                     pause, resume
                     role     role, leader, ballot: the node's own belief, when it changed
                     persist  kind, fields: a record; durable_us: it is on the disk from then on
                     end      the state when the run ended: up, paused, role, leader, ballot,
                              decided, applied, values (the store; null for a node that is down)

Times are virtual microseconds from the run's start; the history has the same zero, in nanoseconds.
Fields are those of the message's class. A command is {"client", "seq", "f", "key", "value"}, a pair
of numbers with names, such as a ballot or an instance, is "1.2", any other record inside of a
message has its class in "kind".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.run_record import Message, RunRecord
from harness.runtimes.sim.world import World
from histories.folder import MESSAGES, PROCESSES
from node_image.protocols.interface import Command

FIELDS_MAX: Final = 20_000
"""Characters of one message's fields; longer ones are replaced by {"omitted": how many}."""


def write_record(world: World, record: RunRecord, folder: Path) -> None:
    """Write both files into the folder."""
    write_lines(folder / MESSAGES, _message_lines(record))
    write_lines(folder / PROCESSES, sorted(_process_lines(world, record), key=_by_time))


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """JSON Lines, in compact form."""
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _by_time(line: dict[str, Any]) -> int:
    return int(line["at_us"])


def _message_lines(record: RunRecord) -> Iterator[dict[str, Any]]:
    described: tuple[Any, dict[str, Any]] = (None, {})
    for sent in record.messages:
        if sent.message is not described[0]:  # a broadcast sends one object to several nodes
            described = (sent.message, _described(sent.message))
        yield _message_line(sent) | described[1]
    if record.not_recorded:
        yield {"not_recorded": record.not_recorded}


def _message_line(sent: Message) -> dict[str, Any]:
    line = {
        "sent_us": sent.sent_us,
        "departs_us": sent.departs_us,
        "arrives_us": sent.arrives_us,
        "source": sent.source,
        "target": sent.target,
    }
    return line if sent.reason is None else line | {"reason": sent.reason}


def _process_lines(world: World, record: RunRecord) -> Iterator[dict[str, Any]]:
    for event in world.processes.events:
        yield {"at_us": event.at_us, "node": event.node, "event": event.what, **event.about}
    for change in record.roles:
        belief = {"role": change.role, "leader": change.leader, "ballot": list(change.ballot)}
        yield {"at_us": change.at_us, "node": change.node, "event": "role", **belief}
    for persisted in record.persisted:
        yield {
            "at_us": persisted.at_us,
            "node": persisted.node,
            "event": "persist",
            "durable_us": persisted.durable_us,
            **_described(persisted.record),
        }
    for node in world.nodes.values():
        yield {"at_us": world.now_us, "node": node.id, "event": "end", **_final_state(node)}


def _final_state(node: SimNode) -> dict[str, Any]:
    state: dict[str, Any] = {"up": node.up, "paused": node.paused}
    if node.protocol is None or node.machine is None:
        return state | {"role": None, "leader": None, "ballot": None, "values": None}
    status = node.protocol.status()
    return state | {
        "role": status.role,
        "leader": status.leader,
        "ballot": list(status.ballot),
        "decided": status.decided,
        "applied": status.applied,
        "values": node.machine.snapshot()["values"],
    }


def _described(record: tuple[Any, ...]) -> dict[str, Any]:
    """A message or a record of the disk: its class, and its fields as JSON."""
    fields: Any = _fields(record)
    if len(record) and (length := len(json.dumps(fields))) > FIELDS_MAX:
        fields = {"omitted": length}
    return {"kind": type(record).__name__, "fields": fields}


def _fields(record: Any) -> dict[str, Any]:
    names = getattr(record, "_fields", None) or [str(i) for i in range(len(record))]
    return {name: plain(value) for name, value in zip(names, record, strict=True)}


def plain(value: Any) -> Any:
    """A value inside of a message as JSON."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        if len(value) == 2 and all(type(part) is int for part in value):
            return f"{value[0]}.{value[1]}"
        kind = {} if isinstance(value, Command) else {"kind": type(value).__name__}
        return kind | _fields(value)
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(part) for part in value), key=repr)
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    return value
