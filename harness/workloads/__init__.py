"""What clients do, one workload a file; each names the model that judges it.

A workload is found by its name: every module of this package with a name `WORKLOAD` adds to the
registry. `interface` says how to write one. A target serves it if its `Capabilities.workloads` has
the name.
"""

from __future__ import annotations

from harness.discovery import discover
from harness.workloads.interface import Operation, Workload

WORKLOADS: dict[str, type[Workload]] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in discover(__name__)
    if hasattr(module, "WORKLOAD")
}
"""By name: a class, made with (seed, keys, skew)."""

__all__ = ["WORKLOADS", "Operation", "Workload"]
