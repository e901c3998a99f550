"""Node faults: processes and clocks.

The effects of several faults on a node are kept separately: a node that two faults keep down starts
when the second one ends; clock offsets add up. A pause ends with the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faults.description import Fault
from faults.kinds.amnesia import Amnesia
from faults.kinds.clock import ClockJump
from faults.kinds.drift import Drift
from faults.kinds.power import PowerCut
from faults.kinds.stop import Stop
from harness.runtimes.sim.event_queue import START, EventQueue
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.processes import Processes
from harness.runtimes.sim.virtual_time import VirtualTime


class NodeFaults:
    """`boot_us`: how long a node needs until its process starts."""

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        processes: Processes,
        queue: EventQueue,
        time: VirtualTime,
        boot_us: int,
    ) -> None:
        self._nodes = nodes
        self._processes = processes
        self._queue = queue
        self._time = time
        self._boot_us = boot_us
        self._down: dict[int, dict[str, bool]] = {n: {} for n in nodes}
        self._starts_us: dict[int, int] = {}
        """When the process of a node starts that no fault keeps down any longer."""
        self._stopped: dict[int, dict[str, bool]] = {n: {} for n in nodes}
        self._jumps: dict[int, dict[str, int]] = {n: {} for n in nodes}
        self._true_offset_us = {n: node.clock.wall_offset_us for n, node in nodes.items()}
        self._true_ppm = {n: node.clock.drift_ppm for n, node in nodes.items()}
        self._rates: dict[int, dict[str, int]] = {n: {} for n in nodes}

    def _of(self, fault: Fault) -> list[SimNode]:
        return [node for n, node in self._nodes.items() if n in fault.nodes]

    # ------------------------------------------------------------------ down

    def kill(self, fault: Fault) -> dict[str, Any]:
        power = isinstance(fault, PowerCut)
        seen = {}
        for node in self._of(fault):
            if isinstance(fault, Stop):
                node.disk.flush(self._time.now_us)
            seen[f"n{node.id}"] = self.hold_down(fault.id, node, power=power)
            if isinstance(fault, Amnesia):
                seen[f"n{node.id}"]["erased"] = node.disk.erase()
        return seen

    def hold_down(self, identity: str, node: SimNode, *, power: bool) -> dict[str, Any]:
        self._down[node.id][identity] = True
        return self._processes.crash(node, power=power)

    def let_start(self, fault: Fault) -> dict[str, Any]:
        for node in self._of(fault):
            self.release(fault.id, node)
        return {}

    def release(self, identity: str, node: SimNode) -> None:
        """This fault no longer keeps the node down."""
        self._down[node.id].pop(identity, None)
        if not self._down[node.id] and not node.up:
            at_us = self._starts_us[node.id] = self._time.now_us + self._boot_us
            self._queue.put(at_us, START, node, None)

    def boots(self, node: SimNode) -> bool:
        """A node is due to start: start it, unless it is kept down again, or already up."""
        if node.up or self._down[node.id]:
            return False
        self._stopped[node.id].clear()
        return True

    def is_down(self, fault: Fault) -> bool:
        return not any(node.up for node in self._of(fault))

    def is_started(self, fault: Fault) -> bool:
        """Also if they start at this very time, another fault keeps them down, they crashed with an
        exception, or exited again because the disk is full or the log is lost."""
        died = {crash.node for crash in self._processes.crashes}
        return all(
            n.up
            or self._starts_us.get(n.id, 0) >= self._time.now_us
            or self._down[n.id]
            or n.id in died
            or n.disk.left_records is not None
            or n.disk.is_damaged
            for n in self._of(fault)
        )

    def describe(self, fault: Fault) -> dict[str, Any]:
        return {
            f"n{node.id}": {"up": node.up, "recovered": len(node.recovered)}
            for node in self._of(fault)
        }

    # ------------------------------------------------------------------ stopped

    def pause(self, fault: Fault) -> dict[str, Any]:
        for node in self._of(fault):
            self.stop(fault.id, node)
        return {}

    def stop(self, identity: str, node: SimNode) -> None:
        if node.up:
            self._stopped[node.id][identity] = True
            self._processes.pause(node)

    def resume(self, fault: Fault) -> dict[str, Any]:
        stash = self._processes.stash
        waited = {f"n{node.id}": {"waiting": len(stash[node.id])} for node in self._of(fault)}
        for node in self._of(fault):
            self.let_go_on(fault.id, node)
        return waited

    def let_go_on(self, identity: str, node: SimNode) -> None:
        """This fault no longer pauses the node."""
        self._stopped[node.id].pop(identity, None)
        if not self._stopped[node.id]:
            self._processes.resume(node)

    def is_paused(self, fault: Fault) -> bool:
        return not any(node.running for node in self._of(fault))

    def is_resumed(self, fault: Fault) -> bool:
        return all(n.running or self._stopped[n.id] or not n.up for n in self._of(fault))

    # ------------------------------------------------------------------ clocks

    def jump(self, fault: ClockJump) -> dict[str, Any]:
        return self._set_walls(fault, fault.offset_us)

    def unjump(self, fault: ClockJump) -> dict[str, Any]:
        return self._set_walls(fault, None)

    def _set_walls(self, fault: Fault, offset_us: int | None) -> dict[str, Any]:
        for node in self._of(fault):
            put_or_drop(self._jumps[node.id], fault.id, offset_us)
            node.clock.wall_offset_us = self._true_offset_us[node.id] + sum(
                self._jumps[node.id].values()
            )
        return {f"n{n.id}": {"offset_us": self._offset_us(n)} for n in self._of(fault)}

    def shift_wall(self, node: SimNode, by_us: int) -> None:
        """Change what the wall clock is ahead of the monotonic one while no fault sets it."""
        self._true_offset_us[node.id] += by_us
        node.clock.wall_offset_us += by_us

    def _offset_us(self, node: SimNode) -> int:
        """The error of the wall clock, computed from the clocks."""
        now_us, clock = self._time.now_us, node.clock
        return clock.wall(now_us) - clock.monotonic(now_us) - self._true_offset_us[node.id]

    def is_jumped(self, fault: ClockJump) -> bool:
        return all(
            fault.id in self._jumps[n.id] and self._offset_us(n) == sum(self._jumps[n.id].values())
            for n in self._of(fault)
        )

    def is_unjumped(self, fault: ClockJump) -> bool:
        return all(
            fault.id not in self._jumps[n.id]
            and self._offset_us(n) == sum(self._jumps[n.id].values())
            for n in self._of(fault)
        )

    def drift(self, fault: Drift) -> dict[str, Any]:
        return self._set_rates(fault, fault.ppm)

    def undrift(self, fault: Drift) -> dict[str, Any]:
        return self._set_rates(fault, None)

    def _set_rates(self, fault: Fault, ppm: int | None) -> dict[str, Any]:
        for node in self._of(fault):
            put_or_drop(self._rates[node.id], fault.id, ppm)
            node.clock.set_drift(self._rate_of(node), self._time.now_us)
        return {f"n{n.id}": {"ppm": n.clock.drift_ppm} for n in self._of(fault)}

    def _rate_of(self, node: SimNode) -> int:
        return self._true_ppm[node.id] + sum(self._rates[node.id].values())

    def is_drifting(self, fault: Drift) -> bool:
        return all(
            fault.id in self._rates[n.id] and n.clock.drift_ppm == self._rate_of(n)
            for n in self._of(fault)
        )

    def is_steady(self, fault: Drift) -> bool:
        return all(
            fault.id not in self._rates[n.id] and n.clock.drift_ppm == self._rate_of(n)
            for n in self._of(fault)
        )


def put_or_drop(kept: dict[str, int], identity: str, value: int | None) -> None:
    if value is None:
        kept.pop(identity, None)
    else:
        kept[identity] = value
