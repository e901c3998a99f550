"""Clocks: jumps, rates and strobes of wall clocks, jumps and rates of monotonic ones.

Faults on one node's clocks add up, and the agent always gets the sum. Evidence comes
from three sources: the memory of each process, the result of a copy of the patched code when it is
run, and the node's own report, where its target reports the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from faults.kinds.clock import ClockJump
from faults.kinds.drift import Drift
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.strobe import Strobe
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.interface import FaultReport

TOLERANCE_NS: Final = 5_000_000
"""The result of the code is compared with a clock that is read before and after it, on a machine
that may be busy."""
LEAST_NS: Final = 500
"""Half of the least offset that a fault can have. What is in a process's memory is exact, unless a
rate has gained something: then the two sides round differently."""
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

    @property
    def has_gained(self) -> bool:
        """Whether a rate has changed the clocks."""
        return bool(self.ppm or self.wall_base_ns or self.monotonic_base_ns)

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
        self._clocks: defaultdict[int, NodeClocks] = defaultdict(NodeClocks)

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
            rates = {i: ppm for i, ppm in clocks.rates.items() if i != identity}
            return await self._set(node, rates=rates, healing=True)

    async def _set(
        self, node: int, *, rates: dict[str, int] | None = None, healing: bool = False
    ) -> FaultReport:
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
        if evidence.get("no_process"):
            explained = healing or bool(cluster.why_down(node))  # what has ended has no clock
            verified = await cluster.is_explained(node, explained)
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
        found = probe["processes"]
        right = bool(found) and all(_is_right(p, clocks) for p in found)
        at_ns = probe["done_ns"]
        monotonic_too = bool(clocks.ahead_ns(at_ns) or clocks.ppm)
        evidence: dict[str, Any] = {
            "wanted_offset_ns": clocks.wall_ns(at_ns),
            "patched_offset_ns": [p["offset_ns"] for p in found],
        }
        if not found:
            evidence["no_process"] = True
        if without := [p["pid"] for p in found if not p.get("has_vdso", True)]:
            evidence["without_vdso"] = without
        if monotonic_too:
            evidence["wanted_monotonic_ns"] = clocks.ahead_ns(at_ns)
            evidence["patched_monotonic_ns"] = [p["monotonic_ns"] for p in found]
        if clocks.ppm:
            evidence["ppm"] = clocks.ppm
            if apart := [p["pid"] for p in found if p.get("own_time_namespace")]:
                evidence["own_time_namespace"] = apart
                right = False
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
        """Whether the clock of each process that is there is observed both wrong and right within
        some periods."""
        seen: dict[int, set[bool]] = {}
        evidence: dict[str, Any] = {}
        for _ in range(STROBE_READINGS):
            probe = await self._cluster.agents[node].call("probe_clock")
            resting_ns = self._clocks[node].wall_ns(probe["done_ns"])
            off_ns = abs(strobe.offset_us * 1000)
            for process in probe["processes"]:
                is_off = abs(process["offset_ns"] - resting_ns) > off_ns / 2
                seen.setdefault(process["pid"], set()).add(is_off)
            now = [seen[process["pid"]] for process in probe["processes"]]
            evidence = {
                "seen_off": bool(now) and all(True in one for one in now),
                "seen_right": bool(now) and all(False in one for one in now),
                "jumps": probe["strobe_jumps"],
            }
            if not now:
                return False, evidence | {"no_process": True}
            if evidence["seen_off"] and evidence["seen_right"]:
                return True, evidence
            await asyncio.sleep(strobe.period_us / 1e6 / 7)
        return False, evidence


def _is_right(process: dict[str, Any], clocks: NodeClocks) -> bool:
    """Whether a process's memory has the expected values, and the patched code applies them."""
    rate = round(clocks.ppm * RATE_ONE / 1e6)
    if (process["rate"], process["monotonic_rate"]) != (rate, rate):
        return False
    at_ns = process["at_ns"]
    wall_ns, ahead_ns = clocks.wall_ns(at_ns), clocks.ahead_ns(at_ns)
    if process["patched"]:
        if not process["code_is_ours"]:
            return False
    elif clocks.ppm or max(abs(wall_ns), abs(ahead_ns)) > LEAST_NS:
        return False
    run_at_ns = int(process.get("demonstrated_at_ns", at_ns))
    slack_ns = TOLERANCE_NS + PREEMPTED_NS * abs(clocks.ppm) // 1_000_000
    stored_slack_ns = slack_ns if clocks.has_gained else LEAST_NS
    return all(
        said is None or abs(said - wanted) <= slack
        for said, wanted, slack in (
            (process["offset_ns"], wall_ns, stored_slack_ns),
            (process["monotonic_ns"], ahead_ns, stored_slack_ns),
            (process.get("demonstrated_ns"), clocks.wall_ns(run_at_ns), slack_ns),
            (process.get("demonstrated_monotonic_ns"), clocks.ahead_ns(run_at_ns), slack_ns),
        )
    )
