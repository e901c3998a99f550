"""Reports the result of a fault to the conductor, as a separate event."""

from __future__ import annotations

from typing import Any

from faults.description import Fault
from harness.runtimes.interface import FaultReport
from harness.runtimes.sim.event_queue import FAULT_REPORT, EventQueue
from harness.runtimes.sim.virtual_time import VirtualTime


class FaultReports:
    def __init__(self, queue: EventQueue, time: VirtualTime) -> None:
        self._queue = queue
        self._time = time

    def report(self, fault: Fault, what: str, evidence: dict[str, Any], verified: bool) -> None:
        """`what` is "inject" or "heal"; `verified`, whether the simulation's state shows it."""
        now_us = self._time.now_us
        moments = {n: now_us * 1000 for n in fault.nodes if isinstance(n, int)}
        problem = None if verified else "the state of the simulation does not show it"
        report = FaultReport(moments, verified, evidence, problem)
        self._queue.put(now_us, FAULT_REPORT, None, (fault, what, report))
