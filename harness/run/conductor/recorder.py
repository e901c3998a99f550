"""The events of a run's history, numbered in their order, and counts for the display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.description import Fault
from harness.run.clients import Outcome, make
from harness.run.node_findings import NODE_FINDING
from harness.workloads import Operation
from histories.events import NEMESIS, Event


@dataclass
class Stats:
    """Counts for the live display and the summary; the history holds the details.

    `interrupted`: the run was stopped early. `why`: the reason, if it was not the user, or
    the reason for which it had no final round.
    """

    phase: str = "warm-up"
    outcomes: dict[str, int] = field(default_factory=lambda: {"ok": 0, "fail": 0, "info": 0})
    shed: int = 0
    active: dict[str, str] = field(default_factory=dict)
    injected: int = 0
    unverified: list[str] = field(default_factory=list)
    chaos_start_us: int | None = None
    not_live: str | None = None
    interrupted: bool = False
    why: str | None = None


class EventRecorder:
    """Creates events and passes them to `record`, which stores them."""

    __slots__ = ("_events", "_record")

    def __init__(self, record: Callable[[Event], None]) -> None:
        self._record = record
        self._events = 0

    def phase(self, phase: str, now_us: int, **more: Any) -> None:
        """Record a phase: a run is judged from its folder alone."""
        self._append(now_us, "info", "phase", phase, more)

    def fault(
        self, kind: str, what: str, fault: Fault, now_us: int, report: dict[str, Any] | None
    ) -> None:
        """A fault is requested (`kind` is invoke), or the result of that (info)."""
        self._append(now_us, kind, what, fault.to_json(), report)

    def leader(self, node: int, term: Sequence[int], now_us: int) -> None:
        """A node has become leader, or leads in another term."""
        self._append(now_us, "info", "leader", {"node": node, "term": list(term)}, None)

    def finding(self, finding: dict[str, Any], now_us: int) -> None:
        """What happened to a node without a fault of the schedule."""
        self._append(now_us, "info", NODE_FINDING, finding, None)

    def _append(
        self, now_us: int, kind: str, f: str, value: Any, extra: dict[str, Any] | None
    ) -> None:
        number = self._events
        self._events = number + 1
        self._record(Event(number, now_us * 1000, NEMESIS, kind, f, value=value, extra=extra))

    def invoked(self, process: int, seq: int, operation: Operation, now_us: int) -> None:
        number = self._events
        self._events = number + 1
        f, key, value = operation
        session = {"client": process + 1, "seq": seq}
        fields = (process, "invoke", f, key, value, None, None, None, False, session)
        self._record(make(Event, (number, now_us * 1000, *fields)))

    def ended(
        self, process: int, seq: int, operation: Operation, outcome: Outcome, now_us: int
    ) -> None:
        number = self._events
        self._events = number + 1
        f, key, value = operation
        kind, result, error, node = outcome
        session = observed = None
        mismatch = error == "mismatch"
        if kind == "ok":
            session = {"client": process + 1, "seq": seq}
            if f == "read":
                value = result
        elif mismatch:
            observed = result
        fields = (process, kind, f, key, value, node, error, observed, mismatch, session)
        self._record(make(Event, (number, now_us * 1000, *fields)))
