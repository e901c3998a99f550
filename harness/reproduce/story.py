"""A run as a space-time table: one line per event, one lane per node.

    time s     n1  n2  n3
    3.321062    │   │   │   ⚡ partition halves n1
    3.350411    │   │   │   client 1 asks: write k0=4
    3.350661    x───●───○   n2 → n3 in 0.4 ms (n1 cut off)  Accept(ballot 1.2, slot 5, …)

It is made from the run's folder alone. Lines are ranked by whether they concern the keys, commands,
slots and ballots in dispute (`harness.reproduce.focus`). Repetitions are folded, lines of low rank
are counted and not shown, and the length is bounded. It ends with the final states of the nodes,
and the last answers to clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.reproduce import wording
from harness.reproduce.focus import Focus, focus_of
from harness.reproduce.recorded_run import RecordedRun, read_run
from harness.reproduce.story_lines import CLIENTS, FAULTS, MESSAGES, NODES, Line, lines_of
from histories.events import NEMESIS

LINES_MAX: Final = 80
SHARES: Final = {FAULTS: 0.2, CLIENTS: 0.2, NODES: 0.15, MESSAGES: 1.0}
"""The share of a story that one group of lines may take if the others need the space."""
FAR: Final = 3
FAR_SHARE: Final = 0.25
"""The share of an incomplete story for lines that do not concern the dispute: from tier `FAR`
on."""
KEYS_MAX: Final = 4
SLOTS_MAX: Final = 4
CLIENT_LINES_MAX: Final = 6


class Story(NamedTuple):
    """`lines` are drawn; `omitted` counts the lines left out, `ending` are the final states."""

    lines: list[str]
    omitted: dict[str, int]
    ending: list[str]

    def text(self) -> str:
        """The story as text."""
        omitted = ", ".join(f"{count} {kind}" for kind, count in self.omitted.items())
        rest = [f"not shown: {omitted}"] if omitted else []
        return "\n".join([*self.lines, *rest, "", *self.ending]) + "\n"


def tell(folder: Path | str, *, lines_max: int = LINES_MAX) -> Story:
    """The story of the run in this folder. Raises UsageError if it cannot be read."""
    return tell_run(read_run(folder), lines_max=lines_max)


def tell_run(run: RecordedRun, *, lines_max: int = LINES_MAX) -> Story:
    """The story of a run that has been read."""
    focus = focus_of(run)
    found = lines_of(run, focus)
    kept, dropped = _selected(found.told, focus, lines_max)
    lanes = Lanes(run)
    drawn = [lanes.head(), *(lanes.draw(line) for line in kept)]
    if run.messages is None:
        drawn.append("(the folder holds no messages: `antipaxos replay` records them)")
    if run.not_recorded:
        dropped["later messages that were not recorded"] += run.not_recorded
    return Story(drawn, dict(found.omitted + dropped), list(_ending(run, focus)))


def _selected(
    lines: Sequence[Line], focus: Focus, lines_max: int
) -> tuple[list[Line], Counter[str]]:
    """The highest ranked lines, in the order of time, and the number of the others."""
    moments_us = sorted(focus.moments_us) or [0]

    def distance(line: Line) -> int:
        return min(abs(line.at_us - at_us) for at_us in moments_us)

    room = {group: int(share * lines_max) for group, share in SHARES.items()}
    ranked = sorted(range(len(lines)), key=lambda i: (lines[i].tier, distance(lines[i]), i))
    if len(lines) > lines_max:
        near = [i for i in ranked if lines[i].tier < FAR]
        far = ranked[len(near) :]
        messages = [i for i in far if lines[i].group == MESSAGES]
        others = [i for i in far if lines[i].group != MESSAGES]
        room_far = int(FAR_SHARE * lines_max)
        ranked = [*near, *messages[:room_far], *others[: room_far // 2]]
    kept: list[int] = []
    beyond: list[int] = []
    for i in ranked:
        group = lines[i].group
        (kept if room[group] > 0 else beyond).append(i)
        room[group] -= 1
    kept = [*kept, *beyond][:lines_max]
    chosen = sorted(kept, key=lambda i: (lines[i].at_us, i))
    told = set(kept)
    dropped = Counter(_what(line) for i, line in enumerate(lines) if i not in told)
    return [lines[i] for i in chosen], dropped


def _what(line: Line) -> str:
    names = {CLIENTS: "lines of clients", FAULTS: "lines of faults", NODES: "notes of nodes"}
    return names.get(line.group) or line.words.split("(", 1)[0]


# ------------------------------------------------------------------------------- the end


def _ending(run: RecordedRun, focus: Focus) -> Iterator[str]:
    """The final states of the nodes, and the last answers to clients."""
    ends = [event for event in run.processes if event.event == "end"]
    slots = sorted(focus.slots, key=str)[-SLOTS_MAX:]
    if ends or slots:
        yield "in the end"
    for event in ends:
        yield wording.clean(f"  n{event.node}  {_node_view(event.about, focus)}")
    for slot in slots:
        for text in _decisions(run, slot):
            yield wording.clean(text)
    yield from _clients(run, focus)
    for reason in run.verdict.get("reasons", [])[:3]:
        yield wording.clean(f"verdict: {reason}", 400)


def _node_view(state: dict[str, Any], focus: Focus) -> str:
    if not state.get("up"):
        return "down"
    paused = "paused, " if state.get("paused") else ""
    ballot = ".".join(map(str, state.get("ballot") or []))
    leader = state.get("leader")
    role = str(state.get("role"))
    follows = f" of n{leader}" if leader and role != "leader" else ""
    values = state.get("values")
    values = values if isinstance(values, dict) else {}
    keys = [key for key in sorted(focus.keys or values) if key][:KEYS_MAX]
    store = ", ".join(f"{key} = {wording.value(values.get(key))}" for key in keys)
    return f"{paused}{role}{follows}, ballot {ballot}, applied {state.get('applied')}: {store}"


def _decisions(run: RecordedRun, slot: int | str) -> Iterator[str]:
    """The decisions for a slot, with the nodes that agree grouped."""
    by_value: dict[str, list[int]] = {}
    for decided in run.decided:
        if decided.slot == slot:
            value = ", ".join(wording.command(c[2], c[3], c[4]) for c in decided.commands[:4])
            by_value.setdefault(value or "nothing", []).append(decided.node)
    for value, nodes in by_value.items():
        who = wording.nodes(dict.fromkeys(nodes))
        yield f"  slot {slot}: {value} ({who})"


def _clients(run: RecordedRun, focus: Focus) -> Iterator[str]:
    """The last answers that clients received about the disputed operations, if any."""
    told = [
        event
        for event in run.events
        if event.process != NEMESIS and event.index in focus.events and event.type != "invoke"
    ]
    open_asks = {}
    for event in run.events:
        if event.process != NEMESIS:
            open_asks[event.process] = event if event.type == "invoke" else None
    for event in told[-CLIENT_LINES_MAX:]:
        yield wording.clean(f"  {event.time / 1e9:.3f} s  {wording.operation(event)}")
    left = [event for event in open_asks.values() if event is not None]
    for event in left[:CLIENT_LINES_MAX]:
        yield wording.clean(f"  never answered: {wording.operation(event)}")


# ------------------------------------------------------------------------------- drawing


class Lanes:
    """Draws the lanes: which nodes are up, send and receive. Lines must come in the order of
    time."""

    def __init__(self, run: RecordedRun) -> None:
        self._nodes = run.nodes
        changes = ("start", "crash", "pause", "resume")
        self._changes = [event for event in run.processes if event.event in changes]
        self._state = dict.fromkeys(self._nodes, "│")
        self._next = 0

    def head(self) -> str:
        names = "".join(f"{f'n{n}':^4}" for n in self._nodes)
        return f"{'time s':>10}   {names}".rstrip()

    def draw(self, line: Line) -> str:
        while self._next < len(self._changes) and self._changes[self._next].at_us <= line.at_us:
            event = self._changes[self._next]
            self._state[event.node] = {"crash": " ", "pause": "┊"}.get(event.event, "│")
            self._next += 1
        marks = dict(self._state)
        marks |= dict.fromkeys(line.targets, "○") | dict.fromkeys(line.lost, "x")
        marks |= dict.fromkeys(line.sources, "●")
        ends = [*line.sources, *line.targets, *line.lost]
        reach = range(min(ends), max(ends)) if line.group == MESSAGES else range(0)
        for n in reach:
            marks[n] = "─" if marks[n] == " " else marks[n]
        lanes = "".join(
            f"{'─' if n - 1 in reach else ' '}{marks[n]}{'──' if n in reach else '  '}"
            for n in self._nodes
        )
        return f"{line.at_us / 1e6:10.6f}   {lanes} {line.text()}".rstrip()


__all__ = ["LINES_MAX", "Story", "tell", "tell_run"]
