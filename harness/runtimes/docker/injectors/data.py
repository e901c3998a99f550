"""Data: a node starts with empty data."""

from __future__ import annotations

import asyncio

from faults.kinds.amnesia import Amnesia
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.volumes import erase_data
from harness.runtimes.interface import FaultReport


class Data:
    def __init__(self, cluster: Cluster, processes: Processes) -> None:
        self._cluster = cluster
        self._processes = processes

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            Amnesia: Handler(
                lambda f: each(f, lambda n: self._erase(f.id, n)),
                lambda f: each(f, lambda n: self._processes.release(f.id, n)),
                "processes",
            ),
        }

    async def _erase(self, identity: str, node: int) -> FaultReport:
        cluster = self._cluster
        report = await self._processes.take_down(identity, node, "kill")
        if not report.verified:
            return report
        async with cluster.locks[node]:  # a power cut meanwhile would restore what is not there
            erased, left = await asyncio.to_thread(erase_data, cluster.engine, cluster.pods[node])
            if cluster.engine.disk:
                await cluster.agents[node].call("disk_erased")
        report.evidence.update(files_erased=erased, files_left=left)
        if left:
            problem = f"{left} files of n{node} are left"
            return FaultReport(report.moments_ns, False, report.evidence, problem)
        return report
