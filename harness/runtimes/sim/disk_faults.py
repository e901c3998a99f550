"""Disk faults: slow, stalled, full and damaged disks. Power cuts are in `node_faults`.

Several faults of one disk add up: delays are summed, and the smallest capacity counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faults.description import Fault
from faults.kinds.disk_damage import DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.slow_disk import SlowDisk
from harness.runtimes.sim.disk import RECORD_BYTES
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.node_faults import NodeFaults, put_or_drop
from harness.runtimes.sim.virtual_time import VirtualTime


class DiskFaults:
    def __init__(
        self, nodes: Mapping[int, SimNode], node_faults: NodeFaults, time: VirtualTime
    ) -> None:
        self._nodes = nodes
        self._node_faults = node_faults
        self._time = time
        self._slow: dict[int, dict[str, int]] = {n: {} for n in nodes}
        self._left: dict[int, dict[str, int]] = {n: {} for n in nodes}

    def _of(self, fault: Fault) -> list[SimNode]:
        return [node for n, node in self._nodes.items() if n in fault.nodes]

    # ------------------------------------------------------------------ slow

    def slow(self, fault: SlowDisk) -> dict[str, Any]:
        return self._set_slow(fault, fault.fsync_us)

    def unslow(self, fault: SlowDisk) -> dict[str, Any]:
        return self._set_slow(fault, None)

    def _set_slow(self, fault: Fault, fsync_us: int | None) -> dict[str, Any]:
        for node in self._of(fault):
            put_or_drop(self._slow[node.id], fault.id, fsync_us)
            node.disk.slow_us = sum(self._slow[node.id].values())
        return {f"n{n.id}": {"slow_us": n.disk.slow_us} for n in self._of(fault)}

    def is_slow(self, fault: SlowDisk) -> bool:
        return all(n.disk.slow_us >= fault.fsync_us for n in self._of(fault))

    def is_fast(self, fault: SlowDisk) -> bool:
        return all(n.disk.slow_us == sum(self._slow[n.id].values()) for n in self._of(fault))

    # ------------------------------------------------------------------ stalled

    def stall(self, fault: DiskStall) -> dict[str, Any]:
        """Until the fault's end, which is known: nothing has to be scheduled twice."""
        until_us = self._time.now_us + fault.duration_us
        for node in self._of(fault):
            node.disk.stalled_until_us = max(node.disk.stalled_until_us, until_us)
        return {f"n{n.id}": {"until_us": n.disk.stalled_until_us} for n in self._of(fault)}

    def unstall(self, fault: DiskStall) -> dict[str, Any]:
        """What began before the end has got its time already."""
        now_us = self._time.now_us
        left_us = {n.id: max(0, n.disk.stalled_until_us - now_us) for n in self._of(fault)}
        return {f"n{node}": {"left_us": us} for node, us in left_us.items()}

    def is_stalled(self, fault: DiskStall) -> bool:
        return all(n.disk.stalled_until_us >= self._time.now_us for n in self._of(fault))

    # ------------------------------------------------------------------ full

    def fill(self, fault: DiskFull) -> dict[str, Any]:
        return self._set_left(fault, fault.left_bytes // RECORD_BYTES)

    def make_room(self, fault: DiskFull) -> dict[str, Any]:
        """And start the nodes that exited because their disk was full."""
        seen = self._set_left(fault, None)
        for node in self._of(fault):
            if not node.up:
                self._node_faults.release(fault.id, node)
        return seen

    def _set_left(self, fault: DiskFull, records: int | None) -> dict[str, Any]:
        for node in self._of(fault):
            put_or_drop(self._left[node.id], fault.id, records)
            node.disk.left_records = min(self._left[node.id].values(), default=None)
        return {
            f"n{n.id}": {"up": n.up, "left_records": n.disk.left_records} for n in self._of(fault)
        }

    def is_full(self, fault: DiskFull) -> bool:
        most = fault.left_bytes // RECORD_BYTES
        left = [n.disk.left_records for n in self._of(fault)]
        return all(records is not None and records <= most for records in left)

    def has_room(self, fault: DiskFull) -> bool:
        return self._node_faults.is_started(fault) and all(
            self._left[n.id] or n.disk.left_records is None for n in self._of(fault)
        )

    # ------------------------------------------------------------------ damaged

    def damage(self, fault: DiskDamage) -> dict[str, Any]:
        seen = {}
        for node in self._of(fault):
            seen[f"n{node.id}"] = self._node_faults.hold_down(fault.id, node, power=False)
            seed = f"{fault.seed}:{fault.id}:{node.id}"
            seen[f"n{node.id}"] |= node.disk.damage(fault.mode, seed)
        return seen

    def is_damaged(self, fault: DiskDamage) -> bool:
        """Or had nothing yet that could be damaged."""
        return all(n.disk.is_damaged or not n.disk.records() for n in self._of(fault))
