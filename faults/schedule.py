"""A schedule: every fault of a run, decided before the run, and recorded before the first begins.

Only the leader is left open: a fault aimed at LEADER is resolved when it begins. So a recorded
schedule replays a run without the planner that drew it, also after the planner has changed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from faults.description import BadFault, Fault
from faults.kinds import fault_from_json

FORMAT: Final = "antipaxos-schedule"
VERSION: Final = 1


class Edge(NamedTuple):
    """A point in time of a schedule: a fault begins, or is healed."""

    at_us: int
    begins: bool
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The faults of a run in the order in which they begin. `seed` drew them; None: written by
    hand.

    Times count from the beginning of the chaos phase, which lasts `duration_us`.
    """

    faults: tuple[Fault, ...]
    duration_us: int
    seed: int | None = None
    nodes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.duration_us <= 0:
            raise BadFault(f"a schedule lasts more than 0 us, not {self.duration_us}")
        times = Counter(fault.id for fault in self.faults)
        if twice := sorted(identity for identity in times if times[identity] > 1):
            raise BadFault(f"two faults have the id {twice[0]!r}; each needs its own")
        for fault in self.faults:
            if fault.end_us > self.duration_us:
                raise BadFault(
                    f"{fault.id} ends at {fault.end_us} us, and the schedule at "
                    f"{self.duration_us} us: a fault that is never healed cannot be verified"
                )

    def edges(self) -> list[Edge]:
        """All edges in order. At the same time, ends come before beginnings."""
        begins = [Edge(f.start_us, True, f) for f in self.faults]
        ends = [Edge(f.end_us, False, f) for f in self.faults]
        return sorted(begins + ends, key=lambda e: (e.at_us, e.begins, e.fault.id))

    def kinds(self) -> dict[str, int]:
        """How many faults there are of each kind."""
        names = sorted(fault.kind for fault in self.faults)
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "seed": self.seed,
            "duration_us": self.duration_us,
            "nodes": list(self.nodes),
            "faults": [fault.to_json() for fault in self.faults],
        }


def schedule_from_json(data: Any) -> Schedule:
    """The inverse of `Schedule.to_json`; faults may be in any order.

    Raises BadFault that names what is wrong, since the file may have been edited by hand.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BadFault(f'this is not a schedule: it lacks "format": "{FORMAT}"')
    if data.get("version") != VERSION:
        raise BadFault(
            f"this schedule has version {data.get('version')!r}, and this antipaxos reads version "
            f"{VERSION}: use the antipaxos that wrote it, or plan it again from its seed"
        )
    known = {"format", "version", "seed", "duration_us", "nodes", "faults"}
    if unknown := sorted(set(data) - known):
        raise BadFault(
            f"a schedule has no field {unknown[0]!r}; its fields are {', '.join(sorted(known))}"
        )
    entries = data.get("faults")
    if not isinstance(entries, list):
        raise BadFault("a schedule's faults must be a list")
    faults = tuple(_fault(number, entry) for number, entry in enumerate(entries, 1))
    return Schedule(
        faults=tuple(sorted(faults, key=lambda f: (f.start_us, f.id))),
        duration_us=_integer(data, "duration_us"),
        seed=None if data.get("seed") is None else _integer(data, "seed"),
        nodes=_nodes(data),
    )


def _fault(number: int, entry: Any) -> Fault:
    if not isinstance(entry, dict):
        raise BadFault(f"fault {number} of the schedule is {entry!r}, not an object")
    try:
        return fault_from_json(entry)
    except BadFault as error:
        raise BadFault(f"fault {number} of the schedule: {error}") from None


def _nodes(data: dict[str, Any]) -> tuple[int, ...]:
    nodes = data.get("nodes", [])
    if not isinstance(nodes, list) or not all(type(node) is int for node in nodes):
        raise BadFault("a schedule's nodes must be a list of integers")
    return tuple(nodes)


def _integer(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadFault(f"a schedule's {name} must be an integer, not {value!r}")
    return value
