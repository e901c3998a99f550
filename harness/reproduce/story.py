"""A run told as a space-time table: one line per event, one lane per node.

    time s     n1  n2  n3
    3.321062    │   │   │   partition halves n1
    3.350411    │   │   │   client 1 asks: write k0=4
    3.350661    x───●───○   n2 → n3 (lost: n1) in 0.4 ms  Accept(ballot 1.2, slot 5, …)

Which messages are told? Those that carry an operation of the story, and those of kinds that are
rare in it (elections, catching up); the rest, such as heartbeats, are counted, not told. When that
is still too much, the messages that are furthest from anything else go first. Nothing here knows a
protocol: a message shows its class and its fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from faults.kinds import fault_from_json
from harness.run.simulation import SimulatedRun
from harness.runtimes.sim.run_record import Message as Sent
from histories.events import NEMESIS, Event
from node_image.protocols.interface import Command

RARE: Final = 12
"""A kind of message that comes no oftener than this is told in full."""
LINES_MAX: Final = 80
TEXT_MAX: Final = 110


class Line(NamedTuple):
    """One line of the story. `weight`: 0 is always told, higher goes first when there is no room.

    `source` and `targets` are lanes; a target that is lost is in `lost`.
    """

    at_us: int
    order: int
    weight: int
    text: str
    source: int | None = None
    targets: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


class Story(NamedTuple):
    """The lines, drawn; and how many messages of which kind were left out."""

    lines: list[str]
    untold: dict[str, int]

    def text(self) -> str:
        """The story, to print or to keep."""
        untold = ", ".join(f"{count} {kind}" for kind, count in self.untold.items())
        rest = [f"not told: {untold}"] if untold else []
        return "\n".join([*self.lines, *rest]) + "\n"


def tell(run: SimulatedRun, *, lines_max: int = LINES_MAX) -> Story:
    """The story of a run that was simulated with `traced`."""
    told = _Teller(run)
    lines = sorted(told.lines(), key=lambda line: (line.at_us, line.order))
    lines, dropped = _thinned(lines, lines_max)
    lanes = _Lanes(run)
    head = f"{'time s':>10}   " + "".join(f"{f'n{n}':^4}" for n in run.config.cluster.node_ids())
    drawn = [head.rstrip(), *(lanes.draw(line) for line in lines)]
    return Story(drawn, dict(told.untold + dropped))


def _thinned(lines: list[Line], lines_max: int) -> tuple[list[Line], Counter[str]]:
    """The weightiest lines, in their order."""
    dropped: Counter[str] = Counter()
    ranked = sorted(range(len(lines)), key=lambda i: (lines[i].weight, i))
    keep = set(ranked[:lines_max]) | {i for i in ranked if lines[i].weight == 0}
    for i in ranked:
        if i not in keep:
            dropped["others"] += 1
    return [line for i, line in enumerate(lines) if i in keep], dropped


class _Teller:
    """Turns what was recorded into lines."""

    def __init__(self, run: SimulatedRun) -> None:
        self._run = run
        self._order = 0
        self.untold: Counter[str] = Counter()
        self._commands = self._commands_of_story()

    def _commands_of_story(self) -> set[tuple[int, int]]:
        """(client, seq) of what the clients asked; about the evidence's keys only, if there is."""
        keys = self._evidence_keys()
        return {
            (event.extra["client"], event.extra["seq"])
            for event in self._run.events
            if event.type == "invoke"
            and event.process != NEMESIS
            and event.extra
            and (keys is None or event.key in keys)
        }

    def _evidence_keys(self) -> set[str | None] | None:
        verdict = self._run.verdict
        if verdict is None or verdict.linearizability.evidence is None:
            return None
        return {o.key for o in verdict.linearizability.evidence.operations} or None

    def lines(self) -> Iterator[Line]:
        yield from self._history()
        yield from self._notes()
        yield from self._processes()
        yield from self._messages()

    def _line(self, at_us: int, weight: int, text: str, **lanes: Any) -> Line:
        self._order += 1
        return Line(at_us, self._order, weight, _short(text), **lanes)

    # ------------------------------------------------------------------ faults and operations

    def _history(self) -> Iterator[Line]:
        for event in self._run.events:
            at_us = event.time // 1000
            if event.process == NEMESIS:
                if event.f == "phase":
                    yield self._line(at_us, 1, f"— {event.value} —")
                elif event.type == "info":
                    yield self._line(at_us, 0, _fault_text(event))
            else:
                lanes = {} if event.node is None else {"source": event.node}
                yield self._line(at_us, 0, _operation_text(event), **lanes)

    def _notes(self) -> Iterator[Line]:
        for n, node in self._run.runtime.world.nodes.items():
            for at_us, note in node.notes:
                about = ", ".join(f"{k} {_value(v)}" for k, v in note.about.items())
                yield self._line(at_us, 2, f"n{n}: {note.what} ({about})", source=n)
        for crash in self._run.crashes:
            yield self._line(crash.at_us, 0, crash.describe(), source=crash.node)

    def _processes(self) -> Iterator[Line]:
        for at_us, node, what in self._run.runtime.world.processes.events:
            if what == "start" and at_us:
                yield self._line(at_us, 1, f"n{node} starts again", source=node)

    # ------------------------------------------------------------------ messages

    def _messages(self) -> Iterator[Line]:
        record = self._run.runtime.record
        trace = record.messages if record else []
        often = Counter(type(sent.message).__name__ for sent in trace)
        for group in _broadcasts(trace):
            kind = type(group[0].message).__name__
            carries = bool(self._commands & set(_commands_in(group[0].message)))
            if not carries and often[kind] > RARE * self._run.config.cluster.nodes:
                self.untold[kind] += len(group)
                continue
            targets = tuple(s.target for s in group if s.arrives_us is not None)
            lost = tuple(s.target for s in group if s.arrives_us is None)
            yield self._line(
                group[0].departs_us or group[0].sent_us,
                3 if carries else 4,
                _message_text(group, targets, lost),
                source=group[0].source,
                targets=targets,
                lost=lost,
            )


def _broadcasts(trace: Sequence[Sent]) -> Iterator[list[Sent]]:
    """Messages that one step sent to several nodes, together."""
    group: list[Sent] = []
    for sent in trace:
        if group and (
            sent.message is not group[0].message
            or sent.departs_us != group[0].departs_us
            or sent.target in [s.target for s in group]
        ):
            yield group
            group = []
        group.append(sent)
    if group:
        yield group


def _commands_in(value: Any) -> Iterator[tuple[int, int]]:
    """Every command that a message carries, however deep."""
    if isinstance(value, Command):
        yield value.client, value.seq
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _commands_in(part)


def _message_text(group: list[Sent], targets: tuple[int, ...], lost: tuple[int, ...]) -> str:
    sent = group[0]
    to = ", ".join(f"n{n}" for n in targets) or "nobody"
    gone = f" (lost: {', '.join(f'n{n}' for n in lost)})" if lost else ""
    arrivals = [s.arrives_us - s.sent_us for s in group if s.arrives_us is not None]
    late = f" in {max(arrivals) / 1000:.1f} ms" if arrivals else ""
    return f"n{sent.source} → {to}{gone}{late}  {_value(sent.message)}"


def _value(value: Any) -> str:
    """A value for people: commands and named tuples by their fields, lists in brackets."""
    if isinstance(value, Command):
        return _command(value.f, value.key, value.value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        if all(isinstance(v, int) for v in value) and len(value) == 2:
            return ".".join(str(v) for v in value)  # a ballot
        fields = zip(value._fields, value, strict=True)
        return f"{type(value).__name__}({', '.join(f'{k} {_value(v)}' for k, v in fields)})"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return str(value)


def _command(f: str, key: str | None, value: Any) -> str:
    if f == "noop":
        return "no-op"
    if f == "cas" and isinstance(value, (list, tuple)) and len(value) == 2:
        return f"cas {key} {value[0]}→{value[1]}"
    return f"{f} {key}" if value is None else f"{f} {key}={value}"


def _operation_text(event: Event) -> str:
    asked = _command(event.f, event.key, event.value)
    if event.type == "invoke":
        asked = _command(event.f, event.key, None if event.f == "read" else event.value)
        return f"client {event.process} asks: {asked}"
    by = f" by n{event.node}" if event.node is not None else ""
    if event.type == "ok":
        told = f"read {event.key}: {event.value}" if event.f == "read" else f"done: {asked}"
        return f"client {event.process} is told{by}: {told}"
    if event.error == "mismatch":
        return f"client {event.process} is told{by}: {asked} did not match, saw {event.observed}"
    words = "may or may not have happened" if event.type == "info" else "did not happen"
    return f"client {event.process} gives up: {asked} {words} ({event.error})"


def _fault_text(event: Event) -> str:
    what = fault_from_json(event.value).describe()
    evidence = (event.extra or {}).get("evidence", {})
    if event.f == "heal":
        return f"healed: {what}"
    if evidence.get("struck") is False:
        return f"did not come to it: {what}"
    if evidence.get("struck"):
        return f"⚡ {what}: n{evidence['node']}"
    return f"⚡ {what}"


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


class _Lanes:
    """Draws the lanes: who is up, who speaks, who hears."""

    def __init__(self, run: SimulatedRun) -> None:
        self._nodes = run.config.cluster.node_ids()
        self._moments = sorted(run.runtime.world.processes.events)
        self._state = dict.fromkeys(self._nodes, "│")
        self._next = 0

    def draw(self, line: Line) -> str:
        while self._next < len(self._moments) and self._moments[self._next].at_us <= line.at_us:
            _, node, what = self._moments[self._next]
            self._state[node] = {"crash": " ", "pause": "┊"}.get(what, "│")
            self._next += 1
        marks = dict(self._state)
        for n in line.targets:
            marks[n] = "○"
        for n in line.lost:
            marks[n] = "x"
        if line.source is not None:
            marks[line.source] = "●"
        ends = [n for n in (line.source, *line.targets, *line.lost) if n is not None]
        reach = range(min(ends), max(ends)) if len(ends) > 1 else range(0)
        lanes = "".join(
            f"{'─' if n - 1 in reach else ' '}{marks[n]}{'──' if n in reach else '  '}"
            for n in self._nodes
        )
        return f"{line.at_us / 1e6:10.6f}   {lanes} {line.text}".rstrip()
