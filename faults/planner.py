"""Draws a schedule from a seed: a random mix of overlapping faults, always the same for a seed.

The time is divided into as many slots as there are to be faults, one every two to four seconds
(the seed draws the density); each fault gets a slot, begins somewhere in it, and may last beyond
it, so that faults overlap, as they do in real outages. The seed also draws the weights of the
kinds. A fault that does not fit where it is tried is drawn again, shorter and finally anywhere.

Guaranteed for any seed:

- every fault ends before the schedule does, with some time for the cluster to recover;
- two faults of the same group (kills and pauses, clocks, ...) never overlap on one node;
- a fault aimed at the leader, which is not known yet, is alone in its group while it lasts;
- no more than a minority is down or paused at once, unless a fault may take all (`allow_all`);
- at most two partitions at once: the links cut are their union;
- every requested kind occurs at least once, where the time allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from faults.description import LEADER, BadFault, Fault
from faults.generators import (
    MS,
    PARTITION,
    PROCESS,
    SECOND,
    Constraints,
    Draw,
    Generator,
    constraints_for,
)
from faults.kinds import KINDS
from faults.schedule import Schedule, schedule_from_json
from faults.shapes import DRAWN_SHAPES, SHAPES

__all__ = ["Schedule", "plan", "schedule_from_json"]

GAP_US: Final = (2 * SECOND, 4 * SECOND)
CALM_US_MAX: Final = SECOND
"""The time without faults at the start and the end: a tenth of the whole, at most this."""
RECOVERY_US_MAX: Final = 500 * MS
"""The time for a restarted node to be up; until then no other fault of the group affects it. In a
short run a tenth of the time, so that there is time for more than one fault."""
STRENGTH_MAX: Final = 1_000
PLANNED_MAX: Final = 5_000
TRIES: Final = 60
TRIES_IN_SLOT: Final = 10
PARTITIONS_MAX: Final = 2
SHORTEST_US: Final = 20 * MS


def plan(
    kinds: Sequence[str] | Mapping[str, int],
    seed: int,
    duration_us: int,
    nodes: Sequence[int],
    *,
    allow_all: bool = False,
    every_kind: bool = True,
    gap_us: int | None = None,
    shapes: Sequence[str] = DRAWN_SHAPES,
    messages: Sequence[str] = (),
    runtime: str = "sim",
) -> Schedule:
    """The schedule that this seed draws for `duration_us` of chaos among `nodes`.

    kinds: names; or names with weights (0: not at all). allow_all: kills and pauses may take the
    whole cluster. every_kind: False lets the seed leave out some kinds, so that the others occur
    alone. gap_us: mean time from one fault to the next; drawn if None. messages: the names of the
    protocol's message classes, for faults that may be aimed at one of them. runtime: where the
    faults are to be injected. Raises BadFault for an unknown kind, and for one that this cluster
    cannot have.
    """
    strengths = _checked(kinds, duration_us, nodes, shapes, gap_us)
    draw = Draw(seed, "mix")
    constraints = constraints_for(
        nodes, shapes, allow_all=allow_all, messages=messages, runtime=runtime
    )
    wanted = _mix(draw, strengths, duration_us, gap_us, every_kind)
    calm_us = min(CALM_US_MAX, duration_us // 10)
    usable_us = duration_us - 2 * calm_us
    if usable_us < SHORTEST_US:
        wanted = []
    order = draw.some(range(len(wanted)), len(wanted))  # the slot of each
    streams = {kind: Draw(seed, kind) for kind in strengths}
    placed: list[Fault] = []
    for kind, slot in zip(wanted, order, strict=True):
        width_us = max(1, usable_us // len(wanted))
        window = (calm_us + slot * width_us, width_us)
        fault = _place(
            streams[kind], kind, constraints, window, (calm_us, calm_us + usable_us), placed
        )
        if fault is not None:
            placed.append(fault)
    placed.sort(key=lambda f: f.start_us)
    return Schedule(
        faults=tuple(_with_id(fault, number) for number, fault in enumerate(placed, 1)),
        duration_us=duration_us,
        seed=seed,
        nodes=tuple(nodes),
    )


def _checked(
    kinds: Sequence[str] | Mapping[str, int],
    duration_us: int,
    nodes: Sequence[int],
    shapes: Sequence[str],
    gap_us: int | None,
) -> dict[str, int]:
    """The weight of each kind; raises BadFault for what cannot be planned."""
    strengths = dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds, 1)
    for kind, strength in strengths.items():
        if kind not in KINDS:
            raise BadFault(f"no fault kind {kind!r}; choose one of {', '.join(KINDS)}")
        if not 0 <= strength <= STRENGTH_MAX:
            raise BadFault(f"the weight of {kind} is {strength}; give 0 to {STRENGTH_MAX}")
    if duration_us <= 0:
        raise BadFault(f"faults need more than {duration_us} us")
    if gap_us is not None and gap_us <= 0:
        raise BadFault(f"the gap between faults is {gap_us} us; give more than 0")
    if not nodes or len(set(nodes)) != len(nodes):
        raise BadFault(f"faults need nodes, each named once, not {list(nodes)}")
    for shape in shapes:
        if shape not in SHAPES:
            raise BadFault(f"no partition shape {shape!r}; choose one of {', '.join(SHAPES)}")
    wanted = {kind: strength for kind, strength in strengths.items() if strength}
    of_shapes = [kind for kind in wanted if KINDS[kind].generator.draws_shape]
    if of_shapes and not constraints_for(nodes, shapes).shapes:
        named = ", ".join(shapes) or "(none)"
        raise BadFault(
            f"a cluster of {len(nodes)} has no partition of the shapes {named}, and "
            f"{of_shapes[0]} needs one: leave it out, or choose other shapes or more nodes"
        )
    return wanted


def _mix(
    draw: Draw,
    strengths: Mapping[str, int],
    duration_us: int,
    gap_us: int | None,
    every_kind: bool,
) -> list[str]:
    """The kinds to place; first those that must occur, once each."""
    if not strengths:
        return []
    mean_us = gap_us or draw.between(*GAP_US)
    chosen = [k for k in strengths if every_kind or draw.chance(60)] or [draw.pick(list(strengths))]
    weights = {k: strengths[k] * KINDS[k].generator.weight * draw.between(1, 4) for k in chosen}
    count = max(len(chosen), duration_us // mean_us)
    if count > PLANNED_MAX:
        raise BadFault(
            f"a fault every {mean_us / 1e6:g} s for {duration_us / 1e6:g} s would be {count}, and "
            f"at most {PLANNED_MAX} are drawn: give a longer gap between faults"
        )
    more = [draw.weighted(weights) for _ in range(count - len(chosen))]
    return draw.some(chosen, len(chosen)) + more


def _place(
    draw: Draw,
    kind: str,
    constraints: Constraints,
    slot: tuple[int, int],
    bounds: tuple[int, int],
    placed: Sequence[Fault],
) -> Fault | None:
    """A fault of this kind that is compatible with those placed; None if none fits."""
    first_us, end_us = bounds
    generator = KINDS[kind].generator
    for attempt in range(TRIES):
        start_us = slot[0] + draw.between(0, slot[1] - 1)
        if attempt >= TRIES_IN_SLOT:
            start_us = draw.between(first_us, max(first_us, end_us - SHORTEST_US))
        fields = generator.draw(draw, constraints) | {
            "id": "new",
            "start_us": start_us,
            "duration_us": _length(draw, generator, end_us - start_us, end_us - first_us, attempt),
        }
        fault = KINDS[kind].fault(**fields)
        recovery_us = min(RECOVERY_US_MAX, (end_us - first_us) // 10)
        if fault.duration_us >= SHORTEST_US and _fits(fault, constraints, placed, recovery_us):
            return fault
    return None


def _length(draw: Draw, generator: Generator, left_us: int, usable_us: int, attempt: int) -> int:
    """The duration: in a short run, and after failed attempts, shorter than the generator's."""
    longest_us = min(generator.longest_us, usable_us // 3) >> attempt // TRIES_IN_SLOT
    longest_us = max(longest_us, SHORTEST_US)
    shortest_us = min(generator.shortest_us, longest_us)
    return min(draw.between(shortest_us, longest_us), left_us)


def _fits(
    fault: Fault, constraints: Constraints, placed: Sequence[Fault], recovery_us: int
) -> bool:
    group = KINDS[fault.kind].generator.group
    margin_us = recovery_us if group == PROCESS else 0
    start_us, end_us = fault.start_us - margin_us, fault.end_us + margin_us
    beside = [
        other
        for other in placed
        if other.start_us <= end_us
        and start_us <= other.start_us + other.duration_us
        and KINDS[other.kind].generator.group == group
    ]
    if group == PARTITION:
        return len(beside) < PARTITIONS_MAX
    if beside and any(_is_open(f) for f in (fault, *beside)):
        return False
    taken = [node for other in beside for node in other.nodes]
    if any(node in taken for node in fault.nodes):
        return False
    down = sum(other.down_at_once for other in beside) + fault.down_at_once
    return (
        group != PROCESS or down <= constraints.down_max or (constraints.allow_all and not beside)
    )


def _is_open(fault: Fault) -> bool:
    """Whether it is not known yet which node it affects."""
    return not fault.nodes or LEADER in fault.nodes


def _with_id(fault: Fault, number: int) -> Fault:
    changed: dict[str, Any] = {"id": f"f{number:03d}-{fault.kind}"}
    return replace(fault, **changed)
