"""Antipaxos, a chaos-testing harness for consensus clusters: what a program needs of it.

    check(source, model="kv")          judge a history: a folder, a file, events
    run(target, **options)             one run, from nothing to a verdict
    Cluster(target, nodes=3)           a cluster to use and to break by hand
    Target, Capabilities, ...          what a system under test provides (docs/targets.md)
    Fault, Schedule, plan              faults as data, and the seeded planner
    History, Event, RunFolder          what is recorded, and where

docs/api.md shows each in use. Names are loaded when they are first used: `import antipaxos` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from faults.description import Fault
    from faults.kinds import fault_from_json
    from faults.planner import plan
    from faults.schedule import Schedule
    from harness import __version__
    from harness.cluster import Cluster, FaultNotProven
    from harness.errors import HarnessError
    from harness.run.api import run
    from harness.run.config import RunConfig
    from harness.run.run_sequence import RunResult
    from harness.run.verdict import RunVerdict
    from harness.targets.interface import (
        Capabilities,
        ClusterSpec,
        NodeClient,
        NodeSpec,
        NodeStatus,
        Request,
        Response,
        Target,
    )
    from histories.checker import Verdict, check
    from histories.errors import HistoryError
    from histories.events import Event
    from histories.folder import RunFolder
    from histories.formats.native import History

_HOME: Final = {
    "Capabilities": "harness.targets.interface",
    "Cluster": "harness.cluster",
    "ClusterSpec": "harness.targets.interface",
    "Event": "histories.events",
    "Fault": "faults.description",
    "FaultNotProven": "harness.cluster",
    "HarnessError": "harness.errors",
    "History": "histories.formats.native",
    "HistoryError": "histories.errors",
    "NodeClient": "harness.targets.interface",
    "NodeSpec": "harness.targets.interface",
    "NodeStatus": "harness.targets.interface",
    "Request": "harness.targets.interface",
    "Response": "harness.targets.interface",
    "RunConfig": "harness.run.config",
    "RunFolder": "histories.folder",
    "RunResult": "harness.run.run_sequence",
    "RunVerdict": "harness.run.verdict",
    "Schedule": "faults.schedule",
    "Target": "harness.targets.interface",
    "Verdict": "histories.checker",
    "__version__": "harness",
    "check": "histories.checker",
    "fault_from_json": "faults.kinds",
    "plan": "faults.planner",
    "run": "harness.run.api",
}
"""Where each name is defined."""

__all__ = [
    "Capabilities",
    "Cluster",
    "ClusterSpec",
    "Event",
    "Fault",
    "FaultNotProven",
    "HarnessError",
    "History",
    "HistoryError",
    "NodeClient",
    "NodeSpec",
    "NodeStatus",
    "Request",
    "Response",
    "RunConfig",
    "RunFolder",
    "RunResult",
    "RunVerdict",
    "Schedule",
    "Target",
    "Verdict",
    "__version__",
    "check",
    "fault_from_json",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'antipaxos' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
