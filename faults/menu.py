"""What the planner chooses from: for every kind, how long it lasts, and what it draws.

Numbers are drawn where protocols are sensitive: pauses and cuts on both sides of an election
time-out (some hundred milliseconds), clocks from just beyond a lease's tolerance to a leap of an
hour. A kind is one entry of `MENU`; a new kind needs no other change to be planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias

from faults.description import LEADER, SHAPES, Node

MS: Final = 1_000
SECOND: Final = 1_000_000
LEADER_PERCENT: Final = 45
"""How often a fault that singles out one node takes the leader, which is where it hurts."""


class Draw:
    """A named stream of randomness: only `randrange`, so the same on every version of Python."""

    def __init__(self, seed: int, name: str) -> None:
        self._random = Random(f"{seed}:faults:{name}")

    def between(self, least: int, most: int) -> int:
        """Both included."""
        return self._random.randrange(least, most + 1)

    def chance(self, percent: int) -> bool:
        return self._random.randrange(100) < percent

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self._random.randrange(len(choices))]

    def some(self, choices: Sequence[Any], count: int) -> list[Any]:
        """`count` different ones, in a random order."""
        left = list(choices)
        return [left.pop(self._random.randrange(len(left))) for _ in range(count)]

    def weighted(self, weights: Mapping[str, int]) -> str:
        """A name, as often as its weight says. The order of the mapping counts."""
        names = [name for name, weight in weights.items() for _ in range(weight)]
        return str(self.pick(names))


@dataclass(frozen=True)
class Table:
    """Whom a fault may strike. `down_max`: so many nodes may be dead or paused at once.

    `messages` are the names of the protocol's message classes, for faults aimed at one of them;
    without any, weather strikes all messages and an ambush waits for an answer to a client.
    """

    nodes: tuple[int, ...]
    shapes: tuple[str, ...]
    down_max: int
    allow_all: bool
    messages: tuple[str, ...] = ()


Fields: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Dish:
    """One kind. `group`: two of a group are never on one node at the same time.

    `weight` is how often it is chosen beside the others, before the seed's own mix.
    """

    group: str
    shortest_us: int
    longest_us: int
    weight: int
    draw: Callable[[Draw, Table], Fields]


def usable_shapes(shapes: Sequence[str], size: int) -> tuple[str, ...]:
    """The shapes that cut something in a cluster of this size."""
    least = {"bridge": 3, "majorities-ring": 4}
    return tuple(s for s in shapes if size >= least.get(s, 2))


def _one(draw: Draw, table: Table) -> tuple[Node, ...]:
    return (LEADER,) if draw.chance(LEADER_PERCENT) else (draw.pick(table.nodes),)


def _stricken(draw: Draw, table: Table) -> tuple[Node, ...]:
    """The nodes that a kill or a pause takes down."""
    if table.allow_all and draw.chance(20):
        return table.nodes
    if table.down_max > 1 and draw.chance(25):
        return tuple(sorted(draw.some(table.nodes, draw.between(2, table.down_max))))
    return _one(draw, table)


def _struck(draw: Draw, table: Table) -> Fields:
    return {"nodes": _stricken(draw, table)}


def _partition(draw: Draw, table: Table) -> Fields:
    shape = draw.pick(table.shapes)
    nodes: tuple[Node, ...] = _one(draw, table)
    if shape == "majorities-ring":
        nodes = tuple(draw.some(table.nodes, len(table.nodes)))
    elif shape == "halves":
        others = draw.some(table.nodes, draw.between(1, len(table.nodes) // 2) - 1)
        first = [n for n in nodes if n not in others] or draw.some(
            [n for n in table.nodes if n not in others], 1
        )
        nodes = (*first, *others)
    return {"shape": shape, "nodes": nodes}


def _clock(draw: Draw, table: Table) -> Fields:
    least, most = draw.pick(
        [
            (20 * MS, 200 * MS),
            (200 * MS, 2 * SECOND),
            (2 * SECOND, 60 * SECOND),
            (3600 * SECOND,) * 2,
        ]
    )
    offset_us = draw.between(least, most) * draw.pick([-1, 1])
    return {"nodes": _one(draw, table), "offset_us": offset_us}


def _drift(draw: Draw, table: Table) -> Fields:
    ppm = draw.pick([1_000, 10_000, 100_000, 400_000]) * draw.pick([-1, 1])
    return {"nodes": _one(draw, table), "ppm": ppm}


def _power(draw: Draw, table: Table) -> Fields:
    """A machine fails alone; a room without power fails as one, which is what tells a protocol
    that waits for its disk from one that does not."""
    if table.allow_all and draw.chance(60):
        return {"nodes": table.nodes}
    return _struck(draw, table)


def _weather(draw: Draw, table: Table) -> Fields:
    aimed = bool(table.messages) and draw.chance(35)
    return {
        "nodes": table.nodes if draw.chance(30) else _one(draw, table),
        "direction": draw.pick(["both", "both", "in", "out"]),
        "message": draw.pick(table.messages) if aimed else "",
        "clients": not aimed and draw.chance(30),
    }


def _loss(draw: Draw, table: Table) -> Fields:
    return _weather(draw, table) | {"percent": draw.pick([2, 10, 30, 60])}


def _delay(draw: Draw, table: Table) -> Fields:
    delay_us = draw.pick([10, 50, 200, 500]) * MS
    return _weather(draw, table) | {"delay_us": delay_us, "jitter_us": draw.between(0, delay_us)}


def _duplicate(draw: Draw, table: Table) -> Fields:
    spread_us = draw.pick([1, 50, 1000]) * MS
    return _weather(draw, table) | {"percent": draw.pick([5, 30, 80]), "spread_us": spread_us}


def _reorder(draw: Draw, table: Table) -> Fields:
    window_us = draw.pick([5, 50, 500]) * MS
    return _weather(draw, table) | {"percent": draw.pick([5, 30, 80]), "window_us": window_us}


def _slow_disk(draw: Draw, table: Table) -> Fields:
    nodes = table.nodes if draw.chance(30) else _one(draw, table)
    return {"nodes": nodes, "fsync_us": draw.pick([10, 50, 200, 1000]) * MS}


def _aimed(draw: Draw, table: Table) -> Fields:
    """Mostly at any node: whichever comes first to the moment is the one that is busy."""
    sends = bool(table.messages) and draw.chance(75)
    return {
        "nodes": draw.pick([(), (), (LEADER,)]),
        "moment": "after-send" if sends else "before-reply",
        "message": draw.pick(table.messages) if sends else "",
        "action": draw.pick([*["kill"] * 4, "power", "isolate", "isolate", "pause"]),
        "count": draw.pick([1, 1, 2, 3, draw.between(1, 20)]),
        "hold_us": draw.pick([0, 0, 50, 50, 150, 400]) * MS,
    }


PROCESS: Final = "process"
PARTITION: Final = "partition"

MENU: Final[dict[str, Dish]] = {
    "partition": Dish(PARTITION, 500 * MS, 6 * SECOND, 4, _partition),
    "kill": Dish(PROCESS, 300 * MS, 4 * SECOND, 4, _struck),
    "pause": Dish(PROCESS, 200 * MS, 4 * SECOND, 3, _struck),
    "clock": Dish("clock", 500 * MS, 8 * SECOND, 3, _clock),
    "loss": Dish("loss", 500 * MS, 6 * SECOND, 3, _loss),
    "delay": Dish("delay", 500 * MS, 6 * SECOND, 3, _delay),
    "duplicate": Dish("duplicate", 500 * MS, 6 * SECOND, 3, _duplicate),
    "reorder": Dish("reorder", 500 * MS, 6 * SECOND, 3, _reorder),
    "power": Dish(PROCESS, 300 * MS, 4 * SECOND, 3, _power),
    "slow-disk": Dish("disk", 500 * MS, 6 * SECOND, 2, _slow_disk),
    "drift": Dish("clock", 1 * SECOND, 8 * SECOND, 2, _drift),
    "aimed": Dish(PROCESS, 500 * MS, 3 * SECOND, 3, _aimed),
}


def table_for(
    nodes: Sequence[int],
    shapes: Sequence[str] = SHAPES,
    *,
    allow_all: bool = False,
    messages: Sequence[str] = (),
) -> Table:
    """A minority may be down at once; of one or two nodes, one."""
    size = len(nodes)
    down_max = max(1, (size - 1) // 2)
    usable = usable_shapes(shapes, size)
    return Table(tuple(nodes), usable, down_max, allow_all, tuple(messages))
