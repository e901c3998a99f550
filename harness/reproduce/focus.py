"""The focus of a verdict: the keys, commands, slots and ballots in dispute.

A story ranks events by whether they concern these. This is independent of protocols: a slot is
found in a message by the names of its fields, a command by its client and sequence number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from harness.reproduce.recorded_run import RecordedRun
from harness.reproduce.wording import is_command
from histories.events import NEMESIS, Event
from histories.sessions import NAMED_COMMAND, processes_of

SLOT_FIELDS: Final = ("slot", "id", "txn", "upto", "match", "last", "commit", "applied")
BALLOT_FIELDS: Final = ("ballot", "promised", "voted", "term")
UNANSWERED_MAX: Final = 3
COMMANDS_MAX: Final = 40
"""The maximum number of disputed commands; with more, none is considered."""

CommandId = tuple[int, int]


@dataclass
class Focus:
    """`events` are the indexes of the disputed operations' events, `moments_us` the times at which
    the dispute arose."""

    keys: set[str] = field(default_factory=set)
    commands: set[CommandId] = field(default_factory=set)
    slots: set[int | str] = field(default_factory=set)
    ballots: set[str] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    moments_us: list[int] = field(default_factory=list)
    crashes: set[tuple[int, int]] = field(default_factory=set)
    """(node, at_us) of each exception raised by a protocol."""

    def touches(self, part: Any) -> bool:
        """Whether a part of a message has a disputed command, or a disputed slot."""
        return any(self._is_disputed(name, leaf) for name, leaf in leaves("", part))

    def _is_disputed(self, name: str, leaf: Any) -> bool:
        if is_command(leaf):
            return (leaf["client"], leaf["seq"]) in self.commands
        return name in SLOT_FIELDS and isinstance(leaf, int | str) and leaf in self.slots

    def has_ballot(self, fields: dict[str, Any]) -> bool:
        """Whether the message is of a ballot in which something disputed was decided."""
        return any(
            name in BALLOT_FIELDS and str(leaf) in self.ballots for name, leaf in leaves("", fields)
        )


def leaves(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    """Every scalar and every command in a message, with the name of its field."""
    if is_command(part):
        yield name, part
    elif isinstance(part, dict):
        for inner, inner_part in part.items():
            yield from leaves(inner, inner_part)
    elif isinstance(part, list):
        for item in part:
            yield from leaves(name, item)
    else:
        yield name, part


def essence(fields: dict[str, Any]) -> tuple[Any, ...]:
    """The fields of a message that are relevant for a dispute: all except numbers that are neither
    slots nor ballots, such as the numbers of heartbeats."""
    names = (*SLOT_FIELDS, *BALLOT_FIELDS, "first")
    return tuple(
        (name, repr(leaf))
        for name, leaf in leaves("", fields)
        if name in names or type(leaf) is not int
    )


def focus_of(run: RecordedRun) -> Focus:
    """The focus of the run's verdict; if no detector fired, the clients' last operations."""
    focus = Focus()
    for evidence in _evidence(run.verdict):
        _add_operations(focus, run, evidence)
    session_of = {process: session for session, process in processes_of(run.events).items()}
    for finding in _findings(run.verdict)[:1]:  # the others mostly follow from the first
        if (slot := finding.get("slot")) is not None:
            focus.slots.add(slot)
        sentence = str(finding.get("sentence"))
        named = [(int(c), int(s)) for c, s in NAMED_COMMAND.findall(sentence)]
        focus.commands |= {(session_of[c], s) for c, s in named if c in session_of}
        if finding.get("kind") == "lost-write":
            _add_acknowledged(focus, run, sentence)
    focus.crashes = {(note.node, note.at_us) for note in run.notes if note.event == "crash"}
    focus.moments_us += sorted(at_us for _, at_us in focus.crashes)
    if not (focus.slots or focus.commands or focus.crashes):
        _add_unanswered(focus, run)
    _add_decisions(focus, run)
    return focus


def _evidence(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    judged = verdict.get("linearizability")
    partitions = judged.get("partitions", []) if isinstance(judged, dict) else []
    found = [p.get("evidence") for p in partitions if isinstance(p, dict)]
    return [evidence for evidence in found if isinstance(evidence, dict)]


def _findings(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    judged = verdict.get("agreement")
    findings = judged.get("findings", []) if isinstance(judged, dict) else []
    return [finding for finding in findings if isinstance(finding, dict)]


def _add_operations(focus: Focus, run: RecordedRun, evidence: dict[str, Any]) -> None:
    by_index = {event.index: event for event in run.events}
    for operation in evidence.get("operations", []):
        focus.keys.add(str(operation.get("key")))
        for index in (operation.get("call"), operation.get("return")):
            event = by_index.get(index) if isinstance(index, int) else None
            if event is not None:
                _add_event(focus, event)


def _add_acknowledged(focus: Focus, run: RecordedRun, sentence: str) -> None:
    """The operation that was lost after its acknowledgement: the finding's sentence names it."""
    for event in run.events:
        if event.type == "ok" and sentence.startswith(
            f"{event.f} {event.key}={json.dumps(event.value)} was acknowledged to client "
            f"{event.process} at {event.time / 1e9:.3f} s"
        ):
            _add_event(focus, event)


def _add_event(focus: Focus, event: Event) -> None:
    focus.events.add(event.index)
    focus.moments_us.append(event.time // 1000)
    if event.key is not None:
        focus.keys.add(event.key)
    command = command_of(event)
    if command is not None:
        focus.commands.add(command)


def command_of(event: Event) -> CommandId | None:
    """The (client, seq) of an operation at the nodes."""
    extra = event.extra if isinstance(event.extra, dict) else {}
    client, seq = extra.get("client"), extra.get("seq")
    return (client, seq) if isinstance(client, int) and isinstance(seq, int) else None


def _add_unanswered(focus: Focus, run: RecordedRun) -> None:
    """The operations without an answer, the last ones first; if there are none, the last
    operation."""
    pending: dict[Any, Event] = {}
    left: list[Event] = []
    last: list[Event] = []
    for event in run.events:
        if event.process == NEMESIS:
            continue
        if event.type == "invoke":
            pending[event.process] = event
            last.append(event)
        else:
            asked = pending.pop(event.process, None)
            if event.type == "info" and asked is not None:
                left.append(asked)
    unanswered = sorted([*pending.values(), *left] or last, key=lambda e: e.index)
    for event in unanswered[-UNANSWERED_MAX:]:
        _add_event(focus, event)
    if run.events:
        focus.moments_us.append(run.events[-1].time // 1000)


def _add_decisions(focus: Focus, run: RecordedRun) -> None:
    """The slots that decided disputed commands, the commands of disputed slots, their ballots."""
    in_findings = set(focus.slots)
    values: set[tuple[int | str, Any]] = set()
    for decided in sorted(run.decided, key=lambda d: d.at_us):
        commands = {(c[0], c[1]) for c in decided.commands}
        disputed = decided.slot in in_findings
        if disputed and len(focus.commands) < COMMANDS_MAX:
            focus.commands |= {c for c in commands if c[0]}
            focus.keys |= {str(c[3]) for c in decided.commands if c[0]}
        if disputed or commands & focus.commands:
            focus.slots.add(decided.slot)
            if any(decided.ballot):
                focus.ballots |= {".".join(map(str, decided.ballot)), *map(str, decided.ballot[:1])}
            value = (decided.slot, repr(decided.commands))
            if value not in values:  # the first decision of a value, not every node's
                values.add(value)
                focus.moments_us.append(decided.at_us)
    for event in run.events:
        if event.process != NEMESIS and command_of(event) in focus.commands:
            focus.events.add(event.index)
