"""Schedules written by hand, in TOML.

    duration = "30s"                # of the chaos; may be left out where the run sets it

    [[fault]]
    kind = "partition"              # any kind of `faults.kinds`
    shape = "isolate"               # the fields of that kind; times without their unit, as "50ms"
    nodes = "leader"                # or "n3", ["n1", "n2"], "all", "one", "half", "minority", ...
    at = "5s"                       # or a list; or every = "8s", from = "2s", until = "25s"
    for = "3s"

    [[fault]]
    kind = "delay"
    links = ["n1>n2"]               # directed links, in place of nodes
    delay = "50ms"
    at = "1s"
    for = "10s"

    [random]                        # in addition, faults drawn by the seed
    mix = { partition = 3, kill = 1 }
    every = "3s"

What the file leaves open (which node, which half) is drawn from the run's seed when the file is
read, so the recorded schedule is an ordinary one. Errors are reported with the line and the
choices.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.contradictions import contradiction, contradictions
from faults.description import LEADER, BadFault, Fault, Link, Node, written
from faults.generators import Draw
from faults.kinds import KINDS
from faults.kinds.aimed import Aimed
from faults.planner import plan
from faults.schedule import Schedule
from faults.schedule_text import BadSchedule, ScheduleText, field_type, short

__all__ = ["BadSchedule", "ScheduleContext", "parse_schedule", "read_schedule"]

TIME_FIELDS: Final = ("at", "for", "every", "from", "until", "times")
FAULTS_MAX: Final = 10_000
ID_MAX: Final = 100
FILE_BYTES_MAX: Final = 1 << 20
GROUPS: Final = ("leader", "all", "any", "one", "half", "minority", "majority")
"""Names for groups of nodes, besides n1, n2, ...; all but the first three are drawn by the seed."""


@dataclass(frozen=True, kw_only=True)
class ScheduleContext:
    """What the seed needs to know of a run in order to draw. `voters`: the nodes that random faults
    are for, and of which a minority or a majority is drawn; None: all. `messages`: the names of the
    protocol's message classes. `runtime`: where the faults are to be injected."""

    voters: tuple[int, ...] | None = None
    messages: tuple[str, ...] = ()
    runtime: str = "sim"


def read_schedule(
    path: Path,
    nodes: Sequence[int],
    seed: int,
    *,
    duration_us: int | None = None,
    context: ScheduleContext = ScheduleContext(),
) -> Schedule:
    """The schedule of a file, for a cluster of these nodes. `duration_us` is used where the file
    has none. Raises BadFault; OSError where the file cannot be read."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise BadSchedule(f"{path} is larger than {FILE_BYTES_MAX} bytes: it is not a schedule")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadSchedule(
            f"{path} is not a text file: byte {error.start + 1} is not UTF-8"
        ) from None
    return parse_schedule(
        text, nodes, seed, duration_us=duration_us, context=context, name=str(path)
    )


def parse_schedule(
    text: str,
    nodes: Sequence[int],
    seed: int,
    *,
    duration_us: int | None = None,
    context: ScheduleContext = ScheduleContext(),
    name: str = "the schedule",
) -> Schedule:
    """The same for a text."""
    return _Reader(ScheduleText(name, text), nodes, seed, context).read(duration_us)


class _Reader:
    """One file."""

    def __init__(
        self, text: ScheduleText, nodes: Sequence[int], seed: int, context: ScheduleContext
    ) -> None:
        self._text = text
        self._nodes = tuple(nodes)
        self._voters = context.voters or self._nodes
        self._context = context
        self._seed = seed

    def read(self, duration_us: int | None) -> Schedule:
        data = self._text.parsed()
        self._text.only(data, ("duration", "fault", "random"), "a schedule", 0)
        if "duration" in data:
            duration_us = self._text.time(data, "duration", 0)
        if duration_us is None:
            raise BadSchedule(f'{self._text.name}: say how long it lasts: duration = "30s"')
        entries = data.get("fault", [])
        if not isinstance(entries, list):
            raise self._text.wrong("write each fault as [[fault]]", 0, "fault")
        faults: list[Fault] = []
        for number, entry in enumerate(entries, 1):
            faults += self._faults(entry, number, duration_us)
            if len(faults) > FAULTS_MAX:
                raise BadSchedule(f"{self._text.name}: it has more than {FAULTS_MAX} faults")
        self._refuse_contradictions(faults)
        faults += self._random(data.get("random"), faults, duration_us)
        if not faults:
            drawn = "random" in data
            said = "none of the random faults fits into it" if drawn else "it has no fault"
            raise BadSchedule(f"{self._text.name}: {said}; write each one as [[fault]]")
        faults.sort(key=lambda fault: (fault.start_us, fault.id))
        return Schedule(
            faults=tuple(faults), duration_us=duration_us, seed=self._seed, nodes=self._nodes
        )

    # ------------------------------------------------------------------ one entry

    def _faults(self, entry: Any, number: int, duration_us: int) -> list[Fault]:
        """The faults of one [[fault]]: as many as there are times."""
        if not isinstance(entry, Mapping):
            raise self._text.wrong(f"fault is {written(entry)}, not a table", number, "fault")
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            said = f"no fault kind {written(kind)}; choose one of {', '.join(KINDS)}"
            raise self._text.wrong(said, number, "kind")
        draw = Draw(self._seed, f"file:{number}")
        fields = self._fields(entry, number, kind)
        identity = self._identity(entry, number, kind)
        found: list[Fault] = []
        for count, start_us in enumerate(self._starts(entry, number, duration_us), 1):
            times: dict[str, Any] = {
                "start_us": start_us,
                "duration_us": self._text.time(entry, "for", number),
            }
            end_us = start_us + times["duration_us"]
            if end_us > duration_us:
                said = (
                    f"this {kind} ends at {end_us / 1e6:g} s, and the schedule at "
                    f"{duration_us / 1e6:g} s"
                )
                raise self._text.wrong(said, number, "for")
            target = self._target(entry, number, draw)
            try:
                fault = KINDS[kind].fault(
                    id=identity if count == 1 else f"{identity}@{count}",
                    **times,
                    **target,
                    **fields,
                )
            except BadFault as error:
                raise self._text.wrong(str(error), number, "") from None
            found.append(fault)
        return found

    def _identity(self, entry: Mapping[str, Any], number: int, kind: str) -> str:
        if "id" not in entry:
            return f"{number:02d}-{kind}"
        name = str(self._text.typed(entry, "id", "str", number))
        if not name or len(name) > ID_MAX or not name.isprintable():
            said = f"id is {written(name)}; write 1 to {ID_MAX} printable characters"
            raise self._text.wrong(said, number, "id")
        return name

    def _fields(self, entry: Mapping[str, Any], number: int, kind: str) -> dict[str, Any]:
        """The fields that are the kind's own. A field `delay_us` is written `delay = "50ms"`."""
        own = _own_fields(kind)
        allowed = ("kind", "id", "nodes", *TIME_FIELDS, *own)
        has_links = _has_field(kind, "links") or _has_field(kind, "cut")
        self._text.only(
            entry, (*allowed, "links") if has_links else allowed, _a_fault(kind), number
        )
        fields: dict[str, Any] = {}
        for name, field in own.items():
            if name not in entry:
                if field.default is dataclasses.MISSING and not (
                    name == "shape" and "links" in entry
                ):
                    others = " or links" if name == "shape" and has_links else ""
                    said = f"{_a_fault(kind)} needs {name}{others}"
                    raise self._text.wrong(said, number, "kind")
                continue
            if field.name.endswith("_us"):
                value: Any = self._text.time(entry, name, number, signed=True)
            elif field.name == "release":
                value = self._release(entry, number)
            else:
                value = self._text.typed(entry, name, field_type(field), number)
            fields[field.name] = value
        return fields

    def _release(self, entry: Mapping[str, Any], number: int) -> tuple[Node, ...]:
        value = entry["release"]
        listed = value if isinstance(value, list) else [value]
        return tuple(self._node(node, number, "release") for node in listed)

    # ------------------------------------------------------------------ when

    def _starts(self, entry: Mapping[str, Any], number: int, duration_us: int) -> Sequence[int]:
        if ("at" in entry) == ("every" in entry):
            said = 'it has no time: give at = "5s", at = ["5s", "9s"], or every = "8s"'
            raise self._text.wrong(said, number, "at" if "at" in entry else "kind")
        if "at" in entry:
            if extra := [n for n in ("from", "until", "times") if n in entry]:
                raise self._text.wrong(
                    f"{extra[0]} may be given with every, not with at", number, extra[0]
                )
            at = entry["at"]
            times = at if isinstance(at, list) else [at]
            if not times:
                raise self._text.wrong("at is empty; give at least one time", number, "at")
            return [self._text.time({"at": one}, "at", number) for one in times]
        every_us = self._text.time(entry, "every", number)
        if every_us <= 0:
            raise self._text.wrong("every must be longer than 0", number, "every")
        from_us = self._text.time(entry, "from", number) if "from" in entry else 0
        until_us = self._text.time(entry, "until", number) if "until" in entry else duration_us
        times_max = entry.get("times")
        if times_max is not None and (type(times_max) is not int or times_max < 1):
            raise self._text.wrong(
                f"times is {written(times_max)}; give a number from 1", number, "times"
            )
        last_us = min(until_us, duration_us) - self._text.time(entry, "for", number)
        starts = range(from_us, last_us + 1, every_us)[:times_max]
        if not starts:
            raise self._text.wrong("there is no time for even one of these", number, "every")
        if len(starts) > FAULTS_MAX:
            said = f"{len(starts)} of these are more than {FAULTS_MAX}: repeat it less often"
            raise self._text.wrong(said, number, "every")
        return starts

    # ------------------------------------------------------------------ target

    def _target(self, entry: Mapping[str, Any], number: int, draw: Draw) -> dict[str, Any]:
        if "links" in entry:
            if "nodes" in entry:
                raise self._text.wrong("give nodes or links, not both", number, "links")
            if "shape" in entry:
                raise self._text.wrong("give a shape or links, not both", number, "links")
            links = self._links(entry["links"], number)
            if not links:
                raise self._text.wrong(
                    'links is empty; write links such as "n1>n2"', number, "links"
                )
            touched = tuple(dict.fromkeys(node for link in links for node in link))
            if entry["kind"] == "partition":
                return {"nodes": touched, "shape": "links", "cut": tuple(sorted(set(links)))}
            return {"nodes": touched, "links": links}
        if "nodes" not in entry:
            raise self._text.wrong(
                f"it has neither nodes nor links; {self._choices()}", number, "kind"
            )
        value = entry["nodes"]
        if value == "any" and entry["kind"] != Aimed.kind:
            said = "nodes may be any only for an aimed fault, which waits for an event"
            raise self._text.wrong(f"{said}; {self._choices()}", number, "nodes")
        if isinstance(value, str) and value in GROUPS:
            return {"nodes": self._group(value, draw)}
        listed = value if isinstance(value, list) else [value]
        if not listed:
            raise self._text.wrong(f"nodes is empty; {self._choices()}", number, "nodes")
        return {"nodes": tuple(dict.fromkeys(self._node(one, number) for one in listed))}

    def _group(self, name: str, draw: Draw) -> tuple[Node, ...]:
        fixed: dict[str, tuple[Node, ...]] = {"leader": (LEADER,), "all": self._nodes, "any": ()}
        if name in fixed:
            return fixed[name]
        nodes = self._voters if name in ("minority", "majority") else self._nodes
        size = len(nodes)
        counts = {
            "one": 1,
            "half": size // 2,
            "minority": (size - 1) // 2,
            "majority": size // 2 + 1,
        }
        return tuple(draw.some(nodes, max(1, counts[name])))

    def _node(self, value: Any, number: int, key: str = "nodes") -> Node:
        if value == LEADER:
            return LEADER
        text = str(value) if type(value) in (int, str) else ""
        found = re.fullmatch(r"n?([0-9]{1,9})", text)
        if found is None or int(found[1]) not in self._nodes:
            raise self._text.wrong(
                f"there is no node {written(value)}; {self._choices()}", number, key
            )
        return int(found[1])

    def _links(self, value: Any, number: int) -> tuple[Link, ...]:
        links = []
        for one in value if isinstance(value, list) else [value]:
            ends = one.split(">") if isinstance(one, str) else ()
            if len(ends) != 2:
                raise self._text.wrong(
                    f'{written(one)} is not a link; write "n1>n2"', number, "links"
                )
            source, target = (self._node(end.strip(), number, "links") for end in ends)
            if isinstance(source, str) or isinstance(target, str) or source == target:
                raise self._text.wrong(
                    f"{written(one)} is not a link between two nodes", number, "links"
                )
            links.append((source, target))
        return tuple(links)

    def _choices(self) -> str:
        names = ", ".join(f"n{node}" for node in self._nodes)
        return f"nodes may be {', '.join(GROUPS)}, {names}"

    # ------------------------------------------------------------------ the whole

    def _random(self, entry: Any, by_hand: Sequence[Fault], duration_us: int) -> list[Fault]:
        """The additional faults that the seed draws, without those that contradict written ones."""
        if entry is None:
            return []
        if not isinstance(entry, Mapping):
            raise self._text.wrong("write [random]", 0, "random")
        self._text.only(entry, ("mix", "every", "shapes", "allow_all"), "[random]", 0)
        mix = entry.get("mix")
        if not isinstance(mix, Mapping) or not all(type(v) is int for v in mix.values()):
            raise self._text.wrong("mix is a table such as { partition = 3, kill = 1 }", 0, "mix")
        if not any(mix.values()):
            raise self._text.wrong("mix has no kind with a weight above 0", 0, "mix")
        options: dict[str, Any] = {
            "messages": self._context.messages,
            "runtime": self._context.runtime,
        }
        if "allow_all" in entry:
            options["allow_all"] = self._text.typed(entry, "allow_all", "bool", 0)
        if "every" in entry:
            options["gap_us"] = self._text.time(entry, "every", 0)
        if "shapes" in entry:
            options["shapes"] = self._shapes(entry["shapes"])
        try:
            drawn = plan(mix, self._seed, duration_us, self._voters, **options).faults
        except BadFault as error:
            raise self._text.wrong(str(error), 0, "mix") from None
        return [f for f in drawn if not any(contradiction(f, other) for other in by_hand)]

    def _shapes(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(s, str) for s in value):
            said = f'shapes is {written(value)}; write a list of shapes, such as ["halves"]'
            raise self._text.wrong(said, 0, "shapes")
        return tuple(value)

    def _refuse_contradictions(self, faults: Sequence[Fault]) -> None:
        for said in contradictions(faults):
            raise BadSchedule(f"{self._text.name}: {short(said)}")
        times = Counter(fault.id for fault in faults)
        if twice := sorted(identity for identity in times if times[identity] > 1):
            raise BadSchedule(f"{self._text.name}: two faults have the id {short(repr(twice[0]))}")


def _a_fault(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} fault"


def _own_fields(kind: str) -> dict[str, dataclasses.Field[Any]]:
    """The fields that only this kind has, by their names in a file."""
    common = {field.name for field in dataclasses.fields(Fault)} | {"links", "cut"}
    return {
        field.name.removesuffix("_us"): field
        for field in dataclasses.fields(KINDS[kind].fault)
        if field.name not in common
    }


def _has_field(kind: str, name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(KINDS[kind].fault))
