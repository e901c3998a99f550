"""Active faults: when each is injected and when it is healed.

A fault takes effect some time after it was requested. It is active once the runtime has answered,
and only then can it be healed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from faults.description import Fault
from faults.planner import Schedule
from harness.run.conductor.recorder import EventRecorder, Stats
from harness.run.conductor.timers import Timers
from harness.run.config import RunConfig
from harness.runtimes.interface import FaultReport, World


@dataclass
class ActiveFault:
    """A fault that has been requested. `stage` is injecting, active, or healing. One with `keep`
    lasts until the end of the run: it affects only nodes that the final round does not need."""

    fault: Fault
    end_us: int
    stage: str = "injecting"
    keep: bool = False


class Nemesis:
    """`settled(now_us)` is called when a fault has ended, or is kept active."""

    def __init__(
        self,
        config: RunConfig,
        schedule: Schedule,
        recorder: EventRecorder,
        timers: Timers,
        stats: Stats,
        settled: Callable[[int], None],
        who_leads: Callable[[], int],
    ) -> None:
        self._config = config
        self._schedule = schedule
        self._recorder = recorder
        self._timers = timers
        self._stats = stats
        self._settled = settled
        self._who_leads = who_leads
        self.core = config.core()
        self.world: World
        self.active: dict[str, ActiveFault] = {}
        self._start_us = 0
        self._injects = False

    def start(self, now_us: int) -> None:
        """Start the schedule now."""
        self._injects = True
        self._start_us = now_us
        for fault in self._schedule.faults:
            self._timers.at(now_us + fault.start_us, self._begin, fault)

    def stop(self, now_us: int) -> None:
        """Inject no more faults, and heal all of them, or, if only a quorum is to be healed, those
        that affect it."""
        self._injects = False
        for entry in list(self.active.values()):
            self._heal_core(entry, now_us)

    def is_busy(self) -> bool:
        """Whether some fault is being injected or healed."""
        return any(not a.keep or a.stage == "injecting" for a in self.active.values())

    def carried_out(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        """The runtime has carried out `what` ("inject" or "heal"), or reports why not."""
        self._recorder.fault("info", what, fault, now_us, report.to_json())
        if not report.verified:
            self._stats.unverified.append(
                f"{what} {fault.describe()} ({fault.id}): {report.problem or 'not verified'}"
            )
        entry = self.active[fault.id]
        if what == "heal":
            del self.active[fault.id]
            self._stats.active.pop(fault.id, None)
            self._settled(now_us)
            return
        entry.stage = "active"
        if entry.keep:
            self._settled(now_us)
        elif not self._injects or entry.end_us <= now_us:
            self._heal(fault.id, now_us)

    def _begin(self, fault: Fault, now_us: int) -> None:
        """A composite fault is resolved once; the steps after the first have their own times."""
        if not self._injects:
            return
        leader = self.world.leader() or self._who_leads()
        for step in fault.resolve(leader, self._config.cluster.node_ids()).steps():
            if step.start_us <= fault.start_us:
                self._inject(step, now_us)
            else:
                self._timers.at(self._start_us + step.start_us, self._inject, step)

    def _inject(self, fault: Fault, now_us: int) -> None:
        if not self._injects:
            return
        leader = self.world.leader() or self._who_leads()
        resolved = fault.resolve(leader, self._config.cluster.node_ids())
        end_us = self._start_us + fault.end_us
        self._stats.injected += 1
        self._ask_for(resolved, ActiveFault(resolved, end_us), now_us)
        self._timers.at(end_us, self._heal, fault.id)
        self.world.inject(resolved)

    def _ask_for(self, fault: Fault, entry: ActiveFault, now_us: int) -> None:
        self.active[fault.id] = entry
        self._stats.active[fault.id] = fault.describe()
        self._recorder.fault("invoke", "inject", fault, now_us, None)

    def _heal(self, identity: str, now_us: int) -> None:
        entry = self.active.get(identity)
        if entry is None or entry.stage != "active" or entry.keep:
            return  # still being injected (healed afterwards), or being healed
        entry.stage = "healing"
        self._recorder.fault("invoke", "heal", entry.fault, now_us, None)
        self.world.heal(entry.fault)

    def _heal_core(self, entry: ActiveFault, now_us: int) -> None:
        """Heal a fault on the nodes that must answer, and keep it on the others."""
        rest = entry.fault.beyond(self.core) if self.core else None
        if rest == entry.fault and entry.stage == "active":
            entry.keep = True
            return
        self._heal(entry.fault.id, now_us)
        if rest is not None and entry.stage == "healing":
            rest = dataclasses.replace(rest, id=f"{rest.id}-rest")
            self._ask_for(rest, ActiveFault(rest, entry.end_us, keep=True), now_us)
            self.world.inject(rest)
