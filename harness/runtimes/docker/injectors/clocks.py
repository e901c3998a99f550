"""Clocks: jumps, rates and strobes of wall clocks, jumps and rates of monotonic ones.

What faults do to one node's clocks adds up, and the agent is always told the sum. Evidence comes
from three sides: what the memory of each process says, what a copy of the code that stands there
answers when it is run, and what the node says itself, where its target tells the time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from faults.kinds.clock import ClockJump
from faults.kinds.drift import Drift
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.strobe import Strobe
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.interface import FaultReport

TOLERANCE_NS: Final = 5_000_000
"""Clocks are read one after the other, on a machine that may be busy."""
OWN_TOLERANCE_NS: Final = 50_000_000
"""A node's own clock is read through a request; half of the time that it took comes on top."""
RATE_TOLERANCE: Final = 0.02
"""Of the time for which the rate has been wrong: the probes take some of it."""
STROBE_READINGS: Final = 40
RATE_ONE: Final = 2**32


@dataclass
class NodeClocks:
    """What the active faults do to one node. `base_ns`: what earlier rates have gained, of the wall
    clock and of the monotonic one; `rate_since_ns`: since when the present rate holds."""

    jumps: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    strobes: dict[str, Strobe] = field(default_factory=dict)
    monotonic_ns: int = 0
    wall_base_ns: int = 0
    monotonic_base_ns: int = 0
    rate_since_ns: int = 0

    @property
    def ppm(self) -> int:
        return sum(self.rates.values())

    def gained_ns(self, at_ns: int) -> int:
        """What the present rate has gained until `at_ns` on CLOCK_MONOTONIC."""
        return (at_ns - self.rate_since_ns) * self.ppm // 1_000_000

    def wall_ns(self, at_ns: int) -> int:
        return sum(self.jumps.values()) + self.wall_base_ns + self.gained_ns(at_ns)

    def ahead_ns(self, at_ns: int) -> int:
        """The same of the monotonic clock."""
        return self.monotonic_ns + self.monotonic_base_ns + self.gained_ns(at_ns)

    def settle(self, at_ns: int) -> None:
        """From `at_ns` on there is another rate."""
        gained_ns = self.gained_ns(at_ns)
        self.wall_base_ns += gained_ns
        self.monotonic_base_ns += gained_ns
        self.rate_since_ns = at_ns


class Clocks:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._clocks = {node: NodeClocks() for node in cluster.pods}

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            ClockJump: Handler(
                lambda f: each(f, lambda n: self._jump(f, n)),
                lambda f: each(f, lambda n: self._end(f.id, n)),
                "clock",
            ),
            Drift: Handler(
                lambda f: each(f, lambda n: self._drift(f, n)),
                lambda f: each(f, lambda n: self._end(f.id, n)),
                "clock",
            ),
            Strobe: Handler(
                lambda f: each(f, lambda n: self._strobe(f, n)),
                lambda f: each(f, lambda n: self._end(f.id, n)),
                "clock",
            ),
            MonotonicJump: Handler(
                lambda f: each(f, lambda n: self._advance(f, n)),
                lambda f: each(f, lambda n: self._end(f.id, n)),
                "clock",
            ),
        }

    async def _jump(self, fault: ClockJump, node: int) -> FaultReport:
        async with self._cluster.locks[node]:
            self._clocks[node].jumps[fault.id] = fault.offset_us * 1000
            return await self._set(node)

    async def _drift(self, fault: Drift, node: int) -> FaultReport:
        async with self._cluster.locks[node]:
            rates = self._clocks[node].rates
            return await self._set(node, rates={**rates, fault.id: fault.ppm})

    async def _strobe(self, fault: Strobe, node: int) -> FaultReport:
        async with self._cluster.locks[node]:
            self._clocks[node].strobes[fault.id] = fault
            return await self._set(node)

    async def _advance(self, fault: MonotonicJump, node: int) -> FaultReport:
        async with self._cluster.locks[node]:
            self._clocks[node].monotonic_ns += fault.offset_us * 1000
            return await self._set(node)

    async def _end(self, identity: str, node: int) -> FaultReport:
        """What a rate has gained stays, and so does what a monotonic clock has."""
        async with self._cluster.locks[node]:
            clocks = self._clocks[node]
            clocks.jumps.pop(identity, None)
            clocks.strobes.pop(identity, None)
            return await self._set(
                node, rates={i: ppm for i, ppm in clocks.rates.items() if i != identity}
            )

    async def _set(self, node: int, rates: dict[str, int] | None = None) -> FaultReport:
        """Tell the agent what the node's clocks should be, and look whether they are."""
        cluster, clocks = self._cluster, self._clocks[node]
        strobe = next(iter(clocks.strobes.values()), None)
        wanted_rates = clocks.rates if rates is None else rates
        ppm = sum(wanted_rates.values())
        strobing: dict[str, Any] = {}
        if strobe is not None:
            strobing["strobe_ns"] = strobe.offset_us * 1000
            strobing["strobe_period_ms"] = strobe.period_us / 1000
        answer = await cluster.agents[node].call(
            "clock",
            offset_ns=sum(clocks.jumps.values()),
            drift_ppm=ppm,
            monotonic_offset_ns=clocks.monotonic_ns,
            monotonic_drift_ppm=ppm,
            keep_gained=True,
            **strobing,
        )
        clocks.settle(answer["began_ns"])
        clocks.rates = dict(wanted_rates)
        verified, evidence = await self._look(node, strobe)
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=verified,
            evidence=evidence,
            problem=None if verified else f"n{node}'s clocks are not as they should be: {evidence}",
        )

    # ------------------------------------------------------------------ evidence

    async def _look(self, node: int, strobe: Strobe | None) -> tuple[bool, dict[str, Any]]:
        if strobe is not None:
            return await self._look_at_strobe(node, strobe)
        clocks = self._clocks[node]
        probe = await self._cluster.agents[node].call("probe_clock")
        at_ns = probe["done_ns"]
        wall_ns, ahead_ns = clocks.wall_ns(at_ns), clocks.ahead_ns(at_ns)
        slack_ns = TOLERANCE_NS + int(abs(clocks.gained_ns(at_ns)) * RATE_TOLERANCE)
        right = all(
            abs(p["offset_ns"] - wall_ns) <= slack_ns
            and abs(p["monotonic_ns"] - ahead_ns) <= slack_ns
            and _has_rate(p, clocks.ppm)
            and _demonstrates(p, slack_ns)
            for p in probe["processes"]
        )
        evidence: dict[str, Any] = {
            "wanted_offset_ns": wall_ns,
            "patched_offset_ns": [p["offset_ns"] for p in probe["processes"]],
        }
        if ahead_ns or clocks.ppm:
            evidence["wanted_monotonic_ns"] = ahead_ns
            evidence["patched_monotonic_ns"] = [p["monotonic_ns"] for p in probe["processes"]]
        if clocks.ppm:
            evidence["ppm"] = clocks.ppm
        own = await self._cluster.ask_clock(node)
        if own is not None:
            now_ns = time.monotonic_ns()
            evidence["node_says_offset_ns"] = own.wall_ns
            own_slack_ns = OWN_TOLERANCE_NS + own.uncertainty_ns
            right = right and abs(own.wall_ns - clocks.wall_ns(now_ns)) <= own_slack_ns
            if ahead_ns or clocks.ppm:
                evidence["node_says_monotonic_ns"] = own.monotonic_ns
                right = right and abs(own.monotonic_ns - clocks.ahead_ns(now_ns)) <= own_slack_ns
        return right, evidence

    async def _look_at_strobe(self, node: int, strobe: Strobe) -> tuple[bool, dict[str, Any]]:
        """Within some periods the clock is seen both off and right."""
        seen: set[bool] = set()
        jumps = 0
        for _ in range(STROBE_READINGS):
            probe = await self._cluster.agents[node].call("probe_clock")
            resting_ns = self._clocks[node].wall_ns(probe["done_ns"])
            off_ns = strobe.offset_us * 1000
            seen |= {abs(p["offset_ns"] - resting_ns) > abs(off_ns) / 2 for p in probe["processes"]}
            jumps = probe["strobe_jumps"]
            if len(seen) == 2 or not probe["processes"]:
                break
            await asyncio.sleep(strobe.period_us / 1e6 / 7)
        evidence = {"seen_off": True in seen, "seen_right": False in seen, "jumps": jumps}
        return len(seen) == 2 or not seen, evidence


def _has_rate(process: dict[str, Any], ppm: int) -> bool:
    rate = round(ppm * RATE_ONE / 1e6)
    return bool(process["rate"] == rate and process["monotonic_rate"] == rate)


def _demonstrates(process: dict[str, Any], slack_ns: int) -> bool:
    """Does the code that stands in the process, when run, say what its data says?"""
    for said, ran in (
        ("offset_ns", "demonstrated_ns"),
        ("monotonic_ns", "demonstrated_monotonic_ns"),
    ):
        shown = process.get(ran)
        if shown is not None and abs(shown - process[said]) > slack_ns:
            return False
    return not process["patched"] or bool(process["code_is_ours"])
