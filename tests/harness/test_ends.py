"""The last moments of a run in containers: what no event of the engine has told yet, and tasks that
an interruption leaves behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.disk_full import DiskFull
from faults.kinds.kill import Kill
from faults.kinds.memory import MemoryPressure
from harness.run.node_findings import NODE_FINDING, node_findings
from harness.runtimes.docker import event_findings
from harness.runtimes.docker.event_findings import EventFindings
from harness.runtimes.docker.pods import Pod
from harness.runtimes.docker.runtime import DockerRuntime
from harness.runtimes.docker.unexpected import UnexpectedEvents
from harness.runtimes.docker.watch import ContainerEvent
from harness.start import INTERRUPTED
from histories.events import NEMESIS, Event

RUNS = ("", None)


FULL = "OSError: [Errno 28] No space left on device"


def unexpected(
    *, log: str = FULL, oom: bool = False, **states: tuple[str, int | None]
) -> UnexpectedEvents:
    """Of two pods, all of whose containers run but for those that are named. `log`, `oom`: what
    a node has printed, and whether the kernel has killed it for want of memory."""
    state = {"State": {"ExitCode": 1, "OOMKilled": oom}}
    engine: Any = SimpleNamespace(
        what_is_wrong=lambda container: states.get(container, RUNS),
        last_lines=lambda *_: log,
        api=SimpleNamespace(inspect_container=lambda _: state),
    )
    pods = {n: Pod(node=n, agent_id=f"agent{n}", node_id=f"node{n}") for n in (1, 2)}
    return UnexpectedEvents(engine, pods)


def test_what_ended_without_an_event_is_found_at_the_end() -> None:
    found = unexpected(node2=("die", 137), agent1=("destroy", None), node1=("pause", None))
    assert found.found_at_end() == [
        ContainerEvent("agent", 1, "destroy", None),
        ContainerEvent("node", 1, "pause", None),
        ContainerEvent("node", 2, "die", 137),
    ]
    assert not unexpected().found_at_end()


def test_what_was_told_already_is_not_told_twice() -> None:
    found = unexpected(node2=("die", 137))
    assert found.is_unexpected(ContainerEvent("node", 2, "kill", None))
    assert not found.found_at_end()


def test_a_node_that_a_fault_holds_down_is_expected() -> None:
    fault = Kill(id="f", start_us=0, duration_us=1, nodes=(2,))
    found = unexpected(node2=("die", 137))
    found.began(fault)
    assert not found.found_at_end()
    found.ended(fault)
    assert found.found_at_end() == [ContainerEvent("node", 2, "die", 137)]


def test_no_fault_explains_the_end_of_an_agent() -> None:
    found = unexpected(agent2=("die", 1))
    found.began(Kill(id="f", start_us=0, duration_us=1, nodes=(2,)))
    found.ended(DiskFull(id="g", start_us=0, duration_us=1, nodes=(2,), left_bytes=0))
    assert found.is_unexpected(ContainerEvent("agent", 2, "die", 1))
    assert found.finding(ContainerEvent("agent", 2, "die", 1))["by"] == "outside"


SOON: dict[str, Any] = {"id": "f", "start_us": 0, "duration_us": 1, "nodes": (2,)}


@pytest.mark.parametrize(
    ("fault", "late"),
    [
        (DiskFull(**SOON, left_bytes=0), True),
        (MemoryPressure(**SOON, spare_kib=1), True),
        (Kill(**SOON), False),
    ],
)
def test_a_node_may_end_late_because_of_some_faults(
    fault: Fault, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It met a full disk, and was paused before it could end: that is no crash of its own."""
    found = unexpected(node2=("die", 1))
    die, other = ContainerEvent("node", 2, "die", 1), ContainerEvent("node", 1, "die", 1)
    found.began(fault)
    assert not found.is_late(die)
    found.ended(fault)
    assert found.is_late(die) is late and found.is_unexpected(die) is not late
    assert not found.is_late(other) and found.is_unexpected(other)
    assert not found.is_late(ContainerEvent("agent", 2, "die", 1))
    later = time.monotonic() + 21
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not found.is_late(die) and found.is_unexpected(die)


def test_a_node_ends_late_only_once() -> None:
    """One that ends at every start after a full disk is a finding."""
    found = unexpected(node2=("die", 1))
    die = ContainerEvent("node", 2, "die", 1)
    found.ended(DiskFull(**SOON, left_bytes=0))
    assert found.is_late(die) and not found.is_unexpected(die)
    assert found.found_at_end() == [die], "and it is told where there is no time to start it"
    found.restarts(2)
    assert not found.is_late(die) and found.is_unexpected(die)


def test_a_fault_that_is_active_explains_an_end_and_no_restart() -> None:
    found = unexpected()
    die = ContainerEvent("node", 2, "die", 137)
    found.ended(MemoryPressure(**SOON, spare_kib=1))
    found.began(MemoryPressure(**SOON | {"id": "g"}, spare_kib=1))
    assert not found.is_late(die) and not found.is_unexpected(die)


def test_a_late_end_is_worth_a_note_only() -> None:
    value = unexpected().finding(ContainerEvent("node", 2, "die", 1)) | {"by": "fault"}
    (found,) = node_findings([Event(0, 7 * 10**9, NEMESIS, "info", NODE_FINDING, value=value)])
    assert found.explained and not found.by_itself
    assert found.sentence == (
        "n2 ended (exit code 1) because of a fault that was healed before, and was started again, "
        f"at 7.000 s; its last lines: {FULL}"
    )


def test_an_interruption_leaves_no_task_that_was_never_run() -> None:
    runtime = DockerRuntime.__new__(DockerRuntime)
    loop = runtime._loop = asyncio.new_event_loop()
    runtime._clients = SimpleNamespace(run=loop.run_until_complete)  # type: ignore[assignment]

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def waits() -> None:
        await asyncio.sleep(1000)

    async def opens() -> None:
        await asyncio.gather(interrupted(), waits(), waits())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            runtime._run(opens())
        runtime._settle()
        assert not asyncio.all_tasks(loop)
        loop.close()
        gc.collect()


def findings_of(
    found: UnexpectedEvents,
    drive: Callable[[EventFindings], Awaitable[None]],
    *,
    start_s: float = 0.0,
) -> tuple[list[str], list[int]]:
    """By whom what happened was caused, as told, and the nodes that were started."""
    told: list[dict[str, Any]] = []
    started: list[int] = []

    async def start(node: int) -> bool:
        await asyncio.sleep(start_s)
        started.append(node)
        return True

    async def run() -> None:
        spawn = asyncio.get_running_loop().create_task
        await drive(EventFindings(found, start_ended=start, tell=told.append, spawn=spawn))

    asyncio.run(run())
    return [finding["by"] for finding in told], started


def test_an_end_is_no_crash_where_the_engine_tells_of_the_signal_afterwards() -> None:
    async def drive(findings: EventFindings) -> None:
        findings.take(ContainerEvent("node", 2, "die", 137))
        await asyncio.sleep(0.05)
        findings.take(ContainerEvent("node", 2, "kill", None))
        await findings.report_the_last()

    assert findings_of(unexpected(), drive) == (["outside", "outside"], [])


def test_a_late_end_starts_the_node_again_and_the_next_is_a_crash() -> None:
    found = unexpected()
    found.ended(DiskFull(**SOON, left_bytes=0))

    async def drive(findings: EventFindings) -> None:
        findings.take(ContainerEvent("node", 2, "die", 1))
        await findings.await_restarts()
        findings.take(ContainerEvent("node", 2, "die", 1))
        await findings.report_the_last()

    assert findings_of(found, drive) == (["fault", "itself"], [2])


PRESSED, FULL_DISK = MemoryPressure(**SOON, spare_kib=1), DiskFull(**SOON, left_bytes=0)


@pytest.mark.parametrize(
    ("faults", "log", "oom", "by"),
    [
        ((FULL_DISK,), FULL, False, "fault"),
        ((FULL_DISK,), "KeyError: 'n'", False, "doubtful"),
        ((FULL_DISK,), "KeyError: 'n'", True, "doubtful"),
        ((PRESSED,), "KeyError: 'n'", True, "fault"),
        ((PRESSED,), "MemoryError", False, "fault"),
        ((PRESSED,), FULL, False, "doubtful"),
        ((PRESSED, FULL_DISK), FULL, False, "fault"),
        ((FULL_DISK, PRESSED), FULL, False, "fault"),
    ],
)
def test_a_late_end_has_to_show_its_cause(
    faults: tuple[Fault, ...], log: str, oom: bool, by: str
) -> None:
    """A crash soon after a full disk is not excused by it; the node is started again all the same,
    and the run is unknown."""
    found = unexpected(log=log, oom=oom)
    for fault in faults:
        found.ended(fault)

    async def drive(findings: EventFindings) -> None:
        findings.take(ContainerEvent("node", 2, "die", 1))
        await findings.await_restarts()

    assert findings_of(found, drive) == ([by], [2])


def test_a_late_end_that_shows_no_cause_makes_the_run_unknown() -> None:
    value = unexpected(log="KeyError").finding(ContainerEvent("node", 2, "die", 1))
    told = Event(0, 7 * 10**9, NEMESIS, "info", NODE_FINDING, value=value | {"by": "doubtful"})
    (found,) = node_findings([told])
    assert not found.explained and not found.by_itself
    assert found.sentence == (
        "n2 ended (exit code 1) soon after a fault that may have caused it, which nothing shows, "
        "and was started again, at 7.000 s; its last lines: KeyError"
    )


def test_a_crash_whose_log_does_not_come_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_findings, "SETTLE_S", 0.05)
    monkeypatch.setattr(event_findings, "SIGNAL_EVENT_S", 0.0)
    found = unexpected()
    released = threading.Event()
    monkeypatch.setattr(found._engine, "last_lines", lambda *_: str(released.wait(30)))

    async def drive(findings: EventFindings) -> None:
        findings.take(ContainerEvent("node", 2, "die", 1))
        await findings.report_the_last()
        released.set()
        await asyncio.sleep(0.05)

    assert findings_of(found, drive) == (["itself"], [])


def test_a_node_that_is_being_started_again_at_the_end_has_not_crashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_findings, "SETTLE_S", 0.05)
    found = unexpected(node2=("die", 1))
    found.ended(DiskFull(**SOON, left_bytes=0))

    async def drive(findings: EventFindings) -> None:
        findings.take(ContainerEvent("node", 2, "die", 1))
        await findings.await_restarts()
        await findings.report_the_last()

    assert findings_of(found, drive, start_s=30) == (["unknown"], [])


def test_a_late_end_that_no_event_has_told_makes_the_run_unknown() -> None:
    found = unexpected(node2=("die", 1))
    found.ended(DiskFull(**SOON, left_bytes=0))

    async def drive(findings: EventFindings) -> None:
        await findings.report_the_last()

    assert findings_of(found, drive) == (["unknown"], [])


def test_an_interruption_before_a_task_exists_is_no_warning() -> None:
    """One of 400 random endings: the signal came between a coroutine and its task."""
    program = """
import harness.cli as command
async def connect(): pass
kept = connect()
def interrupted(**_): raise KeyboardInterrupt
command.cli.main = interrupted
command.main([])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == INTERRUPTED
    assert "interrupted; nothing is left running" in done.stderr
    assert "never awaited" not in done.stderr
