"""The hands that carry faults out on the simulated cluster, and look whether they did.

Injecting and healing take effect at once; the report comes back through the agenda. A fault that
lies in wait (`Aimed`) reports its injection when it has struck, or, when its window ends, that it
did not. The evidence is read off the world's own state afterwards, so that a hand that forgot
something is found out: the links that are cut, the processes that live, what the disk kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from faults.description import Fault, UnsupportedFault
from faults.kinds.aimed import Aimed
from faults.kinds.clock import ClockJump
from faults.kinds.delay import Delay
from faults.kinds.drift import Drift
from faults.kinds.duplicate import Duplicate
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.reorder import Reorder
from faults.kinds.slow_disk import SlowDisk
from harness.runtimes.interface import FaultReport
from harness.runtimes.sim.event_queue import CONTROL
from harness.runtimes.sim.link_faults import LinkHands
from harness.runtimes.sim.node_faults import NodeHands
from harness.runtimes.sim.triggers import Ambush

if TYPE_CHECKING:
    from harness.runtimes.sim.world import World


class Craft(NamedTuple):
    """How one kind of fault is done, undone, and seen to be done and undone."""

    inject: Callable[[Any], dict[str, Any]]
    heal: Callable[[Any], dict[str, Any]]
    is_there: Callable[[Any], bool]
    is_gone: Callable[[Any], bool]


class Hands:
    """`inject` and `heal` are what a conductor asks for; both answer through `fault_done`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.links = LinkHands(world)
        self.nodes = NodeHands(world)
        self.ambush = Ambush(world, self)
        links, nodes = self.links, self.nodes
        weather = Craft(links.blow, links.calm, links.is_blowing, links.is_calm)
        down = Craft(nodes.kill, nodes.let_start, nodes.is_down, nodes.is_started)
        self._crafts: dict[type[Fault], Craft] = {
            Partition: Craft(links.cut, links.uncut, links.is_cut, links.is_uncut),
            Kill: down,
            PowerCut: down,
            Pause: Craft(nodes.pause, nodes.resume, nodes.is_paused, nodes.is_resumed),
            ClockJump: Craft(nodes.jump, nodes.unjump, nodes.is_jumped, nodes.is_unjumped),
            Drift: Craft(nodes.drift, nodes.undrift, nodes.is_drifting, nodes.is_steady),
            SlowDisk: Craft(nodes.slow, nodes.unslow, nodes.is_slow, nodes.is_fast),
            Loss: weather,
            Delay: weather,
            Duplicate: weather,
            Reorder: weather,
            Aimed: Craft(
                self.ambush.lay, self.ambush.lift, self.ambush.is_laid, self.ambush.is_lifted
            ),
        }

    def inject(self, fault: Fault) -> None:
        craft = self._craft(fault)
        evidence = craft.inject(fault)
        self.ambush.refresh_watch()
        if not isinstance(fault, Aimed):
            self.report(fault, "inject", evidence, craft.is_there(fault))

    def heal(self, fault: Fault) -> None:
        craft = self._craft(fault)
        evidence = craft.heal(fault)
        self.ambush.refresh_watch()
        if isinstance(fault, (Kill, PowerCut, Aimed)):
            # The nodes need time to start.
            at_us = self._world.now_us + self._world.settings.boot_us
            self.later(at_us, self._healed, fault, evidence)
        else:
            self.report(fault, "heal", evidence, craft.is_gone(fault))

    def _healed(self, _: Any, fault: Fault, evidence: dict[str, Any]) -> None:
        evidence = evidence | self.nodes.describe(fault)
        self.report(fault, "heal", evidence, self._craft(fault).is_gone(fault))

    def _craft(self, fault: Fault) -> Craft:
        craft = self._crafts.get(type(fault))
        if craft is None:
            raise UnsupportedFault(f"the simulator cannot do {fault.describe()} yet")
        return craft

    def report(self, fault: Fault, what: str, evidence: dict[str, Any], verified: bool) -> None:
        """Tell the conductor, in a turn of its own."""
        now_us = self._world.now_us
        moments = {n: now_us * 1000 for n in fault.nodes if isinstance(n, int)}
        problem = None if verified else "the simulated world does not look as it should"
        told = FaultReport(moments, verified, evidence, problem)
        self.later(now_us, _tell, fault, what, told, now_us)

    def let_go(self) -> None:
        """Break the cycles with the world."""
        self._crafts.clear()
        del self.ambush

    def later(self, at_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """Have `action(conductor, *arguments)` called at that time."""
        self._world.put(at_us, CONTROL, None, (action, *arguments))


def _tell(conductor: Any, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
    conductor.fault_done(fault, what, report, now_us)
