"""The lines of a story, each with its relevance to the dispute.

    tier 0   faults that took effect, disputed operations, protocols that raised an exception
         1   messages that carry a disputed command or name a disputed slot
         2   elections under a disputed ballot, changes of role, notes, processes that start
         3   messages of kinds that are rare
         4   other operations on disputed keys, phases
         5   other operations
         6   other messages that carry a command

Repetitions are folded: a message that a node repeats is one line with a count. Equal answers of
several nodes to one node are one line.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.reproduce import wording
from harness.reproduce.focus import Focus, command_of, essence, leaves
from harness.reproduce.recorded_run import NodeEvent, RecordedRun, SentMessage
from histories.events import NEMESIS, Event

RARE: Final = 12
"""A kind of message with at most this many per node is always shown."""
AFTER: Final = 3
"""Events after the dispute are ranked this many tiers lower."""
FOLD_MIN: Final = 3
"""Lines repeated at least this often are folded."""
MERGE_US: Final = 50_000
"""Answers to one node are merged if they were sent within this time."""

CLIENTS: Final = "clients"
FAULTS: Final = "faults"
MESSAGES: Final = "messages"
NODES: Final = "nodes"

UNSYNCED: Final = "unsynced"
REASONS: Final = {
    "lost": "lost",
    "cut": "cut off",
    "down": "down",
    UNSYNCED: "never sent, the sender crashed before its disk was synced",
    "in flight": "still under way",
}


@dataclass(frozen=True)
class Line:
    """One line. `words` is the text beside the lanes; `sources` send, `targets` receive, `lost`
    would have. `repeats` counts repetitions, the last one at `until_us`."""

    at_us: int
    tier: int
    group: str
    words: str
    sources: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    delays_us: tuple[int, ...] = ()
    reasons: tuple[tuple[int, str], ...] = ()
    repeats: int = 1
    until_us: int = 0
    held_us: int = 0
    essence: tuple[Any, ...] = ()

    def text(self) -> str:
        """The text with sender and receivers, the delays, and the losses."""
        again = ""
        if self.repeats > 1:
            again = f" ({self.repeats} times until {self.until_us / 1e6:.3f} s)"
        if self.group != MESSAGES:
            return self.words + again
        held = f" after {self.held_us / 1000:.1f} ms of disk" if self.held_us else ""
        return f"{wording.nodes(self.sources)} → {self._fates()}{held}  {self.words}{again}"

    def _fates(self) -> str:
        """The nodes that the message reached, with delays, and those that it did not reach, with
        reasons."""
        by_reason: dict[str, list[int]] = {}
        for node, reason in self.reasons:
            by_reason.setdefault(REASONS.get(reason, reason), []).append(node)
        fates = [f"{wording.nodes(who)} ({why})" for why, who in by_reason.items()]
        if self.targets:
            delays = wording.delays_ms(self.delays_us)
            fates.insert(0, f"{wording.nodes(self.targets)} in {delays}")
        return "; ".join(fates)


@dataclass
class Lines:
    """`told` are the lines, in no order; `omitted` counts messages without a line."""

    told: list[Line] = field(default_factory=list)
    omitted: Counter[str] = field(default_factory=Counter)


def lines_of(run: RecordedRun, focus: Focus) -> Lines:
    """All lines that a run's story may show."""
    found = Lines()
    found.told += _history(run.events, focus)
    found.told += _merged_notes(_nodes(run, focus))
    restless = sorted(e.at_us for e in run.processes if e.event in ("start", "crash", "pause"))
    found.told += _folded(
        _merged(list(_messages(run, focus, found.omitted)), restless),
        [e for e in run.processes if e.event == "start"],
    )
    last_us = max(focus.moments_us, default=None)
    if last_us is not None:
        found.told = [_later(line) if line.at_us > last_us else line for line in found.told]
    return found


def _later(line: Line) -> Line:
    """Rank lines lower that are later than the dispute: they have not caused it."""
    return replace(line, tier=line.tier + AFTER)


# ------------------------------------------------------------------------------- history


def _history(events: Sequence[Event], focus: Focus) -> Iterator[Line]:
    for event in events:
        at_us = event.time // 1000
        if event.process == NEMESIS:
            if event.f == "phase":
                yield Line(at_us, 4, FAULTS, wording.clean(f"— {event.value} —"))
            elif event.type == "info" and wording.struck(event):
                yield Line(at_us, 0, FAULTS, wording.clean(wording.fault(event)))
        else:
            tier = 5
            if event.index in focus.events or command_of(event) in focus.commands:
                tier = 0
            elif event.key in focus.keys:
                tier = 4
            sources = () if event.node is None else (event.node,)
            text = wording.clean(wording.operation(event))
            yield Line(at_us, tier, CLIENTS, text, sources)


# ------------------------------------------------------------------------------- nodes


def _nodes(run: RecordedRun, focus: Focus) -> Iterator[Line]:
    noted = {(note.at_us, note.node) for note in run.notes}
    for note in run.notes:
        if note.event == "crash":
            last = str(note.about.get("traceback", "")).strip().rsplit("\n", 1)[-1]
            text = wording.clean(f"dies of {last}")
            yield Line(note.at_us, 0, NODES, text, (note.node,))
            continue
        about = ", ".join(f"{k} {_ballot_or(k, v)}" for k, v in note.about.items())
        text = wording.clean(f"{note.event} ({about})" if about else note.event)
        yield Line(
            note.at_us, 2 if focus.has_ballot(_as_ballots(note)) else 3, NODES, text, (note.node,)
        )
    role: dict[int, str] = {}
    for event in run.processes:
        if event.event == "start" and event.at_us:
            yield Line(event.at_us, 2, NODES, "process started again", (event.node,))
        elif event.event == "role":
            now = str(event.about.get("role"))
            if role.get(event.node) != now and (event.at_us, event.node) not in noted:
                ballot = ".".join(map(str, event.about.get("ballot") or []))
                text = wording.clean(f"is {now} (ballot {ballot})")
                if event.at_us:
                    yield Line(event.at_us, 3, NODES, text, (event.node,))
            role[event.node] = now


def _as_ballots(note: NodeEvent) -> dict[str, Any]:
    return {k: _ballot_or(k, v) for k, v in note.about.items()}


def _ballot_or(name: str, part: Any) -> str:
    if isinstance(part, list) and part and all(type(p) is int for p in part) and len(part) == 2:
        return f"{part[0]}.{part[1]}"
    return wording.value(part)


def _merged_notes(lines: Iterator[Line]) -> list[Line]:
    """Equal notes of several nodes at the same time, as one line."""
    found: dict[tuple[int, str, int], Line] = {}
    for line in lines:
        key = (line.at_us, line.words, line.tier)
        known = found.get(key)
        sources = line.sources if known is None else tuple(sorted({*known.sources, *line.sources}))
        found[key] = replace(line, sources=sources)
    return [
        replace(line, words=f"{wording.nodes(line.sources)}: {line.words}")
        for line in found.values()
    ]


# ------------------------------------------------------------------------------- messages


def _messages(run: RecordedRun, focus: Focus, omitted: Counter[str]) -> Iterator[Line]:
    messages = run.messages or ()
    often = Counter(sent.kind for sent in messages)
    for group in _broadcasts(messages):
        sent = group[0]
        tier = _tier(sent, focus, often[sent.kind] > RARE * len(run.nodes))
        if any((one.target, one.arrives_us) in focus.crashes for one in group):
            tier = 1  # its receiver crashed on it
        if tier is None:
            omitted[sent.kind] += len(group)
        else:
            yield _message_line(group, tier, focus)


def _tier(sent: SentMessage, focus: Focus, is_often: bool) -> int | None:
    if focus.touches(sent.fields):
        return 1
    carries = any(wording.is_command(leaf) for _, leaf in leaves("", sent.fields))
    if not is_often:
        return 2 if focus.has_ballot(sent.fields) and not carries else 3
    return 6 if carries else None


def _broadcasts(messages: Sequence[SentMessage]) -> Iterator[list[SentMessage]]:
    """Equal messages that one step sent to several nodes, as one group."""
    for _, step in itertools.groupby(messages, key=lambda sent: (sent.sent_us, sent.source)):
        groups: dict[str, list[SentMessage]] = {}
        for sent in step:
            words = repr((sent.kind, sent.fields))
            if sent.target in [other.target for other in groups.get(words, ())]:
                yield groups.pop(words)  # the same again, such as a duplicate
            groups.setdefault(words, []).append(sent)
        yield from groups.values()


def _message_line(group: list[SentMessage], tier: int, focus: Focus) -> Line:
    sent = group[0]
    departs_us = sent.sent_us if sent.departs_us is None else sent.departs_us
    arrived = [s for s in group if s.arrives_us is not None]
    failed = [s for s in group if s.arrives_us is None]
    return Line(
        departs_us,
        tier,
        MESSAGES,
        wording.clean(wording.message(sent.kind, sent.fields, focus.touches)),
        (sent.source,),
        tuple(s.target for s in arrived),
        tuple(s.target for s in failed),
        tuple((s.arrives_us or 0) - departs_us for s in arrived),
        tuple((s.target, s.reason or "lost") for s in failed),
        held_us=departs_us - sent.sent_us,
        essence=essence(sent.fields),
    )


def _merged(lines: list[Line], restless_us: list[int]) -> list[Line]:
    """Equal answers of several nodes to one, at about the same time, as one line; not across a
    start, crash or pause of a process."""
    found: list[Line] = []
    open_lines: dict[tuple[str, tuple[int, ...], int], int] = {}
    for line in sorted(lines, key=lambda one: one.at_us):
        key = (line.words, line.targets, line.tier)
        index = open_lines.get(key)
        first = found[index] if index is not None else None
        if (
            first is None
            or index is None
            or line.lost
            or first.lost
            or len(line.targets) != 1
            or line.sources[0] in first.sources
            or line.at_us - first.at_us > MERGE_US
            or any(first.at_us <= at_us <= line.at_us for at_us in restless_us)
        ):
            open_lines[key] = len(found)
            found.append(line)
            continue
        sources = (*first.sources, *line.sources)
        delays_us = (*first.delays_us, *line.delays_us)
        held_us = max(first.held_us, line.held_us)
        found[index] = replace(first, sources=sources, delays_us=delays_us, held_us=held_us)
    return found


def _folded(lines: list[Line], starts: Sequence[NodeEvent]) -> list[Line]:
    """A message that a node repeats to the same nodes, with the same fate, is one line with a
    count; the last time is shown too. Not across a restart: repeating a message then is
    significant."""
    repeated: dict[Any, list[Line]] = {}
    lives = {node: [e.at_us for e in starts if e.node == node] for node in {e.node for e in starts}}
    for line in lines:
        life = tuple(bisect(lives.get(node, []), line.at_us) for node in sorted(line.sources))
        kind = line.words.split("(", 1)[0]
        said = (tuple(sorted(line.sources)), life, kind, line.essence)
        fate = (tuple(sorted(line.targets)), line.reasons)
        repeated.setdefault((said, fate), []).append(line)
    found: list[Line] = []
    for same in repeated.values():
        if len(same) < FOLD_MIN:
            found += same
        else:
            found.append(replace(same[0], repeats=len(same) - 1, until_us=same[-2].at_us))
            found.append(same[-1])
    return found
