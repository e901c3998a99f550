"""Clocks: jumps, rates and strobes of wall clocks, jumps and rates of monotonic ones.

Faults on one node's clocks add up, and the agent always gets the sum. Evidence comes
from three sources: the memory of each process, the result of a copy of the patched code when it is
run, and the node's own report, where its target reports the time.
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
"""Clocks are read in sequence, on a machine that may be busy."""
OWN_TOLERANCE_NS: Final = 50_000_000
"""A node's own clock is read by a request; half of its duration is added."""
PREEMPTED_NS: Final = 50_000_000
"""The maximum time between a reading and its time stamp; it matters at a wrong rate."""
LOOKS: Final = 3
"""Something else on the machine may spoil one."""
STROBE_READINGS: Final = 40
RATE_ONE: Final = 2**32


@dataclass
class NodeClocks:
    """The effect of the active faults on one node. `base_ns`: what earlier rates have gained, of
    the wall clock and of the monotonic one; `rate_since_ns`: since when the present rate holds."""

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
        """The offset gained by a rate remains, and so does that of a monotonic clock."""
        async with self._cluster.locks[node]:
            clocks = self._clocks[node]
            clocks.jumps.pop(identity, None)
            clocks.strobes.pop(identity, None)
            return await self._set(
                node, rates={i: ppm for i, ppm in clocks.rates.items() if i != identity}
            )

    async def _set(self, node: int, rates: dict[str, int] | None = None) -> FaultReport:
        """Set the node's clocks through the agent, and verify them."""
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
        for _ in range(LOOKS):
            right, evidence = await self._look_once(node)
            if right:
                break
        return right, evidence

    async def _look_once(self, node: int) -> tuple[bool, dict[str, Any]]:
        clocks = self._clocks[node]
        probe = await self._cluster.agents[node].call("probe_clock")
        right = all(_is_right(p, clocks) for p in probe["processes"])
        at_ns = probe["done_ns"]
        monotonic_too = bool(clocks.ahead_ns(at_ns) or clocks.ppm)
        evidence: dict[str, Any] = {
            "wanted_offset_ns": clocks.wall_ns(at_ns),
            "patched_offset_ns": [p["offset_ns"] for p in probe["processes"]],
        }
        if monotonic_too:
            evidence["wanted_monotonic_ns"] = clocks.ahead_ns(at_ns)
            evidence["patched_monotonic_ns"] = [p["monotonic_ns"] for p in probe["processes"]]
        if clocks.ppm:
            evidence["ppm"] = clocks.ppm
        own = await self._cluster.ask_clock(node)
        if own is not None:
            now_ns = time.monotonic_ns()
            evidence["node_says_offset_ns"] = own.wall_ns
            slack_ns = OWN_TOLERANCE_NS + own.uncertainty_ns
            right = right and abs(own.wall_ns - clocks.wall_ns(now_ns)) <= slack_ns
            if monotonic_too:
                evidence["node_says_monotonic_ns"] = own.monotonic_ns
                right = right and abs(own.monotonic_ns - clocks.ahead_ns(now_ns)) <= slack_ns
        return right, evidence

    async def _look_at_strobe(self, node: int, strobe: Strobe) -> tuple[bool, dict[str, Any]]:
        """Whether the clock is observed both wrong and right within some periods."""
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


def _is_right(process: dict[str, Any], clocks: NodeClocks) -> bool:
    """Whether a process's memory has the expected values, and the patched code applies them."""
    rate = round(clocks.ppm * RATE_ONE / 1e6)
    if (process["rate"], process["monotonic_rate"]) != (rate, rate):
        return False
    if process["patched"] and not process["code_is_ours"]:
        return False
    slack_ns = TOLERANCE_NS + PREEMPTED_NS * abs(clocks.ppm) // 1_000_000
    return all(
        said is None or abs(said - wanted) <= slack_ns
        for said, wanted in (
            (process["offset_ns"], clocks.wall_ns(process["at_ns"])),
            (process["monotonic_ns"], clocks.ahead_ns(process["at_ns"])),
            (process.get("demonstrated_ns"), clocks.wall_ns(_demonstrated_at(process))),
            (process.get("demonstrated_monotonic_ns"), clocks.ahead_ns(_demonstrated_at(process))),
        )
    )


def _demonstrated_at(process: dict[str, Any]) -> int:
    return int(process.get("demonstrated_at_ns", process["at_ns"]))
