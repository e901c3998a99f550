"""What clients do, one workload a file; each names the model that judges it."""

from __future__ import annotations

from harness.workloads.interface import Operation, Workload
from harness.workloads.kv import KeyValueWorkload
from harness.workloads.log import LogWorkload

WORKLOADS: dict[str, type[Workload]] = {
    workload.name: workload for workload in (KeyValueWorkload, LogWorkload)
}
"""By name: a class, made with (seed, keys)."""

__all__ = ["WORKLOADS", "Operation", "Workload"]
