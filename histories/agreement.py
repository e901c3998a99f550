"""The agreement detector: whether all nodes decided and applied the same log.

It reads the decided log of each node, in the order in which the node applied it: records of slot,
ballot and commands, a command being [client, seq, f, key, value]. After a restart a node may report
slots again, and a snapshot may leave holes in its log. A power cut can undo a snapshot, so that the
slots it covered are reported after later ones. Order is therefore required only within each life of
a node (from one start to the next), where records say which life it is. Findings:

    two-values        one slot was decided with two different values, by two nodes or by one
    applied-order     a log's slots were applied out of order within one life of a node
    different-orders  (slots without an order, as in EPaxos) two nodes, or one in two
                      lives, applied commands that change one key in different orders
    lost-write        a write that was acknowledged to its client is in no decided log
    state-divergence  two nodes, or one in two lives, held different states after one slot (see
                      `replica_states`)
    changed-command   one command (client, seq) was decided with two different contents

A command decided in two slots is not an error (sessions apply it once); it is counted. A lost write
is reported only if the nodes' logs together have no holes: otherwise a snapshot may contain it, and
it is counted as unaccounted for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from histories.events import Event, Json
from histories.folder import RunFolder
from histories.operations import freeze
from histories.replica_states import Divergence, StateDigest, compare, read_states
from histories.sessions import named_by_process, processes_of
from histories.text import QUOTED_MAX, one_line, quoted
from histories.untrusted import INTEGER_MAX, Malformed, records

Slot: TypeAlias = int | str
Name: TypeAlias = tuple[int, int]
WRITES: Final = frozenset(("write", "cas", "append", "put", "add", "enqueue", "push"))
READS: Final = frozenset(("read", "get", "noop", "contains"))
FINDINGS_MAX: Final = 20
COMMAND_FIELDS: Final = 5
SLOT_TEXT_MAX: Final = 100


class DecidedRecord(NamedTuple):
    """One decided slot, as one node recorded it. `life` counts the node's starts, where
    recorded."""

    slot: Slot
    ballot: tuple[Any, ...]
    commands: tuple[Any, ...]
    life: int = 0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One disagreement: its kind, the nodes and the slot it is about, and a sentence. For states,
    `divergence` has the details."""

    kind: str
    sentence: str
    nodes: tuple[int, ...] = ()
    slot: Slot | None = None
    divergence: Divergence | None = None

    def to_json(self) -> dict[str, Json]:
        document: dict[str, Json] = {
            "kind": self.kind,
            "sentence": self.sentence,
            "nodes": list(self.nodes),
            "slot": self.slot,
        }
        if self.divergence is not None:
            both = (self.divergence.one, self.divergence.other)
            document["states"] = [told._asdict() for told in both]
        return document


@dataclass(frozen=True, kw_only=True)
class AgreementVerdict:
    """The detector's result. `findings` holds the first FINDINGS_MAX, `found` counts all. `states`:
    for how many slots several digests were compared."""

    nodes: tuple[int, ...]
    slots: int
    commands: int
    found: int
    findings: tuple[Finding, ...] = ()
    duplicates: int = 0
    holes: int = 0
    acknowledged: int = 0
    unaccounted: int = 0
    states: int = 0
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        return "invalid" if self.found else "valid"

    def to_json(self) -> dict[str, Json]:
        return {
            "verdict": self.outcome,
            "nodes": list(self.nodes),
            "slots": self.slots,
            "commands": self.commands,
            "found": self.found,
            "findings": [f.to_json() for f in self.findings],
            "duplicates": self.duplicates,
            "holes": self.holes,
            "acknowledged": self.acknowledged,
            "unaccounted": self.unaccounted,
            "states": self.states,
            "notes": list(self.notes),
        }


def check_agreement(
    decided: Mapping[int, Iterable[Any]],
    events: Iterable[Event] = (),
    *,
    states: Mapping[int, Iterable[StateDigest]] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> AgreementVerdict:
    """Compare the nodes' decisions and state digests, and look for the writes acknowledged in
    `events`.

    `decided` gives for each node its records in the order of application: objects or JSON objects
    with slot, ballot and commands, or tuples of these three. Events name their command in `extra`
    as {"client": …, "seq": …}; other writes are not looked for.
    """
    events = events if isinstance(events, Sequence) else tuple(events)
    detector = _Detector()
    for node in sorted(decided):
        detector.add_node(node, (_record(r) for r in decided[node]))
    compared = compare(states)
    detector.add_divergences(compared.divergences)
    holes = detector.count_holes()
    acknowledged = detector.look_for(events, holes)
    return AgreementVerdict(
        nodes=tuple(sorted(decided)),
        slots=len(detector.values),
        commands=len(detector.contents),
        found=len(detector.findings),
        findings=_by_process(detector.findings[:FINDINGS_MAX], events),
        duplicates=detector.duplicates,
        holes=holes,
        acknowledged=acknowledged,
        unaccounted=detector.unaccounted,
        states=compared.slots,
        notes=tuple(notes),
    )


def _by_process(findings: Sequence[Finding], events: Sequence[Event]) -> tuple[Finding, ...]:
    """Nodes know clients by their sessions, readers by their processes."""
    if not findings:
        return ()
    names = processes_of(events)
    return tuple(replace(f, sentence=named_by_process(f.sentence, names)) for f in findings)


def check_folder(
    folder: RunFolder, events: Iterable[Event] = (), *, with_states: bool = True
) -> AgreementVerdict | None:
    """The detector for a run's folder; None if there is no decided log."""
    notes: list[str] = []
    decided: dict[int, list[DecidedRecord]] = {}
    for node, path in folder.decided_files():
        decided[node] = list(read_decided(path, notes))
    states: dict[int, list[StateDigest]] = {}
    for node, path in folder.state_files() if with_states else ():
        states[node] = list(read_states(path, notes))
    return check_agreement(decided, events, states=states, notes=notes) if decided else None


def read_decided(path: Path, notes: list[str]) -> Iterator[DecidedRecord]:
    """The records of one node's file, read lazily. A torn last line is noted.

    Raises BadHistory for a line that is not a decided record, with file and line.
    """
    return records(path, _checked, notes, wrong="is not a decided slot")


def _checked(record: dict[str, Any]) -> DecidedRecord:
    """A record as a file has it. Raises Malformed."""
    slot, ballot, life = record.get("slot"), record.get("ballot", []), record.get("life", 0)
    commands = record.get("commands")
    if isinstance(slot, str):
        is_slot = len(slot) <= SLOT_TEXT_MAX
    else:
        is_slot = type(slot) is int and 0 <= slot < INTEGER_MAX
    if not is_slot:
        raise Malformed(f"slot {quoted(slot)}")
    if type(life) is not int or not 0 <= life < INTEGER_MAX:
        raise Malformed(f"life {quoted(life)}")
    if not isinstance(commands, list):
        raise Malformed(f"commands {quoted(commands)}")
    for command in commands:
        if not (isinstance(command, list) and len(command) == COMMAND_FIELDS):
            raise Malformed(f"command {quoted(command)}")
    assert isinstance(slot, (int, str))
    return DecidedRecord(slot, _tuple(ballot), _tuple(commands), life)


def _record(record: Any) -> DecidedRecord:
    if isinstance(record, dict):
        life = record.get("life", 0)
        slot, ballot, commands = record["slot"], record.get("ballot", ()), record["commands"]
    else:
        life = getattr(record, "life", 0)
        slot, ballot, commands = record[:3]
    if not isinstance(slot, (int, str)):
        raise TypeError(f"slot {slot!r}")
    return DecidedRecord(slot, _tuple(ballot), _tuple(commands), life)


def _tuple(value: Any) -> tuple[Any, ...]:
    frozen = freeze(value)
    return frozen if isinstance(frozen, tuple) else (frozen,)


class _Detector:
    """All records so far, and the findings among them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.values: dict[Slot, dict[tuple[Any, ...], tuple[int, tuple[Any, ...]]]] = {}
        self.contents: dict[Name, tuple[Any, ...]] = {}
        self.where: dict[Name, Slot] = {}
        self.orders: dict[Any, dict[Slot, int]] = {}  # key -> slot -> position, in the first log
        self.order_of: dict[Any, int] = {}
        self.duplicates = self.unaccounted = 0

    def add_node(self, node: int, records: Iterable[DecidedRecord]) -> None:
        applied: dict[tuple[int, Any], dict[Slot, Name]] = {}
        seen: set[tuple[int, Slot]] = set()
        last: tuple[int, Slot] | None = None
        for record in records:
            slot = record.slot
            self._one_value(node, record)
            if isinstance(slot, int):
                if last is not None and record.life and last[0] == record.life:
                    self._in_order(node, last[1], slot)
                last = (record.life, slot)
            elif (record.life, slot) not in seen:
                for command in record.commands:
                    if command[0] != 0 and command[2] not in READS:
                        name, key = (command[0], command[1]), (record.life, command[3])
                        applied.setdefault(key, {}).setdefault(slot, name)
            seen.add((record.life, slot))
        for (_, key), writes in applied.items():
            self._same_order(node, key, writes)

    def _one_value(self, node: int, record: DecidedRecord) -> None:
        slot, values = record.slot, self.values.setdefault(record.slot, {})
        if record.commands in values:
            return
        for other, (other_node, ballot) in list(values.items())[:1]:
            at = f"ballot {_ballot(ballot)}", f"ballot {_ballot(record.ballot)}"
            self.findings.append(
                Finding(
                    kind="two-values",
                    slot=slot,
                    nodes=tuple(sorted({other_node, node})),
                    sentence=(
                        f"slot {slot} was decided twice: node {other_node} has "
                        f"{_telling(other)} ({at[0]}), node {node} has "
                        f"{_telling(record.commands)} ({at[1]})"
                    ),
                )
            )
        values[record.commands] = (node, record.ballot)
        for command in record.commands:
            if command[0] != 0:
                self._one_content(node, slot, command)

    def _one_content(self, node: int, slot: Slot, command: tuple[Any, ...]) -> None:
        name = (command[0], command[1])
        known = self.contents.setdefault(name, command)
        if known != command:
            self.findings.append(
                Finding(
                    kind="changed-command",
                    slot=slot,
                    nodes=(node,),
                    sentence=(
                        f"one command was decided as {_one(known)} in slot {self.where[name]} and "
                        f"as {_one(command)} in slot {slot}"
                    ),
                )
            )
        if self.where.setdefault(name, slot) != slot:
            self.duplicates += 1

    def add_divergences(self, divergences: Iterable[Divergence]) -> None:
        for divergence in divergences:
            nodes = tuple(sorted({divergence.one.node, divergence.other.node}))
            self.findings.append(
                Finding(
                    kind="state-divergence",
                    slot=divergence.slot,
                    nodes=nodes,
                    sentence=divergence.sentence,
                    divergence=divergence,
                )
            )

    def _in_order(self, node: int, before: Slot, slot: int) -> None:
        if isinstance(before, int) and slot <= before:
            self.findings.append(
                Finding(
                    kind="applied-order",
                    slot=slot,
                    nodes=(node,),
                    sentence=f"node {node} applied slot {slot} after slot {before}",
                )
            )

    def _same_order(self, node: int, key: Any, writes: dict[Slot, Name]) -> None:
        """Compare slots, not commands: of a command that was decided in two slots a node may have
        the first in its snapshot, and so report only the second."""
        places = self.orders.get(key)
        if places is None:
            self.orders[key] = {slot: i for i, slot in enumerate(writes)}
            self.order_of[key] = node
            return
        common = [slot for slot in writes if slot in places]
        for a, b in itertools.pairwise(common):
            if places[a] > places[b]:
                first = self.order_of[key]
                self.findings.append(
                    Finding(
                        kind="different-orders",
                        nodes=tuple(sorted((first, node))),
                        slot=a,
                        sentence=(
                            f"node {node} applied {_one(self.contents[writes[a]])} before "
                            f"{_one(self.contents[writes[b]])}, node {first} the other way round"
                        ),
                    )
                )
                return
        if len(writes) > len(places):
            self.orders[key] = {slot: i for i, slot in enumerate(writes)}
            self.order_of[key] = node

    def count_holes(self) -> int:
        """Slots that no node has reported, below the highest one; per owner for
        "owner.instance"."""
        logs: dict[str, list[int]] = {}
        for slot in self.values:
            owner, _, number = str(slot).rpartition(".")
            if number.isdecimal():
                logs.setdefault(owner, []).append(int(number))
        return sum(
            max(numbers) + 1 - min(1, *numbers) - len(set(numbers)) for numbers in logs.values()
        )

    def look_for(self, events: Iterable[Event], holes: int) -> int:
        """Look for every acknowledged write. Returns their number."""
        acknowledged = 0
        for event in events:
            if event.type != "ok" or event.f not in WRITES or not event.extra:
                continue
            name = (event.extra.get("client"), event.extra.get("seq"))
            if not all(type(part) is int for part in name):
                continue
            acknowledged += 1
            if name in self.contents:
                continue
            if holes:
                self.unaccounted += 1
                continue
            self.findings.append(
                Finding(
                    kind="lost-write",
                    nodes=() if event.node is None else (event.node,),
                    sentence=(
                        f"{_one_text(event.f)} {_one_text(event.key)}={_written(event.value)} was "
                        "acknowledged to "
                        f"client {event.process} at {event.time / 1e9:.3f} s"
                        f"{'' if event.node is None else f' by node {event.node}'}, "
                        "and no node has decided it"
                    ),
                )
            )
        return acknowledged


def _ballot(ballot: tuple[Any, ...]) -> str:
    return _one_text(".".join(str(part) for part in ballot))


def _telling(commands: tuple[Any, ...]) -> str:
    if not commands:
        return "nothing"
    more = f" and {len(commands) - 1} more" if len(commands) > 1 else ""
    return _one(commands[0]) + more


def _one(command: tuple[Any, ...]) -> str:
    client, seq, f, key, value = command[:5]
    if client == 0:
        return _one_text(f)
    shown = f"{_one_text(f)} {_one_text(key)} {quoted(value)}"
    return f"{shown} (client {_one_text(client)}, command {_one_text(seq)})"


def _one_text(part: Any) -> str:
    return one_line(str(part), QUOTED_MAX)


def _written(value: Json) -> str:
    return one_line(json.dumps(value), QUOTED_MAX)
