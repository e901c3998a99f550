"""Clocks: offsets add up per node; the agent sets their sum, and the node itself is asked."""

from __future__ import annotations

from typing import Any, Final

from faults.kinds.clock import ClockJump
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.interface import FaultReport

CLOCK_TOLERANCE_NS: Final = 50_000_000
"""A node's own clock is read through a request; that takes time on a busy machine."""


class Clocks:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._offsets: dict[int, dict[str, int]] = {node: {} for node in cluster.pods}

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            ClockJump: Handler(
                lambda f: each(f, lambda n: self._jump(f.id, n, f.offset_us * 1000)),
                lambda f: each(f, lambda n: self._jump(f.id, n, 0)),
                "clock",
            ),
        }

    async def _jump(self, identity: str, node: int, offset_ns: int) -> FaultReport:
        cluster = self._cluster
        async with cluster.locks[node]:
            active = self._offsets[node]
            active.pop(identity, None)
            if offset_ns:
                active[identity] = offset_ns
            wanted = sum(active.values())
            answer = await cluster.agents[node].call("clock", offset_ns=wanted)
            probe = await cluster.agents[node].call("probe_clock")
            own = await cluster.ask_clock(node)
        off = [p["offset_ns"] for p in probe["processes"]]
        told_ok = own is None or abs(own - wanted) < CLOCK_TOLERANCE_NS
        right = all(o == wanted for o in off) and told_ok
        evidence: dict[str, Any] = {"patched_offset_ns": off, "wanted_offset_ns": wanted}
        if own is not None:
            evidence["node_says_offset_ns"] = own
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=right,
            evidence=evidence,
            problem=None if right else f"n{node}'s clock should be {wanted} ns off: {evidence}",
        )
