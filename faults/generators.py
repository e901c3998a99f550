"""How a fault of some kind is drawn at random: streams, constraints, and generators.

A kind has one `Generator`, in its file in `faults/kinds`. Parameters are drawn from ranges to which
protocols are sensitive: pauses and cuts shorter and longer than an election timeout (some hundred
milliseconds), clock offsets from just beyond a lease's tolerance to an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias

from faults.description import LEADER, Node
from faults.shapes import DRAWN_SHAPES, usable_shapes

MS: Final = 1_000
SECOND: Final = 1_000_000
LEADER_PERCENT: Final = 45
"""How often a fault of a single node is aimed at the leader, where it has the most effect."""

PROCESS: Final = "process"
PARTITION: Final = "partition"
DISK: Final = "disk"


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
        """A name, with a probability proportional to its weight. The mapping's order matters."""
        names = [name for name, weight in weights.items() for _ in range(weight)]
        return str(self.pick(names))


@dataclass(frozen=True)
class Constraints:
    """Which nodes a fault may affect. `down_max`: how many may be dead or paused at once.

    `messages` are the names of the protocol's message classes, for faults aimed at one of them;
    without any, link faults affect all messages and an aimed fault waits for an answer to a client.
    `runtime`: where the fault is to be injected.
    """

    nodes: tuple[int, ...]
    shapes: tuple[str, ...]
    down_max: int
    allow_all: bool
    messages: tuple[str, ...] = ()
    runtime: str = "sim"


Fields: TypeAlias = dict[str, Any]
"""The fields of a fault, without its id and times."""


@dataclass(frozen=True)
class Generator:
    """How one kind is drawn. `group`: two of a group are never on one node at the same time.

    `weight` is how often it is chosen relative to the others, before the seed's own mix.
    `draws_shape`: it draws one of the constraints' shapes, so it needs a cluster that has one.
    """

    group: str
    shortest_us: int
    longest_us: int
    weight: int
    draw: Callable[[Draw, Constraints], Fields]
    draws_shape: bool = False


def constraints_for(
    nodes: Sequence[int],
    shapes: Sequence[str] = DRAWN_SHAPES,
    *,
    allow_all: bool = False,
    messages: Sequence[str] = (),
    runtime: str = "sim",
) -> Constraints:
    """A minority may be down at once; of one or two nodes, one."""
    size = len(nodes)
    down_max = max(1, (size - 1) // 2)
    usable = usable_shapes(shapes, size)
    return Constraints(tuple(nodes), usable, down_max, allow_all, tuple(messages), runtime)


def one_node(draw: Draw, constraints: Constraints) -> tuple[Node, ...]:
    """The leader, or any node."""
    return (LEADER,) if draw.chance(LEADER_PERCENT) else (draw.pick(constraints.nodes),)


def nodes_to_stop(draw: Draw, constraints: Constraints) -> Fields:
    """The nodes that a kill or a pause takes down."""
    return {"nodes": _nodes_to_stop(draw, constraints)}


def _nodes_to_stop(draw: Draw, constraints: Constraints) -> tuple[Node, ...]:
    nodes, down_max = constraints.nodes, constraints.down_max
    if constraints.allow_all and draw.chance(20):
        return nodes
    if down_max > 1 and draw.chance(25):
        return tuple(sorted(draw.some(nodes, draw.between(2, down_max))))
    return one_node(draw, constraints)


def one_or_few_nodes(draw: Draw, constraints: Constraints) -> tuple[Node, ...]:
    """For faults that may end a node: no more than a minority, unless a fault may affect all."""
    return _nodes_to_stop(draw, constraints)


def a_lasting_minority(draw: Draw, constraints: Constraints) -> tuple[Node, ...]:
    """For faults that may never be healed: always among the same nodes of one schedule, which are a
    minority. (The first nodes: learners are the last, and a learner has no votes to lose.)"""
    return (draw.pick(constraints.nodes[: constraints.down_max]),)
