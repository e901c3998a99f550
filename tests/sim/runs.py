"""Small simulated runs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faults.description import Fault
from faults.schedule import Schedule
from harness.run.config import RunConfig
from harness.run.simulation import SimulatedRun, simulate_and_judge
from harness.runtimes.sim.run_record import Message

SECOND = 1_000_000


def config(**changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "target": "multi-paxos",
        "nodes": 3,
        "concurrency": 3,
        "rate": 40.0,
        "keys": 2,
        "seed": 1,
        "on": "sim",
        "time_us": 4 * SECOND,
    }
    return RunConfig.of(**(settings | changes))


def schedule(faults: Iterable[Fault] = (), duration_us: int = 4 * SECOND) -> Schedule:
    return Schedule(faults=tuple(faults), duration_us=duration_us)


def run(*faults: Fault, traced: bool = False, **changes: Any) -> SimulatedRun:
    """A run under these faults, judged."""
    settings = config(**changes)
    return simulate_and_judge(settings, schedule(faults, settings.time_us), traced=traced)


def messages(done: SimulatedRun) -> list[Message]:
    """The messages between the nodes of a traced run."""
    assert done.runtime.record is not None
    return done.runtime.record.messages


def evidence(done: SimulatedRun, identity: str, what: str) -> dict[str, Any]:
    """The fault injector's report about a fault."""
    for event in done.events:
        if event.f == what and event.type == "info" and event.value["id"] == identity:
            assert event.extra is not None
            return dict(event.extra)
    raise AssertionError(f"{what} of {identity} is not in the history")
