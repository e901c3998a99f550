"""Faults of nodes: their processes, clocks and disks.

What one fault does to a node is kept apart from what another does: a node that two faults hold down
starts when the second lets go; clocks and disks add up. A pause does not outlive the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults.description import Fault
from faults.kinds.clock import ClockJump
from faults.kinds.drift import Drift
from faults.kinds.power import PowerCut
from faults.kinds.slow_disk import SlowDisk
from harness.runtimes.sim.event_queue import CONTROL
from harness.runtimes.sim.node import SimNode

if TYPE_CHECKING:
    from harness.runtimes.sim.world import World


class NodeHands:
    def __init__(self, world: World) -> None:
        self._world = world
        self._down: dict[int, dict[str, bool]] = {n: {} for n in world.nodes}
        self._stopped: dict[int, dict[str, bool]] = {n: {} for n in world.nodes}
        self._jumps: dict[int, dict[str, int]] = {n: {} for n in world.nodes}
        self._true_offset_us = {n: node.wall_offset_us for n, node in world.nodes.items()}
        self._true_ppm = {n: node.ppm for n, node in world.nodes.items()}
        self._rates: dict[int, dict[str, int]] = {n: {} for n in world.nodes}
        self._slow: dict[int, dict[str, int]] = {n: {} for n in world.nodes}

    def _of(self, fault: Fault) -> list[SimNode]:
        return [node for n, node in self._world.nodes.items() if n in fault.nodes]

    # ------------------------------------------------------------------ down

    def kill(self, fault: Fault) -> dict[str, Any]:
        power = isinstance(fault, PowerCut)
        return {f"n{n.id}": self.hold_down(fault.id, n, power=power) for n in self._of(fault)}

    def hold_down(self, identity: str, node: SimNode, *, power: bool) -> dict[str, Any]:
        self._down[node.id][identity] = True
        return self._world.crash(node, power=power)

    def let_start(self, fault: Fault) -> dict[str, Any]:
        for node in self._of(fault):
            self.release(fault.id, node)
        return {}

    def release(self, identity: str, node: SimNode) -> None:
        """This fault holds the node down no longer."""
        self._down[node.id].pop(identity, None)
        if not self._down[node.id] and not node.up:
            world = self._world
            at_us = world.now_us + world.settings.boot_us
            world.put(at_us, CONTROL, None, (self._boot, node))

    def _boot(self, _: Any, node: SimNode) -> None:
        if not node.up and not self._down[node.id]:
            self._stopped[node.id].clear()
            self._world.start(node)

    def is_down(self, fault: Fault) -> bool:
        return not any(node.up for node in self._of(fault))

    def is_started(self, fault: Fault) -> bool:
        """Or another fault holds the node down, or it died of its own bug."""
        died = {crash.node for crash in self._world.crashes}
        return all(n.up or self._down[n.id] or n.id in died for n in self._of(fault))

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
            self._world.pause(node)

    def resume(self, fault: Fault) -> dict[str, Any]:
        waited = {f"n{node.id}": {"waiting": len(node.stash)} for node in self._of(fault)}
        for node in self._of(fault):
            self.go_on(fault.id, node)
        return waited

    def go_on(self, identity: str, node: SimNode) -> None:
        self._stopped[node.id].pop(identity, None)
        if not self._stopped[node.id]:
            self._world.resume(node)

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
            _put(self._jumps[node.id], fault.id, offset_us)
            node.wall_offset_us = self._true_offset_us[node.id] + sum(self._jumps[node.id].values())
        return {f"n{n.id}": {"offset_us": self._offset_us(n)} for n in self._of(fault)}

    def _offset_us(self, node: SimNode) -> int:
        """How far the wall clock is off, read from the clocks themselves."""
        now_us = self._world.now_us
        return node.wall(now_us) - node.monotonic(now_us) - self._true_offset_us[node.id]

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
            _put(self._rates[node.id], fault.id, ppm)
            node.set_drift(self._rate_of(node), self._world.now_us)
        return {f"n{n.id}": {"ppm": n.ppm} for n in self._of(fault)}

    def _rate_of(self, node: SimNode) -> int:
        return self._true_ppm[node.id] + sum(self._rates[node.id].values())

    def is_drifting(self, fault: Drift) -> bool:
        return all(
            fault.id in self._rates[n.id] and n.ppm == self._rate_of(n) for n in self._of(fault)
        )

    def is_steady(self, fault: Drift) -> bool:
        return all(
            fault.id not in self._rates[n.id] and n.ppm == self._rate_of(n) for n in self._of(fault)
        )

    # ------------------------------------------------------------------ disks

    def slow(self, fault: SlowDisk) -> dict[str, Any]:
        return self._set_slow(fault, fault.fsync_us)

    def unslow(self, fault: SlowDisk) -> dict[str, Any]:
        return self._set_slow(fault, None)

    def _set_slow(self, fault: Fault, fsync_us: int | None) -> dict[str, Any]:
        for node in self._of(fault):
            _put(self._slow[node.id], fault.id, fsync_us)
            node.disk.slow_us = sum(self._slow[node.id].values())
        return {f"n{n.id}": {"slow_us": n.disk.slow_us} for n in self._of(fault)}

    def is_slow(self, fault: SlowDisk) -> bool:
        return all(n.disk.slow_us >= fault.fsync_us for n in self._of(fault))

    def is_fast(self, fault: SlowDisk) -> bool:
        return all(n.disk.slow_us == sum(self._slow[n.id].values()) for n in self._of(fault))


def _put(kept: dict[str, int], identity: str, value: int | None) -> None:
    if value is None:
        kept.pop(identity, None)
    else:
        kept[identity] = value
