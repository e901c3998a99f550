"""The interface between a run and its runtime.

The run is a pure state machine, the conductor (`harness.run.conductor`): it decides which client
asks which node what and when, when a fault is injected and healed, and what the history records. A
**runtime** owns time and the cluster: it starts nodes, carries requests to them, injects faults,
and calls the conductor back. `docker` does it with real containers and real time, `sim` with the
same protocol code under virtual time. A conductor does not depend on which of them drives it.

    runtime.open()                        nodes exist and are ready
    runtime.drive(conductor)              calls conductor.begin(world, now_us), then its callbacks,
                                          until conductor.done
    runtime.collect(folder)               nodes' logs and decided logs into the run's folder
    runtime.close()                       removes everything; may be called at any time

A conductor acts through `World`, and is notified through its callbacks (`Driven`). Times are
integer microseconds since the runtime's own zero, monotonic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from faults.description import Fault
from harness.targets.interface import Request, Response


@dataclass(frozen=True)
class FaultReport:
    """The result of one injection or healing.

    `moments_ns`: per node, the monotonic nanosecond (of the runtime's clock, same zero as event
    times) at which it took effect. `verified`: the probes' results are as expected. `evidence`:
    these results. `problem`: a sentence, if something went wrong.
    """

    moments_ns: dict[int, int]
    verified: bool
    evidence: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        report = {
            "moments": {f"n{node}": ns for node, ns in sorted(self.moments_ns.items())},
            "verified": self.verified,
            "evidence": self.evidence,
        }
        return report | ({"problem": self.problem} if self.problem else {})


class World(Protocol):
    """The requests of a conductor. They return at once; results are callbacks."""

    def request(self, call: int, node: int, request: Request) -> None:
        """Send a request to a node; `conductor.answered(call, response, now_us)` is called at most
        once, and perhaps never (the conductor has its own timeouts)."""
        ...

    def wake(self, at_us: int) -> None:
        """Call `conductor.woke(now_us)` at `at_us`, or as soon as possible after that. One wake-up
        is pending at a time: the latest call replaces an earlier one."""
        ...

    def inject(self, fault: Fault) -> None:
        """Inject a resolved fault and verify it; then `conductor.fault_done(fault, "inject",
        report, now_us)`."""
        ...

    def heal(self, fault: Fault) -> None:
        """Heal it and verify that; then `conductor.fault_done(fault, "heal", report, ...)`."""
        ...

    def leader(self) -> int | None:
        """The current leader, as far as this runtime knows."""
        ...


class Driven(Protocol):
    """What a runtime drives: the callbacks of the conductor. Times are microseconds of the
    runtime's clock."""

    done: bool
    """The run is over; `drive` returns."""

    @property
    def is_interrupted(self) -> bool: ...

    def begin(self, world: World, now_us: int) -> None: ...

    def answered(self, call: int, response: Response, now_us: int) -> None: ...

    def woke(self, now_us: int) -> None: ...

    def fault_done(self, fault: Fault, what: str, report: FaultReport, now_us: int) -> None: ...

    def interrupt(self, now_us: int) -> None: ...

    def led(self, node: int, term: Sequence[int], now_us: int) -> None:
        """A node has become leader, or leads in another term, as observed by the runtime."""
        ...

    def leader_announced(self, leader: int, now_us: int) -> None:
        """A node has told its clients that `leader` leads, in a higher term than any before."""
        ...

    def noticed(self, finding: dict[str, Any], now_us: int) -> None:
        """An event at a node that was not caused by a scheduled fault; see
        `harness.run.node_findings` for the fields."""
        ...


class Runtime(Protocol):
    def open(self) -> None: ...

    def drive(self, conductor: Driven) -> None: ...

    def collect(self, folder: Path) -> Mapping[str, str]:
        """Copy the nodes' files into `folder`. Returns those that exist and could not be copied, by
        name, with the reason."""
        ...

    def close(self) -> None: ...

    def interrupt(self) -> None:
        """End the run early by `conductor.interrupt`; the second call stops driving at once. May be
        called from a signal handler, or from another thread."""
        ...

    def now_us(self) -> int:
        """The time on this runtime's clock, which is that of the history. Thread-safe."""
        ...

    def versions(self) -> dict[str, str]:
        """What this runtime adds to the versions that `run.json` records."""
        ...
