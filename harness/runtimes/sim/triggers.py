"""Faults that wait for an event of the protocol, and hit a node in the middle of its step.

An `Aimed` fault is armed when it is injected. It counts how often its event occurs at a node (it
has sent a message of some class, or is about to answer a client), and hits the node at which it
occurs for the `count`-th time: kills it, cuts its power, pauses it or cuts it off. It is over when
its window ends; the node is then released, or earlier if the fault specifies this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from faults.description import UnsupportedFault
from faults.kinds.aimed import Aimed
from harness.runtimes.sim.event_queue import FAULT_STEP, EventQueue
from harness.runtimes.sim.fault_reports import FaultReports
from harness.runtimes.sim.link_faults import LinkFaults
from harness.runtimes.sim.network import Network
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.node_faults import NodeFaults
from harness.runtimes.sim.virtual_time import VirtualTime

ANY_MESSAGE: Final = ""
"""As in a fault that names no class of messages."""
REPLY: Final = "Reply"

MOMENTS: Final = ("after-send", "before-reply")
EXPIRE: Final = "expire"  # steps of a fault that the injector passes on
RELEASE: Final = "release"


class Triggers:
    """`armed`: the waiting faults, by their ids. `watch_all`: every node is watched anyway."""

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        network: Network,
        queue: EventQueue,
        time: VirtualTime,
        reports: FaultReports,
        link_faults: LinkFaults,
        node_faults: NodeFaults,
    ) -> None:
        self._nodes = nodes
        self._network = network
        self._queue = queue
        self._time = time
        self._reports = reports
        self._link_faults = link_faults
        self._node_faults = node_faults
        self.armed: dict[str, Aimed] = {}
        self.watch_all = False
        self._counts: dict[str, int] = {}
        self._struck: dict[str, SimNode] = {}

    # ------------------------------------------------------------------ arming and disarming

    def arm(self, fault: Aimed) -> dict[str, Any]:
        if fault.moment not in MOMENTS:
            raise UnsupportedFault(
                f"{fault.id}: the simulator has no moment {fault.moment!r}, only "
                f"{', '.join(MOMENTS)}"
            )
        self.armed[fault.id] = fault
        self._counts[fault.id] = 0
        self._queue.put(self._time.now_us + fault.duration_us, FAULT_STEP, None, (EXPIRE, fault))
        return {}

    def expire(self, fault: Aimed) -> None:
        """The window is over and the event has not occurred: a result, not a failure."""
        if self.armed.pop(fault.id, None) is not None:
            self.refresh_watched()
            evidence = {"struck": False, "seen": self._counts[fault.id]}
            self._reports.report(fault, "inject", evidence, True)

    def disarm(self, fault: Aimed) -> dict[str, Any]:
        self.release(fault)
        return {}

    def release(self, fault: Aimed) -> None:
        """Release the node that was hit."""
        node = self._struck.pop(fault.id, None)
        if node is not None:
            self._node_faults.release(fault.id, node)
            self._node_faults.let_go_on(fault.id, node)
            self._link_faults.uncut(fault)

    def is_armed(self, fault: Aimed) -> bool:
        return fault.id in self.armed

    def is_over(self, fault: Aimed) -> bool:
        return fault.id not in self.armed and fault.id not in self._struck

    # ------------------------------------------------------------------ watched nodes

    def refresh_watched(self) -> None:
        """Recompute which nodes are watched, and for which classes of messages."""
        for node in self._nodes.values():
            names = set(self._names_for(node))
            node.watched = bool(names)
            node.watched_for = None if ANY_MESSAGE in names else frozenset(names)

    def _names_for(self, node: SimNode) -> Iterator[str]:
        if self.watch_all:
            yield ANY_MESSAGE
        for fault in self.armed.values():
            if not fault.nodes or node.id in fault.nodes:
                yield REPLY if fault.moment == "before-reply" else fault.message
        for link in self._network.links[node.id].values():
            if link.conditions is not None:
                yield from (fault.message for fault in link.conditions.faults)

    # ------------------------------------------------------------------ firing

    def seen(self, node: SimNode, moment: str, message: str) -> None:
        """An event has occurred at a node: hit it if a fault waits for this event."""
        for fault in list(self.armed.values()):
            if (
                fault.moment == moment
                and (not fault.nodes or node.id in fault.nodes)
                and (not fault.message or fault.message == message)
            ):
                self._counts[fault.id] += 1
                if self._counts[fault.id] == fault.count:
                    self._apply_fault(fault, node)
                    return

    def _apply_fault(self, fault: Aimed, node: SimNode) -> None:
        del self.armed[fault.id]
        evidence: dict[str, Any] = {"struck": True, "node": node.id, "action": fault.action}
        if fault.action == "isolate":
            evidence |= self._link_faults.isolate(fault.id, node.id)
            verified = not self._network.open_links[node.id]
        elif fault.action == "pause":
            self._node_faults.stop(fault.id, node)
            verified = node.paused
        else:
            power = fault.action == "power"
            evidence |= self._node_faults.hold_down(fault.id, node, power=power)
            verified = not node.up
        self._struck[fault.id] = node
        if fault.hold_us:
            at_us = self._time.now_us + fault.hold_us
            self._queue.put(at_us, FAULT_STEP, None, (RELEASE, fault))
        self.refresh_watched()
        self._reports.report(fault, "inject", evidence, verified)
