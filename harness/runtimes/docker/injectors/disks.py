"""Disks: power cuts, slow, stalled and full disks, damaged files.

Only a run that asks for one of these kinds has the agent's file system between the nodes and their
volumes (`needs_disk`, `open_disk`); any other pays nothing.

Conditions of one node's disk add up: delays are summed, the smallest capacity counts, and the agent
gets all of them each time. Evidence comes from a program in the node's mount namespace that writes,
fsyncs and reads a file of its own (`faults.agent.disk.probe`): how long an fsync takes, that it
hangs, which error a write gets; and, across a power cut, that the fsynced half of a file is there
and the other half is not. What the cut took, as the agent reports it, is in the evidence, too.
Where there is no process of the node to start a probe from, another fault must explain that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
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
from harness.runtimes.docker.injectors.cluster import (
    Cluster,
    Handler,
    Handlers,
    all_of,
    combined,
)
from harness.runtimes.docker.injectors.ended_nodes import doubt_about_end
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.pods import BACKING
from harness.runtimes.docker.unexpected import LATE_S
from harness.runtimes.docker.wants import DISK_SPACE
from harness.runtimes.interface import FaultReport
from node_image.server.node import LOG_COPIES_VARIABLE

DISK_FAULTS: Final = (PowerCut, SlowDisk, DiskStall, DiskFull, DiskDamage)
AHEAD_NS: Final = 6_000_000
"""How far ahead a cut of several nodes' power is: longer than it takes to reach every agent."""
HANGS_S: Final = 0.3
"""An fsync that has not returned by then hangs."""
PROBE_S: Final = 15.0
ANSWER_S: Final = 120.0
"""How long an agent's answer may take in addition, for probes that have to start."""
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

    def is_set(self, answer: Mapping[str, Any]) -> bool:
        """Whether the agent says that the disk is so. The node may have written meanwhile."""
        if (answer["fsync_us"], answer["stalled"]) != (self.fsync_us, self.stalled):
            return False
        left, wanted = answer["left_bytes"], self.left_bytes
        return left is None if wanted is None else left is not None and 0 <= left <= wanted


@dataclass
class Conditions:
    """What the active faults do to one node's disk, by their ids."""

    delays_us: dict[str, int] = field(default_factory=dict)
    stalls: set[str] = field(default_factory=set)
    left_bytes: dict[str, int] = field(default_factory=dict)

    def drop(self, identity: str) -> None:
        """This fault does nothing any more."""
        self.delays_us.pop(identity, None)
        self.stalls.discard(identity)
        self.left_bytes.pop(identity, None)

    def wanted(self) -> Wanted:
        left_bytes = min(self.left_bytes.values(), default=None)
        return Wanted(sum(self.delays_us.values()), bool(self.stalls), left_bytes)


class Disks:
    def __init__(self, cluster: Cluster, processes: Processes) -> None:
        self._cluster = cluster
        self._processes = processes
        self._conditions = {node: Conditions() for node in cluster.pods}
        self._no_canary: dict[tuple[str, int], str] = {}
        """By the id of a power cut and node, why there is no file that shows what was lost."""

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
        async with AsyncExitStack() as stack:
            for node in nodes:  # in their order, so that two faults cannot wait for one another
                await stack.enter_async_context(self._cluster.locks[node])
            await all_of(self._leave_canary(fault.id, node) for node in nodes)
            at_ns = time.monotonic_ns() + AHEAD_NS
            cuts = [self._cut_one(fault.id, node, at_ns) for node in nodes]
            return combined(nodes, await all_of(cuts))

    async def _leave_canary(self, identity: str, node: int) -> None:
        wait_s = ANSWER_S + self._conditions[node].wanted().fsync_us / 1e6
        answer = await self._cluster.agents[node].call("leave_canary", timeout_s=wait_s)
        if answer["canary"] is None:
            self._no_canary[identity, node] = str(answer.get("why"))

    def _is_excuse(self, identity: str, node: int, why: str) -> bool:
        """Whether this was to be expected, so that no file could be left before a power cut."""
        wanted = self._conditions[node].wanted()
        return {
            "down": bool(self._cluster.why_down(node, but=identity)),
            "stalled": wanted.stalled,
            "full": wanted.left_bytes is not None,
        }.get(why, False)

    async def _cut_one(self, identity: str, node: int, at_ns: int) -> FaultReport:
        cluster = self._cluster
        cluster.holds[node].add(identity)
        seed = f"{cluster.engine.run_id}:{identity}:{node}"
        answer = await cluster.agents[node].call("power", seed=seed, at_ns=at_ns)
        gone = await asyncio.to_thread(cluster.engine.await_exit, cluster.pods[node])
        seen = {"lost": answer["lost"], "canary": answer["canary"]}
        report = self._processes.killed(identity, node, answer, gone=gone, **seen)
        why = self._no_canary.get((identity, node))
        if why is None:
            return report
        report.evidence["no_canary"] = why
        if self._is_excuse(identity, node, why):
            return report
        problem = report.problem or f"no file could be left on n{node}'s disk before the cut: {why}"
        return dataclasses.replace(report, verified=False, problem=problem)

    async def _power_back(self, identity: str, node: int) -> FaultReport:
        """The node starts, and a program beside it looks for what was left there before."""
        report = await self._processes.release(identity, node)
        why_none = self._no_canary.pop((identity, node), None)
        if not report.verified or "held_down_by" in report.evidence:
            return report
        async with self._cluster.locks[node]:
            look = await self._probe(node)
        report.evidence.update(look)
        canary = look.get("canary")
        if canary is None and why_none is not None:  # told when the power was cut
            return report
        cluster = self._cluster
        if not canary and not look.get("look") and await cluster.is_explained(node, True):
            # That it has is a finding of its own, which must not be lost in doubts about the cut.
            report.evidence["ended_with"] = (await self._state(node))["ExitCode"]
            return report
        if canary is None:
            problem = f"the file that was left on n{node}'s disk before the cut was not looked at"
        elif canary["error"] is None and canary["synced"] > 0 and canary["unsynced"] == 0:
            return report
        else:
            problem = f"n{node}'s power cut lost what was fsynced, or kept what was not: {canary}"
        return dataclasses.replace(report, verified=False, problem=problem)

    # ------------------------------------------------------------------ conditions

    async def _slow(self, fault: SlowDisk, node: int) -> FaultReport:
        return await self._set(node, lambda c: c.delays_us.update({fault.id: fault.fsync_us}))

    async def _stall(self, fault: DiskStall, node: int) -> FaultReport:
        return await self._set(node, lambda c: c.stalls.add(fault.id))

    async def _fill(self, fault: DiskFull, node: int) -> FaultReport:
        """The node may end because of it."""
        self._cluster.may_end(node, fault.id)
        self._cluster.full_disks[node].add(fault.id)
        left = {fault.id: fault.left_bytes}
        return await self._set(node, lambda c: c.left_bytes.update(left), but=fault.id)

    async def _lift(self, identity: str, node: int) -> FaultReport:
        """This fault is over; what others do to the disk stays."""
        return await self._set(node, lambda c: c.drop(identity))

    async def _make_room(self, identity: str, node: int) -> FaultReport:
        """And start the node, if it has exited because its disk was full."""
        report = await self._lift(identity, node)
        cluster = self._cluster
        cluster.full_disks[node].discard(identity)
        cluster.may_end(node, identity, LATE_S)
        async with cluster.locks[node]:
            state = await self._state(node)
            if not state["Running"] and not cluster.holds[node]:
                problem = await doubt_about_end(cluster, node, state, DISK_SPACE, identity)
                started = await self._processes.start(node)
                report.evidence["ended_with"] = state["ExitCode"]
                report.evidence["started_again"] = started.evidence | await self._probe(node)
                if problem is not None:
                    return dataclasses.replace(report, verified=False, problem=problem)
        return report

    async def _set(
        self, node: int, change: Callable[[Conditions], None], *, but: str = ""
    ) -> FaultReport:
        """Change the conditions, tell the agent, and look with a probe. Where no process of the
        node is left to look from, a fault other than `but` must explain that; then what the agent
        says must do."""
        cluster, agent = self._cluster, self._cluster.agents[node]
        async with cluster.locks[node]:  # so that the process that the probe runs from is not ended
            change(self._conditions[node])
            wanted = self._conditions[node].wanted()
            rounds = 1 if wanted.fsync_us > LONG_US else 3
            within_s = wanted.within_s()
            explained = bool(cluster.why_down(node, but=but))
            answer = await agent.call(
                "disk",
                **wanted._asdict(),
                rounds=rounds,
                within_s=within_s,
                timeout_s=within_s + ANSWER_S,
            )
        look = answer["look"]
        if look is None:
            right = await cluster.is_explained(node, explained)
        else:
            right = wanted.is_shown_by(look)
        right = right and wanted.is_set(answer)
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
        wait_s = within_s + ANSWER_S
        seen = await agent.call("probe_disk", rounds=1, within_s=within_s, timeout_s=wait_s)
        return {name: seen[name] for name in ("look", "canary") if name in seen}

    async def _state(self, node: int) -> dict[str, Any]:
        cluster = self._cluster
        pod = cluster.pods[node]
        return dict(await asyncio.to_thread(limits.state, cluster.engine.api, pod.node_id))

    # ------------------------------------------------------------------ damage

    async def _damage(self, fault: DiskDamage, node: int) -> FaultReport:
        """Evidence: digests of the file before and after, made of what the node would read."""
        cluster = self._cluster
        cluster.may_end(node, fault.id)  # it may refuse to start
        report = await self._processes.take_down(fault.id, node, "kill")
        if not report.verified:
            return report
        seed = f"{fault.seed}:{fault.id}:{node}"
        async with cluster.locks[node]:  # no other fault erases its files meanwhile
            answer = await cluster.agents[node].call(
                "damage", mode=fault.mode, path=fault.path, seed=seed
            )
        done = {k: v for k, v in answer.items() if k not in ("id", "ok", "done_ns")}
        before, after = answer["digest"]
        changed = before != after
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
