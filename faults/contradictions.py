"""Whether two faults of a schedule exclude each other: a process is in one state at a time.

Effects on links, and on clocks except strobes, add up and are no contradiction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from faults.description import LEADER, Fault
from faults.generators import PROCESS
from faults.kinds import KINDS
from faults.kinds.strobe import Strobe


def contradictions(faults: Sequence[Fault]) -> Iterator[str]:
    """Why two of them cannot both be active, in words, for each such pair."""
    for a, b in _overlapping([fault for fault in faults if _excludes_others(fault)]):
        if said := contradiction(a, b):
            yield said


def contradiction(a: Fault, b: Fault) -> str | None:
    """Why these two cannot both be active, in words; None if they can."""
    groups = {KINDS[fault.kind].generator.group for fault in (a, b)}
    both_strobe = isinstance(a, Strobe) and isinstance(b, Strobe)
    if groups != {PROCESS} and not both_strobe:
        return None
    if not {n for n in a.nodes if n != LEADER}.intersection(b.nodes):
        return None
    for one, other in itertools.product(a.steps(), b.steps()):
        shared = [n for n in one.nodes if n in other.nodes and n != LEADER]
        if shared and one.start_us < other.end_us and other.start_us < one.end_us:
            return (
                f"{a.describe()} ({a.id}, at {one.start_us / 1e6:g} s) and {b.describe()} ({b.id}, "
                f"at {other.start_us / 1e6:g} s) overlap on n{shared[0]}: a node can be in one of "
                "these states at a time"
            )
    return None


def _excludes_others(fault: Fault) -> bool:
    return KINDS[fault.kind].generator.group == PROCESS or isinstance(fault, Strobe)


def _overlapping(faults: Sequence[Fault]) -> Iterator[tuple[Fault, Fault]]:
    """The pairs of faults that are there at one moment: only these can contradict each other, and
    of many short ones there are few."""
    active: list[Fault] = []
    for fault in sorted(faults, key=lambda one: one.start_us):
        active = [one for one in active if _end_us(one) > fault.start_us]
        yield from ((one, fault) for one in active)
        active.append(fault)


def _end_us(fault: Fault) -> int:
    return max(step.end_us for step in (fault, *fault.steps()))
