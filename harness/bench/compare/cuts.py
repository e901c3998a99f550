"""The faults of the comparison: nodes that are cut off or killed."""

from __future__ import annotations

from collections.abc import Sequence

from faults.kinds.kill import Kill
from faults.kinds.partition import Partition
from faults.shapes import cut_for


def cut_off(identity: str, nodes: Sequence[int], cluster: Sequence[int]) -> Partition:
    """Cut each of these nodes off from all others, but not from clients."""
    cut = {link for node in nodes for link in cut_for("isolate", (node,), cluster)}
    return Partition(
        id=identity,
        start_us=0,
        duration_us=0,
        nodes=tuple(nodes),
        shape="links",
        cut=tuple(sorted(cut)),
    )


def killed(identity: str, node: int) -> Kill:
    """Kill this node's process."""
    return Kill(id=identity, start_us=0, duration_us=0, nodes=(node,))
