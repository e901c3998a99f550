"""Resources: limits on processor and memory, set by the engine's update of the running container.

Evidence: the limit that the engine reports, and its effect in the kernel's accounting of the
container: periods that are counted under a quota, and no longer when it is gone; the limit of its
memory. A node that has ended under a memory limit must have ended for want of memory: the engine or
its exit code shows that the OOM killer ended it, or its own last words say so.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from faults.kinds.memory import MemoryPressure
from faults.kinds.slow_cpu import SlowCpu
from harness.errors import EngineError
from harness.runtimes.docker import limits
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.docker.injectors.ended_nodes import doubt_about_end
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.unexpected import LATE_S
from harness.runtimes.docker.wants import MEMORY
from harness.runtimes.interface import FaultReport

ACCOUNTED_TRIES: Final = 20
ACCOUNTED_EVERY_S: Final = limits.PERIOD_US / 1e6
PERIODS_AFTER: Final = 2
"""A period is counted when it ends."""
IDLE_TRIES: Final = 8
"""So long is waited for a node to run when its quota is gone."""
MEMORY_LEAST: Final = 6 << 20
"""The engine refuses less than 6 MiB."""
USAGE_TRIES: Final = 5
BELOW_USAGE: Final = "unable to set memory limit"
"""What runc says of a limit that is less than what is used."""
PAGE: Final = 1 << 16
T = TypeVar("T")


class Accounting(NamedTuple):
    """What the kernel has counted for a container: periods in which it wanted to run under a quota,
    and the processor time that it has used."""

    periods: int
    used_ns: int


class Resources:
    """`managed`: the containers are a run's, which starts one again that has ended."""

    def __init__(self, cluster: Cluster, processes: Processes, *, managed: bool = True) -> None:
        self._cluster = cluster
        self._processes = processes
        self._managed = managed
        self._quotas: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._limits: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._before: dict[int, limits.Limits] = {}
        """Those before the first fault: the container may have had some."""

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            SlowCpu: Handler(
                lambda f: each(f, lambda n: self._slow(f.id, n, f.percent)),
                lambda f: each(f, lambda n: self._slow(f.id, n, None)),
            ),
            MemoryPressure: Handler(
                lambda f: each(f, lambda n: self._press(f.id, n, f.spare_kib << 10)),
                lambda f: each(f, lambda n: self._relieve(f.id, n)),
            ),
        }

    # ------------------------------------------------------------------ processor

    async def _slow(self, identity: str, node: int, percent: int | None) -> FaultReport:
        """Of several limits on one node the smallest counts, also one that it had before; without
        any fault, what it had before."""
        async with self._cluster.locks[node]:
            active = self._quotas[node]
            active.pop(identity, None)
            if percent is not None:
                quota_us = limits.PERIOD_US * percent // 100
                active[identity] = max(limits.QUOTA_LEAST_US, quota_us)
            before = await self._limits_before(node)
            if not active:
                return await self._set_quota(node, *before.of_cpu())
            quotas = (*active.values(), before.quota_per_period_us)
            return await self._set_quota(node, min(filter(None, quotas)), limits.PERIOD_US)

    async def _set_quota(self, node: int, quota_us: int, period_us: int) -> FaultReport:
        """The node's lock must be held: of two changes at one time the earlier could win."""
        cluster = self._cluster
        before = await self._accounting(node)
        done_ns = await self._ask(limits.limit_cpu, node, quota_us, period_us)
        shown = await self._ask(limits.limits_of, node)
        counts: bool | None = None
        if not await self._stands_still(node):
            counts = await self._counts_periods(node, before if quota_us > 0 else None)
            if counts is False and await self._stands_still(node):  # it was just ending
                counts = None
        is_shown = max(shown.quota_us, 0) == max(quota_us, 0) and shown.period_us == period_us
        right = is_shown and counts in (None, quota_us > 0)
        evidence: dict[str, Any] = {"quota_us": shown.quota_us, "period_us": shown.period_us}
        if counts is not None:
            evidence["kernel_counts_periods"] = counts
        return FaultReport(
            {node: cluster.since_zero_ns(done_ns)},
            verified=right,
            evidence=evidence,
            problem=None
            if right
            else f"n{node}'s quota should be {quota_us} us in each {period_us} us: {evidence}",
        )

    async def _stands_still(self, node: int) -> bool:
        """Whether another fault has stopped the node, so that it needs no processor time."""
        cluster = self._cluster
        if cluster.pauses[node] or cluster.holds[node]:
            return True
        return bool(cluster.why_down(node)) and not (await self._ask(limits.state, node))["Running"]

    async def _accounting(self, node: int) -> Accounting:
        stats = (await self._ask(limits.stats, node)).get("cpu_stats", {})
        return Accounting(
            int(stats.get("throttling_data", {}).get("periods", 0)),
            int(stats.get("cpu_usage", {}).get("total_usage", 0)),
        )

    async def _counts_periods(self, node: int, before: Accounting | None) -> bool | None:
        """Whether the kernel counts periods. It counts those in which the node ran, and a node runs
        now and then. With `before`, from before there was a quota, one is waited for. Without it
        the quota is gone: none may be counted in two periods after the node has run; None where it
        did not run."""
        start, ran_at = before or await self._accounting(node), ACCOUNTED_TRIES
        for at in range(IDLE_TRIES if before is None else ACCOUNTED_TRIES):
            now = await self._accounting(node)
            if now.periods > start.periods:
                return True
            if now.used_ns > start.used_ns:
                ran_at = min(ran_at, at)
            if before is None and at >= ran_at + PERIODS_AFTER:
                return False
            await asyncio.sleep(ACCOUNTED_EVERY_S)
        return None if before is None else False

    # ------------------------------------------------------------------ memory

    async def _press(self, identity: str, node: int, spare: int) -> FaultReport:
        cluster = self._cluster
        async with cluster.locks[node]:
            explained = cluster.why_down(node)
            cluster.may_end(node, identity)
            used, report = await self._limit_above_usage(identity, node, spare)
            if used or explained or not report.verified:
                return report
            problem = f"n{node} used no memory: it had ended by itself before"
            return dataclasses.replace(report, verified=False, problem=problem)

    async def _limit_above_usage(
        self, identity: str, node: int, spare: int
    ) -> tuple[int, FaultReport]:
        """The bytes that were used, and the report. A node that meanwhile uses more than the limit
        is measured again: the kernel refuses limits below what is used."""
        for left in reversed(range(USAGE_TRIES)):
            used = await self._memory(node, "usage")
            self._limits[node][identity] = max(MEMORY_LEAST, used + spare)
            try:
                return used, await self._set_memory(node)
            except EngineError as error:
                if not left or BELOW_USAGE not in str(error):
                    raise
        raise AssertionError

    async def _relieve(self, identity: str, node: int) -> FaultReport:
        """Take the limit back, and start the node if the kernel has killed it."""
        cluster = self._cluster
        async with cluster.locks[node]:
            self._limits[node].pop(identity, None)
            report = await self._set_memory(node)
            state = await self._ask(limits.state, node)
            report.evidence["killed_for_memory"] = bool(state.get("OOMKilled"))
            if not state["Running"] and not self._managed:
                report = await self._start_killed(node, state, report)
            elif not state["Running"] and not cluster.holds[node]:
                problem = await doubt_about_end(cluster, node, state, MEMORY, identity)
                report.evidence["ended_with"] = state["ExitCode"]
                started = await self._processes.start(node)
                report.evidence["started_again"] = started.evidence
                if problem is not None:
                    report = dataclasses.replace(report, verified=False, problem=problem)
            cluster.may_end(node, identity, LATE_S)
            return report

    async def _start_killed(
        self, node: int, state: Mapping[str, Any], report: FaultReport
    ) -> FaultReport:
        """A container that others manage is started only if the kernel has killed it. Its process
        is not waited for: the agent sees those of the start at which it has joined it."""
        report.evidence["ended_with"] = code = state["ExitCode"]
        if not state.get("OOMKilled"):
            problem = (
                f"n{node} ended by itself (exit code {code}), not for want of memory; it is not "
                "started again"
            )
            return dataclasses.replace(report, verified=False, problem=problem)
        cluster = self._cluster
        await asyncio.to_thread(cluster.engine.start_node, cluster.pods[node])
        running = bool((await self._ask(limits.state, node))["Running"])
        report.evidence["started_again"] = {"running": running}
        if running:
            return report
        problem = f"n{node} was killed for want of memory, and ended again when it was started"
        return dataclasses.replace(report, verified=False, problem=problem)

    async def _set_memory(self, node: int) -> FaultReport:
        cluster = self._cluster
        before = await self._limits_before(node)
        shown_before = (await self._ask(limits.limits_of, node)).memory
        wanted, swap = before.of_memory()
        if active := self._limits[node]:
            wanted = swap = min(*active.values(), wanted)
        done_ns = await self._ask(limits.limit_memory, node, wanted, swap)
        shown = await self._ask(limits.limits_of, node)
        right = shown.memory == wanted and (
            bool(active) or shown.swap == (before.swap or shown.swap)
        )
        evidence: dict[str, Any] = {"limit": shown.memory, "with_swap": shown.swap}
        if (kernel := await self._kernel_limit(node)) is not None:
            evidence["kernel_limit"] = kernel
            # The kernel counts in whole pages, and shows the machine's size where there is none.
            lifted = wanted == limits.NO_LIMIT and kernel > min(shown_before, 1 << 32)
            right = right and (abs(kernel - wanted) <= PAGE or lifted)
        return FaultReport(
            {node: cluster.since_zero_ns(done_ns)},
            verified=right,
            evidence=evidence,
            problem=None if right else f"n{node}'s memory limit should be {wanted}: {evidence}",
        )

    async def _kernel_limit(self, node: int) -> int | None:
        """None for a container that does not run. One that is just ending has no limit any more,
        and the engine sees its end a little later."""
        for _ in range(ACCOUNTED_TRIES):
            if kernel := await self._memory(node, "limit"):
                return kernel
            if not (await self._ask(limits.state, node))["Running"]:
                return None
            await asyncio.sleep(ACCOUNTED_EVERY_S)
        return 0

    async def _memory(self, node: int, name: str) -> int:
        """`usage` or `limit`, in bytes; 0 for a container that does not run."""
        stats = await self._ask(limits.stats, node)
        return int(stats.get("memory_stats", {}).get(name, 0))

    async def _limits_before(self, node: int) -> limits.Limits:
        if node not in self._before:
            self._before[node] = await self._ask(limits.limits_of, node)
        return self._before[node]

    async def _ask(self, function: Callable[..., T], node: int, *arguments: Any) -> T:
        """One of the functions of `limits`, on the node's container, in a thread."""
        cluster = self._cluster
        container = cluster.pods[node].node_id
        return await asyncio.to_thread(function, cluster.engine.api, container, *arguments)
