"""Injects faults into the simulated cluster, and verifies that they took effect.

Injecting and healing take effect at once; the report comes back through the event queue. A fault
that waits for an event of the protocol (`Aimed`) reports its injection when it has fired, or, when
its window ends, that it did not. The evidence is derived from the state of the simulation
afterwards (the links that are cut, the running processes, what the disk kept), so that a partially
injected fault is detected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from faults.description import Fault, UnsupportedFault
from faults.kinds.aimed import Aimed
from faults.kinds.amnesia import Amnesia
from faults.kinds.clock import ClockJump
from faults.kinds.delay import Delay
from faults.kinds.disk_damage import DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.drift import Drift
from faults.kinds.duplicate import Duplicate
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.reorder import Reorder
from faults.kinds.slow_cpu import SlowCpu
from faults.kinds.slow_disk import SlowDisk
from faults.kinds.stop import Stop
from faults.kinds.strobe import Strobe
from harness.runtimes.sim.disk_faults import DiskFaults
from harness.runtimes.sim.event_queue import FAULT_STEP, EventQueue
from harness.runtimes.sim.fault_reports import FaultReports
from harness.runtimes.sim.link_faults import LinkFaults
from harness.runtimes.sim.node_faults import NodeFaults
from harness.runtimes.sim.timed_faults import TimedFaults
from harness.runtimes.sim.triggers import EXPIRE, RELEASE, Triggers
from harness.runtimes.sim.virtual_time import VirtualTime

HEALED: Final = "healed"


class Procedure(NamedTuple):
    """How one kind of fault is injected and healed, and how either is verified."""

    inject: Callable[[Any], dict[str, Any]]
    heal: Callable[[Any], dict[str, Any]]
    is_injected: Callable[[Any], bool]
    is_healed: Callable[[Any], bool]


class FaultInjector:
    """`inject` and `heal` are called by the conductor; both report through `fault_done`."""

    def __init__(
        self,
        queue: EventQueue,
        time: VirtualTime,
        reports: FaultReports,
        links: LinkFaults,
        nodes: NodeFaults,
        disks: DiskFaults,
        timed: TimedFaults,
        triggers: Triggers,
        *,
        boot_us: int,
    ) -> None:
        self._queue = queue
        self._time = time
        self._reports = reports
        self._boot_us = boot_us
        self.links, self.nodes, self.triggers = links, nodes, triggers
        self._timed = timed
        conditions = Procedure(links.impose, links.lift, links.is_imposed, links.is_lifted)
        down = Procedure(nodes.kill, nodes.let_start, nodes.is_down, nodes.is_started)
        self._procedures: dict[type[Fault], Procedure] = {
            Partition: Procedure(links.cut, links.uncut, links.is_cut, links.is_uncut),
            Kill: down,
            PowerCut: down,
            Stop: down,
            Amnesia: down,
            SlowCpu: Procedure(timed.throttle, timed.unthrottle, timed.is_active, timed.is_over),
            Strobe: Procedure(timed.strobe, timed.unstrobe, timed.is_strobing, timed.is_right),
            MonotonicJump: Procedure(timed.advance, timed.stay, timed.is_ahead, lambda _: True),
            Pause: Procedure(nodes.pause, nodes.resume, nodes.is_paused, nodes.is_resumed),
            ClockJump: Procedure(nodes.jump, nodes.unjump, nodes.is_jumped, nodes.is_unjumped),
            Drift: Procedure(nodes.drift, nodes.undrift, nodes.is_drifting, nodes.is_steady),
            SlowDisk: Procedure(disks.slow, disks.unslow, disks.is_slow, disks.is_fast),
            DiskStall: Procedure(disks.stall, disks.unstall, disks.is_stalled, lambda _: True),
            DiskFull: Procedure(disks.fill, disks.make_room, disks.is_full, disks.has_room),
            DiskDamage: Procedure(
                disks.damage, nodes.let_start, disks.is_damaged, nodes.is_started
            ),
            Loss: conditions,
            Delay: conditions,
            Duplicate: conditions,
            Reorder: conditions,
            Aimed: Procedure(triggers.arm, triggers.disarm, triggers.is_armed, triggers.is_over),
        }

    def inject(self, fault: Fault) -> None:
        procedure = self._procedure(fault)
        evidence = procedure.inject(fault)
        self.triggers.refresh_watched()
        if not isinstance(fault, Aimed):
            self._reports.report(fault, "inject", evidence, procedure.is_injected(fault))

    def heal(self, fault: Fault) -> None:
        procedure = self._procedure(fault)
        evidence = procedure.heal(fault)
        self.triggers.refresh_watched()
        if isinstance(fault, (Kill, PowerCut, Stop, Amnesia, DiskFull, DiskDamage, Aimed)):
            # The nodes need time to start.
            at_us = self._time.now_us + self._boot_us
            self._queue.put(at_us, FAULT_STEP, None, (HEALED, fault, evidence))
        else:
            self._reports.report(fault, "heal", evidence, procedure.is_healed(fault))

    def step(self, step: str, fault: Any, *arguments: Any) -> None:
        """A scheduled step of this fault is due."""
        if step == EXPIRE:
            self.triggers.expire(fault)
        elif step == RELEASE:
            self.triggers.release(fault)
        elif step == HEALED:
            self._healed(fault, *arguments)
        else:
            self._timed.step(step, fault)

    def _healed(self, fault: Fault, evidence: dict[str, Any]) -> None:
        evidence = evidence | self.nodes.describe(fault)
        self._reports.report(fault, "heal", evidence, self._procedure(fault).is_healed(fault))

    def _procedure(self, fault: Fault) -> Procedure:
        procedure = self._procedures.get(type(fault))
        if procedure is None:
            raise UnsupportedFault(f"the simulator cannot do {fault.describe()} yet")
        return procedure
