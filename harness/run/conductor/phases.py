"""The conductor: the phases of a run, and the events from a runtime.

warm-up   one client retries until the cluster answers; then the chaos phase starts
chaos     operations arrive at the configured rate, and the schedule's faults are injected and
          healed at their times
heal      no new operations; every fault is healed (or, if so configured, only what affects a
          quorum: faults of the other nodes stay), operations in progress end
finale    the workload's final round: every operation must succeed within a time limit from its
          first attempt, with any number of attempts. Then the cluster is live
done
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from faults.description import Fault
from faults.planner import Schedule
from harness.run.conductor.nemesis import Nemesis
from harness.run.conductor.recorder import EventRecorder, Stats
from harness.run.conductor.timers import NEVER, Timers
from harness.run.conductor.traffic import FinalRound, Traffic
from harness.run.config import RunConfig
from harness.runtimes.interface import FaultReport, World
from harness.targets.interface import Response
from harness.workloads import Operation, Workload
from histories.events import Event

PHASES: Final = ("warm-up", "chaos", "heal", "finale", "done")
HEAL_TIMEOUT_US: Final = 60_000_000
"""For healing, its proofs, and operations in progress whose own timeout is shorter."""
MARGIN_US: Final = 1_000_000


class Conductor:
    """Drive it through `begin`, `answered`, `woke`, `fault_done` and `interrupt`; read `done`."""

    def __init__(
        self,
        config: RunConfig,
        schedule: Schedule,
        workload: Workload,
        record: Callable[[Event], None],
    ) -> None:
        self.config = config
        self.stats = Stats()
        self.done = False
        self._workload = workload
        self._recorder = recorder = EventRecorder(record)
        self._timers = timers = Timers()
        self._traffic = Traffic(config, workload, recorder, timers, self.stats, self._ended)
        self._nemesis = Nemesis(
            config, schedule, recorder, timers, self.stats, self._advance, self._who_leads
        )
        self._world: World
        self._armed_us = NEVER
        self._deadline_us = 0
        self._finale: list[FinalRound] = []
        self._why_stop: str | None = None

    @property
    def arrivals(self) -> int:
        """How many operations have arrived, including those that were shed or left out."""
        return self._traffic.arrivals

    @property
    def is_interrupted(self) -> bool:
        """The run was stopped early."""
        return self.stats.interrupted

    def release(self) -> None:
        """The run is over: break the reference cycles with its parts."""
        del self._traffic, self._nemesis

    def _who_leads(self) -> int:
        return self._traffic.leader_guess

    # ------------------------------------------------------------------ called by the runtime

    def begin(self, world: World, now_us: int) -> None:
        """The cluster is ready; the run starts."""
        self._world = self._traffic.world = self._nemesis.world = world
        self._deadline_us = now_us + self.config.answer_within_us
        self._traffic.invoke(self._workload.next(), now_us)
        self._arm()

    def answered(self, call: int, response: Response, now_us: int) -> None:
        """One request ended."""
        self._traffic.answered(call, response, now_us)
        self._arm()

    def woke(self, now_us: int) -> None:
        """A scheduled action is due."""
        self._armed_us = NEVER
        if self._why_stop is not None:
            self._stop(now_us)
        self._timers.run(now_us)
        self._traffic.expire(now_us)
        self._arm()

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None:
        """The runtime has carried out `what` ("inject" or "heal"), or reports why not. A report
        after the end of the run is too late: the final round has not seen its effect."""
        if self.done:
            return
        self._nemesis.carried_out(fault, what, report, now_us)
        self._arm()

    def leader_announced(self, leader: int, now_us: int) -> None:
        """Ignored: clients of a chaos run find the leader themselves, so that some ask a deposed
        leader, which could give a wrong answer."""

    def noticed(self, finding: dict[str, Any], now_us: int) -> None:
        """Record an event at a node that was not caused by a scheduled fault."""
        self._recorder.finding(finding, now_us)

    def led(self, node: int, term: Sequence[int], now_us: int) -> None:
        """Record that a node has become leader, or leads in another term."""
        self._recorder.leader(node, term, now_us)

    def interrupt(self, now_us: int) -> None:
        """Stop early: heal, let operations end, skip the finale."""
        self._stop(now_us)
        self._arm()

    def stop_soon(self, why: str) -> None:
        """Stop like that at the next opportunity; `why`, in words, goes into the history. Safe to
        call at any time, also while an event is being recorded."""
        self._why_stop = why

    def _stop(self, now_us: int) -> None:
        if self.stats.phase in ("warm-up", "chaos"):
            self.stats.interrupted = True
            self.stats.why = self._why_stop
            self._end_chaos(None, now_us)

    # ------------------------------------------------------------------ phases

    def _enter(self, phase: str, now_us: int) -> None:
        self.stats.phase = phase
        self._recorder.phase(phase, now_us)

    def _start_chaos(self, now_us: int) -> None:
        self._enter("chaos", now_us)
        self.stats.chaos_start_us = now_us
        self._nemesis.start(now_us)
        self._timers.at(now_us + self.config.time_us, self._end_chaos, None)
        self._traffic.open(now_us)

    def _end_chaos(self, _: None, now_us: int) -> None:
        if self.stats.phase not in ("warm-up", "chaos"):
            return
        self._enter("heal", now_us)
        self._traffic.close()
        timeout_us = max(HEAL_TIMEOUT_US, self.config.traffic.operation_timeout_us + MARGIN_US)
        self._timers.at(now_us + timeout_us, self._overdue, None)
        self._nemesis.stop(now_us)
        self._advance(now_us)

    def _ended(
        self, operation: Operation, answered: bool, finale: FinalRound | None, now_us: int
    ) -> None:
        """An operation has ended, in a phase without arrivals."""
        if self.stats.phase != "warm-up":
            if finale is not None and not answered:
                self._finale.append(FinalRound(self._workload.again(operation), finale.since_us))
            self._advance(now_us)
        elif answered:
            self._start_chaos(now_us)
        elif now_us >= self._deadline_us:
            self._never_answered(now_us)
        else:
            self._traffic.invoke(self._workload.next(), now_us)

    def _advance(self, now_us: int) -> None:
        """Go to the next phase when this one is complete."""
        traffic = self._traffic
        if self.stats.phase == "heal" and traffic.is_idle() and not self._nemesis.is_busy():
            if self.stats.interrupted or self.stats.chaos_start_us is None:
                self._finish(now_us)
                return
            if not self.config.finale:
                self._finish(now_us)
                return
            self._enter("finale", now_us)
            self._finale = [FinalRound(o, NEVER) for o in reversed(self._workload.finale())]
            self._timers.at(now_us + self.config.answer_within_us, self._is_live, None)
        if self.stats.phase == "finale":
            while self._finale and traffic.has_room():
                operation, since_us = self._finale.pop()
                finale = FinalRound(operation, min(since_us, now_us))
                traffic.invoke(operation, now_us, finale=finale)
            if not self._finale and traffic.is_idle():
                self._finish(now_us)

    def _is_live(self, _: None, now_us: int) -> None:
        """Whether no operation of the final round has exceeded the time limit."""
        if self.stats.phase != "finale":
            return
        waiting = self._traffic.of_finale() + self._finale
        longest = min(waiting, key=lambda asked: asked.since_us)
        timeout_us = self.config.answer_within_us
        if now_us < longest.since_us + timeout_us:
            self._timers.at(longest.since_us + timeout_us, self._is_live, None)
            return
        operation, others = longest.operation, len(waiting) - 1
        self.stats.not_live = (
            f"{operation.f} {operation.key} of the final round had no answer for "
            f"{timeout_us / 1e6:g} s, after {self._healed()} healed; {others} others of it were "
            "still to be answered"
        )
        self._traffic.abandon(now_us)
        self._finish(now_us)

    def _overdue(self, _: None, now_us: int) -> None:
        """There is no final round, so that nothing is known about liveness."""
        if self.stats.phase != "heal":
            return
        self.stats.why = "because operations did not end in time"
        if self._nemesis.is_busy():
            names = ", ".join(a.fault.describe() for a in self._nemesis.active.values())
            self.stats.unverified.append(f"healing did not end in time: {names}")
            self.stats.why = f"because healing did not end in time: {names}"
        self._traffic.abandon(now_us)
        self._finish(now_us)

    def _healed(self) -> str:
        core = self._nemesis.core
        return f"a quorum ({', '.join(f'n{n}' for n in core)}) was" if core else "everything was"

    def _never_answered(self, now_us: int) -> None:
        self.stats.not_live = (
            f"the cluster answered no operation within {self.config.answer_within_us / 1e6:g} s "
            "of its start, before any fault"
        )
        self._traffic.abandon(now_us)
        self._finish(now_us)

    def _finish(self, now_us: int) -> None:
        stats = self.stats
        stats.phase = "done"
        self._recorder.phase(
            "done",
            now_us,
            not_live=stats.not_live,
            interrupted=stats.interrupted,
            shed=stats.shed,
            **({"why": stats.why} if stats.why else {}),
            **({} if self.config.finale else {"finale": False}),
        )
        self.done = True
        self._timers.clear()  # they reference this object
        self._traffic.forget()

    # ------------------------------------------------------------------ time

    def _arm(self) -> None:
        """Ask the runtime for a wake-up when the next action is due, unless one is pending."""
        if self.done:
            return
        due_us = min(self._timers.due_us(), self._traffic.due_us())
        if due_us < self._armed_us:
            self._armed_us = due_us
            self._world.wake(due_us)
