"""A cluster in containers for use by a program: it starts nodes, and injects faults.

    with Cluster("etcd", nodes=3) as cluster:
        host, port = cluster.address(1)
        with cluster.fault("partition", shape="isolate", nodes=(1,)) as report:
            ...                                  # n1 is cut off, and report has the evidence

Everything is removed when the block ends, also by an exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from faults.description import Fault
from faults.kinds import fault_from_json
from harness.errors import HarnessError, UsageError
from harness.run.config import RunConfig
from harness.run.record import new_run_id
from harness.runtimes.docker.runtime import DockerRuntime
from harness.runtimes.interface import FaultReport
from harness.targets.interface import NodeStatus


class FaultNotProven(HarnessError):
    """A fault did not take effect, or did not end; `report` has the evidence."""

    def __init__(self, what: str, report: FaultReport) -> None:
        super().__init__(f"{what}: {report.problem or 'its probes disagree'}")
        self.report = report


class Cluster:
    """Nodes of a target, started by `with`. `options` are those of a run: nodes, settings, seed,
    mutant, transport. Raises UsageError for invalid options, EngineError or StartError."""

    def __init__(self, target: str, **options: Any) -> None:
        self.config = RunConfig.of(target=target, on="docker", **options)
        self._runtime = DockerRuntime(self.config, new_run_id())
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        try:
            self._runtime.open()
        except BaseException:
            self._runtime.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.close()

    @property
    def nodes(self) -> tuple[int, ...]:
        return self.config.cluster.node_ids()

    def address(self, node: int) -> tuple[str, int]:
        """The address for clients of this node: (host, port)."""
        return self._runtime.client_host, self._runtime.client_port(node)

    def status(self, node: int) -> NodeStatus | None:
        """The node's status; None if it does not answer."""
        return self._runtime.status(node)

    def leader(self) -> int | None:
        """The node that reports to be the leader; of several, the one with the highest term."""
        found = [status for node in self.nodes if (status := self.status(node)) is not None]
        leaders = [(status.term, status.node) for status in found if status.role == "leader"]
        return max(leaders)[1] if leaders else None

    def try_fault(self, fault: Fault) -> tuple[FaultReport, FaultReport]:
        """Inject a resolved fault and heal it at once; returns the reports of both."""
        injected = self._runtime.inject_now(fault)
        return injected, self._runtime.heal_now(fault)

    @contextmanager
    def fault(self, kind: str, *, nodes: tuple[int, ...], **fields: Any) -> Iterator[FaultReport]:
        """Inject a fault for the duration of the block. `fields` are those of its kind, see
        docs/faults.md. Raises UsageError for one that would change nothing, and FaultNotProven if
        it did not take effect or did not end."""
        identity = f"f{next(self._numbers)}"
        times = {"start_us": 0, "duration_us": 0}
        fault = fault_from_json({"kind": kind, "id": identity, "nodes": nodes, **times, **fields})
        fault = fault.resolve(nodes[0], self.nodes)
        if (why := fault.lacks_effect(self.nodes)) is not None:
            raise UsageError(f"{fault.describe()} would change nothing in this cluster: {why}")
        report = self._runtime.inject_now(fault)
        try:
            if not report.verified:
                raise FaultNotProven(fault.describe(), report)
            yield report
        finally:
            healed = self._runtime.heal_now(fault)
        if not healed.verified:
            raise FaultNotProven(f"healing {fault.describe()}", healed)
