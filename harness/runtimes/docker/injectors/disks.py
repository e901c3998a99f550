"""Disks: power cuts, slow, stalled and full disks, damaged files.

Only a run that asks for one of these kinds has the agent's file system between the nodes and their
volumes (`needs_disk`, `open_disk`); any other pays nothing.

Conditions of one node's disk add up: delays are summed, the smallest capacity counts, and the agent
gets all of them each time. Evidence comes from a program in the node's mount namespace that writes,
fsyncs and reads a file of its own (`faults.agent.disk.probe`): how long an fsync takes, that it
hangs, which error a write gets; and, across a power cut, that the fsynced half of a file is there
and the other half is not. What the cut took, as the agent reports it, is in the evidence, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from faults.kinds import KINDS
from faults.kinds.disk_damage import DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.power import PowerCut
from faults.kinds.slow_disk import SlowDisk
from harness.errors import HarnessError, UsageError
from harness.runtimes.docker import limits
from harness.runtimes.docker.agents import Agent, AgentError
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers, combined
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.pods import BACKING
from harness.runtimes.interface import FaultReport
from node_image.server.node import LOG_COPIES_VARIABLE

DISK_FAULTS: Final = (PowerCut, SlowDisk, DiskStall, DiskFull, DiskDamage)
AHEAD_NS: Final = 6_000_000
"""How far ahead a cut of several nodes' power is: longer than it takes to reach every agent."""
HANGS_S: Final = 0.3
"""An fsync that has not returned by then hangs."""
PROBE_S: Final = 5.0
LONG_US: Final = 100_000
"""Of fsyncs that take longer than that, the probe does one and not several."""


def needs_disk(kinds: Sequence[str]) -> bool:
    """Whether a run with these kinds of faults needs the agent between nodes and disks."""
    return any(KINDS[kind].fault in DISK_FAULTS for kind in kinds)


def node_environment(kinds: Sequence[str]) -> dict[str, str]:
    """Our own nodes keep two copies of their log where disks may be damaged; others do not mind."""
    return {LOG_COPIES_VARIABLE: "2"} if DiskDamage.kind in kinds else {}


async def open_disk(agent: Agent, data: str, exempt: Sequence[str]) -> None:
    """Put the agent between a node that has not started and its data. `exempt`: names of files in
    there that are evidence, which no fault must touch. Raises UsageError where the engine or its
    host do not allow it."""
    try:
        await agent.call("disk_open", path=data, backing=BACKING, exempt=list(exempt))
    except AgentError as error:
        raise UsageError(
            f"this engine cannot have disk faults: {error}",
            remedy=error.remedy or "run in the simulator: --on sim",
        ) from None


class Wanted(NamedTuple):
    """What one node's disk should be like, as it is sent to the agent."""

    fsync_us: int
    stalled: bool
    left_bytes: int | None

    def within_s(self) -> float:
        """How long a probe may take before its fsync counts as hanging."""
        return HANGS_S if self.stalled else PROBE_S + 3 * self.fsync_us / 1e6

    def is_shown_by(self, look: Mapping[str, Any]) -> bool:
        """Whether a probe saw all of it: an error where the disk is full, an fsync that hangs where
        it is stalled, and else one that takes as long as it should."""
        full = self.left_bytes is not None
        if self.stalled:
            return "after_ms" in look and look["error"] == ("ENOSPC" if full else "hangs")
        if "after_ms" in look or look["error"] != ("ENOSPC" if full else None):
            return False
        took_us = look["fsync_us"]
        return bool(took_us) and min(took_us) >= self.fsync_us


@dataclass
class Conditions:
    """What the active faults do to one node's disk, by their ids."""

    delays_us: dict[str, int] = field(default_factory=dict)
    stalls: set[str] = field(default_factory=set)
    left_bytes: dict[str, int] = field(default_factory=dict)

    def wanted(self) -> Wanted:
        left_bytes = min(self.left_bytes.values(), default=None)
        return Wanted(sum(self.delays_us.values()), bool(self.stalls), left_bytes)


class Disks:
    def __init__(self, cluster: Cluster, processes: Processes) -> None:
        self._cluster = cluster
        self._processes = processes
        self._conditions = {node: Conditions() for node in cluster.pods}

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            PowerCut: Handler(
                self._cut,
                lambda f: each(f, lambda n: self._power_back(f.id, n)),
                "disk",
            ),
            SlowDisk: Handler(
                lambda f: each(f, lambda n: self._slow(f, n)),
                lambda f: each(f, lambda n: self._lift(f.id, n)),
                "disk",
            ),
            DiskStall: Handler(
                lambda f: each(f, lambda n: self._stall(f, n)),
                lambda f: each(f, lambda n: self._lift(f.id, n)),
                "disk",
            ),
            DiskFull: Handler(
                lambda f: each(f, lambda n: self._fill(f, n)),
                lambda f: each(f, lambda n: self._make_room(f.id, n)),
                "disk",
            ),
            DiskDamage: Handler(
                lambda f: each(f, lambda n: self._damage(f, n)),
                lambda f: each(f, lambda n: self._start_damaged(f.id, n)),
                "disk",
            ),
        }

    # ------------------------------------------------------------------ power

    async def _cut(self, fault: PowerCut) -> FaultReport:
        """Of all nodes at one moment: first each leaves what shows, later, that it was one."""
        nodes = sorted(int(node) for node in fault.nodes)
        agents = self._cluster.agents
        async with AsyncExitStack() as stack:
            for node in nodes:  # in their order, so that two faults cannot wait for one another
                await stack.enter_async_context(self._cluster.locks[node])
            await asyncio.gather(*(agents[node].call("leave_canary") for node in nodes))
            at_ns = time.monotonic_ns() + AHEAD_NS
            cuts = [self._cut_one(fault.id, node, at_ns) for node in nodes]
            return combined(nodes, await asyncio.gather(*cuts))

    async def _cut_one(self, identity: str, node: int, at_ns: int) -> FaultReport:
        cluster = self._cluster
        cluster.holds[node].add(identity)
        seed = f"{cluster.engine.run_id}:{identity}:{node}"
        answer = await cluster.agents[node].call("power", seed=seed, at_ns=at_ns)
        gone = await asyncio.to_thread(cluster.engine.await_exit, cluster.pods[node])
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=gone,
            evidence={
                "killed": answer["pids"],
                "engine": "exited" if gone else "running",
                "lost": answer["lost"],
                "canary": answer["canary"],
            },
            problem=None if gone else f"the engine still shows n{node} as running",
        )

    async def _power_back(self, identity: str, node: int) -> FaultReport:
        """The node starts, and a program beside it looks for what was left there before."""
        report = await self._processes.release(identity, node)
        if not report.verified:
            return report
        async with self._cluster.locks[node]:
            look = await self._probe(node)
        report.evidence.update(look)
        canary = look.get("canary")
        if canary is None:
            return report
        right = canary["error"] is None and canary["synced"] > 0 and canary["unsynced"] == 0
        if right:
            return report
        problem = f"n{node}'s power cut lost what was fsynced, or kept what was not: {canary}"
        return FaultReport(report.moments_ns, False, report.evidence, problem)

    # ------------------------------------------------------------------ conditions

    async def _slow(self, fault: SlowDisk, node: int) -> FaultReport:
        self._conditions[node].delays_us[fault.id] = fault.fsync_us
        return await self._set(node)

    async def _stall(self, fault: DiskStall, node: int) -> FaultReport:
        self._conditions[node].stalls.add(fault.id)
        return await self._set(node)

    async def _fill(self, fault: DiskFull, node: int) -> FaultReport:
        self._conditions[node].left_bytes[fault.id] = fault.left_bytes
        return await self._set(node)

    async def _lift(self, identity: str, node: int) -> FaultReport:
        """This fault is over; what others do to the disk stays."""
        conditions = self._conditions[node]
        conditions.delays_us.pop(identity, None)
        conditions.stalls.discard(identity)
        conditions.left_bytes.pop(identity, None)
        return await self._set(node)

    async def _make_room(self, identity: str, node: int) -> FaultReport:
        """And start the node, if it has exited because its disk was full."""
        report = await self._lift(identity, node)
        cluster = self._cluster
        async with cluster.locks[node]:
            state = await self._state(node)
            if not state["Running"] and not cluster.holds[node]:
                started = await self._processes.start(node)
                report.evidence["ended_with"] = state["ExitCode"]
                report.evidence["started_again"] = started.evidence | await self._probe(node)
        return report

    async def _set(self, node: int) -> FaultReport:
        """Tell the agent, and look with a probe. Where no process of the node is left to look
        from, what the agent says must do."""
        cluster, agent = self._cluster, self._cluster.agents[node]
        async with cluster.locks[node]:  # so that the process that the probe runs from is not ended
            wanted = self._conditions[node].wanted()
            rounds = 1 if wanted.fsync_us > LONG_US else 3
            within_s = wanted.within_s()
            answer = await agent.call(
                "disk",
                **wanted._asdict(),
                rounds=rounds,
                within_s=within_s,
                timeout_s=within_s + 20,
            )
        look = answer["look"]
        right = look is None or wanted.is_shown_by(look)
        right = right and (answer["fsync_us"], answer["stalled"]) == wanted[:2]
        seen = {"look": look, "waiting": answer["waiting"]}
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=right,
            evidence=seen,
            problem=None
            if right
            else f"n{node}'s disk should be {wanted._asdict()}, and shows {seen}",
        )

    async def _probe(self, node: int) -> dict[str, Any]:
        """What a program beside the node sees; `look` is None where there is no node, as when
        another fault holds it down. The node's lock must be held."""
        agent = self._cluster.agents[node]
        within_s = self._conditions[node].wanted().within_s()
        seen = await agent.call("probe_disk", rounds=1, within_s=within_s, timeout_s=within_s + 20)
        return {name: seen[name] for name in ("look", "canary") if name in seen}

    async def _state(self, node: int) -> dict[str, Any]:
        cluster = self._cluster
        pod = cluster.pods[node]
        return dict(await asyncio.to_thread(limits.state, cluster.engine.api, pod.node_id))

    # ------------------------------------------------------------------ damage

    async def _damage(self, fault: DiskDamage, node: int) -> FaultReport:
        """Evidence: digests of the file before and after, made by reading it from the volume."""
        cluster = self._cluster
        report = await self._processes.take_down(fault.id, node, "kill")
        if not report.verified:
            return report
        answer = await cluster.agents[node].call(
            "damage", mode=fault.mode, path=fault.path, seed=f"{fault.seed}:{fault.id}:{node}"
        )
        done = {k: v for k, v in answer.items() if k not in ("id", "ok", "done_ns")}
        before, after = answer["digest"]
        changed = before != after or fault.mode == "read-error"
        return FaultReport(
            report.moments_ns,
            verified=changed,
            evidence=report.evidence | done,
            problem=None if changed else f"n{node}'s file {answer['file']} is what it was",
        )

    async def _start_damaged(self, identity: str, node: int) -> FaultReport:
        """The node starts, and may refuse to: that is a right answer to a damaged disk."""
        try:
            report = await self._processes.release(identity, node)
        except HarnessError:
            state = await self._state(node)
            if state["Running"]:
                raise
            return FaultReport({}, True, {"ended_with": state["ExitCode"]})
        return report
