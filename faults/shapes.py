"""Partition shapes: which directed links each of them drops.

This only computes the links; the fault kind is `faults/kinds/partition.py`. They are cut in
containers by `harness/runtimes/docker/injectors/network.py` through the agent
(`faults/agent/links.py`), and in the simulator by `harness/runtimes/sim/link_faults.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from faults.description import BadFault, Link

DRAWN_SHAPES: Final = (
    "halves",
    "isolate",
    "one-way-in",
    "one-way-out",
    "bridge",
    "majorities-ring",
)
"""What the planner draws from unless told otherwise; the order influences what a seed draws."""
NAMED_SHAPES: Final = (*DRAWN_SHAPES, "quorum-loss", "constrained", "chained", "hub")
"""What may be chosen by its name. The last four are the partial connectivity of OmniPaxos (EuroSys
2023, section 2)."""
SHAPES: Final = (*NAMED_SHAPES, "links")
"""All shapes. "links" is exactly the links that the fault names."""


def cut_for(shape: str, nodes: Sequence[int], cluster: Sequence[int]) -> tuple[Link, ...]:
    """The directed links that a shape drops, sorted.

    halves: `nodes` against the rest. isolate: the same with one node. one-way-in: nothing reaches
    `nodes` from the rest; one-way-out: nothing leaves them. bridge: the rest is halved, and only
    the bridge node `nodes[0]` sees both halves. majorities-ring: `nodes` is an order of the whole
    cluster on a ring; each sees its nearest neighbours, just enough for a majority with itself.

    In the shapes of partial connectivity `nodes[0]` is the leader, and `nodes[1]` the hub (if it is
    not named: the next node of the cluster). quorum-loss: only the links of the hub are left, so
    the leader is alive but only the hub sees a majority. constrained: the same, and the leader is
    cut off completely; first isolate the hub for a while to give it a stale log. chained: a line in
    which each sees its neighbours only, `nodes` first, then the others. hub: the leader sees only
    the hub, which sees all nodes.
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
    elif shape == "links":
        cut = set()
    elif shape in ("quorum-loss", "constrained", "chained", "hub"):
        cut = _all_links(cluster) - _partial_links(shape, [*nodes, *_others_after(nodes, cluster)])
    else:
        raise BadFault(f"no partition shape {shape!r}; choose one of {', '.join(SHAPES)}")
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
    return _all_links(ring) - kept


def _all_links(cluster: Sequence[int]) -> set[Link]:
    return {(a, b) for a in cluster for b in cluster if a != b}


def _others_after(nodes: Sequence[int], cluster: Sequence[int]) -> list[int]:
    """The rest of the cluster, beginning with the node after `nodes[0]`."""
    at = list(cluster).index(nodes[0]) if nodes else 0
    return [n for n in [*cluster[at:], *cluster[:at]] if n not in nodes]


def _partial_links(shape: str, line: Sequence[int]) -> set[Link]:
    """The links that are left in a shape of partial connectivity; `line` is the whole cluster, the
    leader first, the hub second."""
    if len(line) < 2:
        return set()
    leader, hub = line[0], line[1]
    if shape == "chained":
        pairs = list(itertools.pairwise(line))
    elif shape == "hub":
        pairs = [(a, b) for a in line[1:] for b in line[1:] if a < b] + [(leader, hub)]
    else:
        apart = (hub, leader) if shape == "constrained" else (hub,)
        pairs = [(hub, n) for n in line if n not in apart]
    return {(a, b) for a, b in pairs} | {(b, a) for a, b in pairs}


def usable_shapes(shapes: Sequence[str], size: int) -> tuple[str, ...]:
    """The shapes that cut something in a cluster of this size."""
    least = {"bridge": 3, "majorities-ring": 4, "chained": 3, "hub": 3}
    least |= {"quorum-loss": 4, "constrained": 4}
    return tuple(s for s in shapes if s != "links" and size >= least.get(s, 2))
