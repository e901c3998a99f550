"""Faults with periodic actions, and faults that shift a clock permanently.

slow-cpu    in each period of 100 ms the node runs for its share, and is stopped for the rest, like
            a process that always exceeds its quota
strobe      the wall clock is wrong for half of each period
monotonic   the monotonic clock jumps ahead, and stays there
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from faults.description import Fault
from faults.kinds.clock import ClockJump
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.slow_cpu import SlowCpu
from faults.kinds.strobe import Strobe
from harness.runtimes.sim.event_queue import FAULT_STEP, TIMER, EventQueue
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.node_faults import NodeFaults
from harness.runtimes.sim.virtual_time import VirtualTime

PERIOD_US: Final = 100_000
STAND_STILL: Final = "stand-still"
RUN: Final = "run"
SET_WRONG: Final = "set-wrong"
SET_RIGHT: Final = "set-right"


class TimedFaults:
    """`_active` holds the active faults; scheduled actions of others do nothing."""

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        queue: EventQueue,
        time: VirtualTime,
        node_faults: NodeFaults,
    ) -> None:
        self._nodes = nodes
        self._queue = queue
        self._time = time
        self._node_faults = node_faults
        self._active: dict[str, Fault] = {}
        self._times: dict[str, int] = {}
        self._ahead_us: dict[str, dict[int, int]] = {}

    # ------------------------------------------------------------------ processor

    def throttle(self, fault: SlowCpu) -> dict[str, Any]:
        self._begin(fault)
        self._stand_still(fault)
        return {"percent": fault.percent}

    def _stand_still(self, fault: SlowCpu) -> None:
        if fault.id not in self._active:
            return
        still_us = PERIOD_US * (100 - fault.percent) // 100
        for node in self._of(fault):
            self._node_faults.stop(fault.id, node)
        self._times[fault.id] += 1
        self._later(still_us, RUN, fault)
        self._later(PERIOD_US, STAND_STILL, fault)

    def _run(self, fault: SlowCpu) -> None:
        for node in self._of(fault):
            self._node_faults.let_go_on(fault.id, node)

    def unthrottle(self, fault: SlowCpu) -> dict[str, Any]:
        self._active.pop(fault.id, None)
        self._run(fault)
        return {"periods": self._times.pop(fault.id, 0)}

    # ------------------------------------------------------------------ wall clock

    def strobe(self, fault: Strobe) -> dict[str, Any]:
        self._begin(fault)
        self._set_wrong(fault)
        return {"offset_us": fault.offset_us, "period_us": fault.period_us}

    def _set_wrong(self, fault: Strobe) -> None:
        if fault.id not in self._active:
            return
        self._times[fault.id] += 1
        half_us = fault.period_us // 2
        self._later(half_us, SET_RIGHT, fault)
        self._later(2 * half_us, SET_WRONG, fault)
        self._node_faults.jump(_as_jump(fault))

    def _set_right(self, fault: Strobe) -> None:
        self._node_faults.unjump(_as_jump(fault))

    def is_strobing(self, fault: Strobe) -> bool:
        return fault.id in self._active and self._node_faults.is_jumped(_as_jump(fault))

    def unstrobe(self, fault: Strobe) -> dict[str, Any]:
        self._active.pop(fault.id, None)
        self._set_right(fault)
        return {"jumps": self._times.pop(fault.id, 0)}

    def is_right(self, fault: Strobe) -> bool:
        return self._node_faults.is_unjumped(_as_jump(fault))

    # ------------------------------------------------------------------ monotonic clock

    def advance(self, fault: MonotonicJump) -> dict[str, Any]:
        """The wall clock does not move with it. Timers that are due by the new time fire now."""
        now_us = self._time.now_us
        gained = {}
        for node in self._of(fault):
            before_us = node.clock.monotonic(now_us)
            node.clock.skew_us += fault.offset_us
            node.clock.base_us += fault.offset_us
            self._node_faults.shift_wall(node, -fault.offset_us)
            gained[node.id] = node.clock.monotonic(now_us) - before_us
            for name, at_us in list(node.timers.items()):
                node.timers[name] = max(now_us, at_us - fault.offset_us)
                self._queue.put(node.timers[name], TIMER, node, name)
        self._ahead_us[fault.id] = gained
        return {f"n{n}": {"gained_us": us} for n, us in gained.items()}

    def is_ahead(self, fault: MonotonicJump) -> bool:
        return all(us == fault.offset_us for us in self._ahead_us[fault.id].values())

    def stay(self, fault: MonotonicJump) -> dict[str, Any]:
        """The offset remains."""
        return {f"n{n}": {"kept_us": us} for n, us in self._ahead_us.pop(fault.id).items()}

    # ------------------------------------------------------------------ common

    def _begin(self, fault: Fault) -> None:
        self._active[fault.id] = fault
        self._times[fault.id] = 0

    def step(self, step: str, fault: Any) -> None:
        """A scheduled step of this fault is due."""
        steps: dict[str, Callable[[Any], None]] = {
            STAND_STILL: self._stand_still,
            RUN: self._run,
            SET_WRONG: self._set_wrong,
            SET_RIGHT: self._set_right,
        }
        steps[step](fault)

    def _later(self, delay_us: int, step: str, fault: Fault) -> None:
        self._queue.put(self._time.now_us + delay_us, FAULT_STEP, None, (step, fault))

    def _of(self, fault: Fault) -> list[SimNode]:
        return [node for n, node in self._nodes.items() if n in fault.nodes]

    def is_active(self, fault: Fault) -> bool:
        return fault.id in self._active

    def is_over(self, fault: Fault) -> bool:
        return fault.id not in self._active


def _as_jump(fault: Strobe) -> ClockJump:
    return ClockJump(
        id=fault.id,
        start_us=fault.start_us,
        duration_us=fault.duration_us,
        nodes=fault.nodes,
        offset_us=fault.offset_us,
    )
