"""Partition shapes: which directed links each of them drops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from faults.description import BadFault, Link

SHAPES: Final = ("halves", "isolate", "one-way-in", "one-way-out", "bridge", "majorities-ring")
DRAWN_SHAPES: Final = SHAPES
"""What the planner draws from unless told otherwise; the order influences what a seed draws."""


def cut_for(shape: str, nodes: Sequence[int], cluster: Sequence[int]) -> tuple[Link, ...]:
    """The directed links that a shape drops, sorted.

    halves: `nodes` against the rest. isolate: the same with one node. one-way-in: nothing reaches
    `nodes` from the rest; one-way-out: nothing leaves them. bridge: the rest is halved, and only
    the bridge node `nodes[0]` sees both halves. majorities-ring: `nodes` is an order of the whole
    cluster on a ring; each sees its nearest neighbours, just enough for a majority with itself.
    """
    inside, outside = set(nodes), [n for n in cluster if n not in set(nodes)]
    if shape in ("halves", "isolate"):
        cut = {(a, b) for a in inside for b in outside} | {(b, a) for a in inside for b in outside}
    elif shape == "one-way-in":
        cut = {(b, a) for a in inside for b in outside}
    elif shape == "one-way-out":
        cut = {(a, b) for a in inside for b in outside}
    elif shape == "bridge":
        half = len(outside) // 2
        left, right = outside[:half], outside[half:]
        cut = {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
    elif shape == "majorities-ring":
        cut = _ring_cut(nodes)
    else:
        raise BadFault(f"no partition shape {shape!r}; there are {SHAPES}")
    return tuple(sorted(cut))


def _ring_cut(ring: Sequence[int]) -> set[Link]:
    """Each node keeps just enough others for a majority with itself: those nearest on the ring, in
    both directions; where their number is odd, also the opposite one. On a ring of 4k+3 nodes that
    has no opposite, it keeps one more. Up to three nodes, nothing is cut; from four on, no two
    nodes see the same majority.
    """
    size = len(ring)
    others, odd = divmod(size // 2, 2)
    steps = set(range(1, others + 1))
    if odd:
        steps.add(size // 2 if size % 2 == 0 else others + 1)
    kept = {
        (ring[i], ring[(i + way * step) % size])
        for i in range(size)
        for step in steps
        for way in (1, -1)
    }
    return {(a, b) for a in ring for b in ring if a != b} - kept


def usable_shapes(shapes: Sequence[str], size: int) -> tuple[str, ...]:
    """The shapes that cut something in a cluster of this size."""
    least = {"bridge": 3, "majorities-ring": 4}
    return tuple(s for s in shapes if size >= least.get(s, 2))
