"""Partition: links that drop everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import BadFault, Fault, Link, Node, node_name
from faults.generators import (
    MS,
    PARTITION,
    SECOND,
    Constraints,
    Draw,
    Fields,
    Generator,
    one_node,
)
from faults.kind import FaultKind
from faults.shapes import SHAPES, cut_for


@dataclass(frozen=True, kw_only=True)
class Partition(Fault):
    """Packets on the directed links in `cut` are dropped silently.

    `shape` is one of SHAPES; `nodes` are the nodes that the shape refers to (the smaller half,
    the isolated node, the bridge). `cut` is computed from them by `cut_for`, and recorded.
    """

    kind: ClassVar[str] = "partition"

    shape: str
    cut: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape not in SHAPES:
            raise BadFault(
                f"{self.id}: no partition shape {self.shape!r}; choose one of {', '.join(SHAPES)}"
            )

    def resolve(self, leader: int, cluster: Sequence[int]) -> Fault:
        nodes = self._named(leader)
        cut = self.cut or cut_for(self.shape, nodes, cluster)
        return dataclasses.replace(self, nodes=nodes, cut=cut)

    def lacks_effect(self, cluster: Sequence[int]) -> str | None:
        return None if self.cut else "it cuts no link"

    def beyond(self, core: Sequence[int]) -> Fault | None:
        cut = tuple((a, b) for a, b in self.cut if a not in core or b not in core)
        return dataclasses.replace(self, cut=cut) if cut else None

    def describe(self) -> str:
        if self.shape == "links":
            return f"partition {', '.join(f'n{a}>n{b}' for a, b in self.cut)}"
        names = ",".join(node_name(n) for n in self.nodes)
        return f"partition {self.shape} {names}".rstrip()


def links_cut(active: Iterable[Fault]) -> frozenset[Link]:
    """The directed links that some active partition drops: the expected state of the network."""
    return frozenset(link for f in active if isinstance(f, Partition) for link in f.cut)


def draw_partition(draw: Draw, constraints: Constraints) -> Fields:
    """A shape, and nodes that suit it."""
    shape = draw.pick(constraints.shapes)
    every = constraints.nodes
    nodes: tuple[Node, ...] = one_node(draw, constraints)
    if shape == "majorities-ring":
        nodes = tuple(draw.some(every, len(every)))
    elif shape == "halves":
        others = draw.some(every, draw.between(1, len(every) // 2) - 1)
        first = [n for n in nodes if n not in others] or draw.some(
            [n for n in every if n not in others], 1
        )
        nodes = (*first, *others)
    return {"shape": shape, "nodes": nodes}


KIND: Final = FaultKind(
    fault=Partition,
    summary="some nodes cannot reach some others",
    generator=Generator(PARTITION, 500 * MS, 6 * SECOND, 4, draw_partition, draws_shape=True),
    order=10,
    runtimes=("docker", "sim"),
    mix_weight=3,
)
