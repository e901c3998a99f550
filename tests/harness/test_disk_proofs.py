"""Proofs of disk faults, where the agent has no probe or no file to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from faults.kinds.amnesia import Amnesia
from faults.kinds.disk_damage import DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.kill import Kill
from faults.kinds.power import PowerCut
from faults.kinds.slow_disk import SlowDisk
from harness.runtimes.docker import limits
from harness.runtimes.docker.agents import AgentError
from harness.runtimes.docker.injectors import disks as disks_module
from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.injectors.data import Data
from harness.runtimes.docker.injectors.disks import Disks, Wanted
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.interface import FaultReport
from tests.harness.injector_fakes import Agent, Engine, cluster_of

TIMES: dict[str, Any] = {"nodes": (1,), "start_us": 0, "duration_us": 1_000_000}
CUT = PowerCut(id="p", **TIMES)
FULL = DiskFull(id="full", left_bytes=100, **TIMES)
STALL = DiskStall(id="stall", **TIMES)
SLOW = SlowDisk(id="slow", fsync_us=5_000, **TIMES)
LEFT = {"error": None, "synced": 4096, "unsynced": 4096}
GOOD = {"error": None, "synced": 4096, "unsynced": 0}
HANGS = {"error": "hangs", "after_ms": 300}
LOOK = {"error": None, "fsync_us": [300]}
NO_PROBE = {"error": "the probe ended with 1: FileNotFoundError"}


def disk(look: Any, **said: Any) -> dict[str, Any]:
    """The agent's answer to `disk`."""
    return {"look": look, "waiting": 0, "fsync_us": 0, "stalled": False, "left_bytes": None, **said}


Test = Callable[[Cluster, Agent, Disks], Awaitable[None]]


def run(test: Test) -> None:
    async def inside() -> None:
        engine = Engine()

        def power(**_: Any) -> dict[str, Any]:
            engine.running.discard(1)
            return {"pids": [5], "lost": {}, "canary": None}

        cluster, agents = cluster_of(
            engine,
            leave_canary={"canary": LEFT, "why": None},
            power=power,
            kill=power,
            await_process={"pid": 6},
            await_disk={},
            probe_disk={"look": LOOK, "canary": GOOD},
            disk=disk(LOOK),
        )
        await test(cluster, agents[1], Disks(cluster, Processes(cluster)))

    asyncio.run(inside())


async def cut_and_back(disks: Disks) -> tuple[FaultReport, FaultReport]:
    handler = disks.handlers()[PowerCut]
    return await handler.inject(CUT), await handler.heal(CUT)


@pytest.mark.parametrize(
    ("why", "problem"),
    [
        ("the probe ended with 1: OSError", "no file could be left on n1's disk before the cut"),
        ("hangs", "hangs"),
        ("full", "full"),
        ("stalled", "stalled"),
        ("down", "down"),
    ],
)
def test_a_power_cut_before_which_nothing_was_left_is_not_proven(why: str, problem: str) -> None:
    """Nor is one whose disk was not full, or did not stall, as the agent says."""

    async def test(_: Cluster, agent: Agent, disks: Disks) -> None:
        agent.answers["leave_canary"] = {"canary": None, "why": why}
        cut = await disks.handlers()[PowerCut].inject(CUT)
        assert not cut.verified and cut.problem is not None and problem in cut.problem
        assert "power" in [do for do, _ in agent.calls], "it is cut all the same"

    run(test)


@pytest.mark.parametrize("why", ["full", "stalled", "down"])
def test_a_power_cut_of_a_node_on_whose_disk_nothing_could_be_left_is_proven(why: str) -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        agent.answers["leave_canary"] = {"canary": None, "why": why}
        agent.answers["probe_disk"] = {"look": LOOK}
        if why == "down":
            cluster.may_end(1, "damage")
        else:
            kind: Any = FULL if why == "full" else STALL
            await disks.handlers()[type(kind)].inject(kind)
        cut, back = await cut_and_back(disks)
        assert cut.verified and cut.evidence["n1"]["no_canary"] == why
        assert back.verified

    run(test)


def test_a_stall_that_ends_while_the_power_is_cut_explains_that_nothing_was_left() -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        engine: Any = cluster.engine
        stall = disks.handlers()[DiskStall]
        agent.answers["disk"] = disk(HANGS, stalled=True)
        assert (await stall.inject(STALL)).verified
        ends: list[asyncio.Task[FaultReport]] = []

        def meanwhile(**_: Any) -> dict[str, Any]:
            ends.append(asyncio.ensure_future(stall.heal(STALL)))
            engine.running.discard(1)
            return {"pids": [5], "lost": {}, "canary": None}

        agent.answers["leave_canary"] = {"canary": None, "why": "stalled"}
        agent.answers["power"] = meanwhile
        agent.answers["disk"] = disk(None)
        report = await disks.handlers()[PowerCut].inject(CUT)
        assert report.verified and report.evidence["n1"]["no_canary"] == "stalled"
        assert (await ends[0]).verified, "the cut explains that there is no process"

    run(test)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"look": LOOK}, "was not looked at"),
        ({"look": LOOK, "canary": None}, "was not looked at"),
        ({"look": LOOK, "canary": NO_PROBE}, "the probe ended with 1"),
        ({"look": LOOK, "canary": {**GOOD, "unsynced": 1}}, "kept what was not"),
        ({"look": LOOK, "canary": {"error": "ENOENT", "synced": 0, "unsynced": 0}}, "ENOENT"),
        ({"look": None, "canary": None}, "was not looked at"),
    ],
)
def test_after_a_power_cut_the_file_must_be_seen(seen: dict[str, Any], words: str) -> None:
    async def test(_: Cluster, agent: Agent, disks: Disks) -> None:
        agent.answers["probe_disk"] = seen
        cut, back = await cut_and_back(disks)
        assert cut.verified and not back.verified
        assert back.problem is not None and words in back.problem

    run(test)


def test_a_power_cut_that_met_no_process_is_not_proven() -> None:
    async def test(_: Cluster, agent: Agent, disks: Disks) -> None:
        agent.answers["power"] = {"pids": [], "lost": {}, "canary": LEFT}
        assert not (await disks.handlers()[PowerCut].inject(CUT)).verified

    run(test)


def test_a_node_that_ends_as_soon_as_it_starts_is_left_to_the_finding_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        engine: Any = cluster.engine
        monkeypatch.setattr(limits, "state", lambda *_: {"Running": False, "ExitCode": 3})

        def has_ended(**_: Any) -> dict[str, Any]:
            engine.running.discard(1)
            return {"look": None, "canary": None}

        agent.answers["probe_disk"] = has_ended
        cut, back = await cut_and_back(disks)
        assert cut.verified and back.verified
        assert back.evidence["n1"]["ended_with"] == 3

    run(test)


def test_what_a_power_cut_took_is_not_looked_at_while_another_fault_holds_the_node_down() -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        cluster.holds[1].add("kill")
        cut, back = await cut_and_back(disks)
        assert cut.verified and back.verified
        assert back.evidence["n1"] == {"held_down_by": ["kill"]}
        assert "probe_disk" not in [do for do, _ in agent.calls]

    run(test)


def test_a_node_that_is_started_while_its_disk_is_full_may_end_before_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        engine: Any = cluster.engine
        full, processes = disks.handlers()[DiskFull], Processes(cluster)

        def ends(**_: Any) -> dict[str, Any]:
            engine.running.discard(1)
            raise AgentError("n1: await_disk: no node with the disk's mount within 10 s")

        agent.answers["await_disk"] = ends
        with pytest.raises(AgentError):
            await processes.release("kill", 1)
        agent.answers["disk"] = disk({"error": "ENOSPC", "fsync_us": [300]}, left_bytes=100)
        assert (await full.inject(FULL)).verified
        report = await processes.release("kill", 1)
        assert report.verified and report.evidence == {"ended_again_by": ["full"]}
        agent.answers |= {"disk": disk(None), "await_disk": {}}
        engine.log = "[Errno 28]"
        assert (await full.heal(FULL)).verified and 1 in engine.running
        agent.answers["await_disk"] = ends
        with pytest.raises(AgentError):
            await processes.release("kill", 1)

    monkeypatch.setattr(limits, "state", lambda *_: {"Running": False, "ExitCode": 4})
    run(test)


@pytest.mark.parametrize("kind", [Amnesia, DiskDamage])
def test_no_other_fault_changes_a_disk_while_it_is_erased_or_damaged(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut in the middle would restore files that are not there any more."""

    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        locked: list[bool] = []

        def look(*_: object, **__: Any) -> Any:
            locked.append(cluster.locks[1].locked())
            return {"digest": ["a", "b"], "file": "wal"}

        def erase(*_: object) -> tuple[int, int]:
            look()
            return 1, 0

        monkeypatch.setattr("harness.runtimes.docker.injectors.data.erase_data", erase)
        agent.answers |= {"damage": look, "disk_erased": look}
        processes = Processes(cluster)
        handlers = {**disks.handlers(), **Data(cluster, processes).handlers()}
        fault = kind(id="d", **TIMES, **({"mode": "flip"} if kind is DiskDamage else {}))
        assert (await handlers[kind].inject(fault)).verified
        assert locked == [True] * (2 if kind is Amnesia else 1)

    run(test)


@pytest.mark.parametrize("fault", [FULL, STALL, SLOW], ids=["full", "stall", "slow"])
def test_a_condition_is_not_proven_without_a_look(fault: Any) -> None:
    said = {
        "full": {"left_bytes": 100},
        "stall": {"stalled": True},
        "slow": {"fsync_us": 5_000},
    }[fault.id]

    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        handler = disks.handlers()[type(fault)]
        agent.answers["disk"] = disk(None, **said)
        assert not (await handler.inject(fault)).verified
        agent.answers["disk"] = disk(NO_PROBE, **said)
        assert not (await handler.inject(fault)).verified
        cluster.holds[1].add(Kill.kind)
        assert not (await handler.inject(fault)).verified, "there was a process"
        agent.answers["disk"] = disk(None, **said)
        assert (await handler.inject(fault)).verified
        agent.answers["disk"] = disk(None)
        assert not (await handler.inject(fault)).verified, "the agent has not set it"

    run(test)


def test_a_node_that_has_ended_because_of_its_full_disk_needs_no_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        full, slow = disks.handlers()[DiskFull], disks.handlers()[SlowDisk]
        engine: Any = cluster.engine
        engine.log = "[Errno 28]"
        agent.answers["disk"] = disk({"error": "ENOSPC", "fsync_us": [5_000]}, left_bytes=70)
        assert (await full.inject(FULL)).verified
        agent.answers["disk"] = disk(None, left_bytes=70, fsync_us=5_000)
        assert not (await slow.inject(SLOW)).verified, "it runs, says the engine"
        engine.running.discard(1)
        assert (await slow.inject(SLOW)).verified
        agent.answers["disk"] = disk(None, fsync_us=5_000)
        assert (await full.heal(FULL)).verified
        assert 1 in engine.running, "it is started again"
        assert cluster.why_down(1) == ["full"], "it may meet the error late"
        monkeypatch.setattr(disks_module, "LATE_S", 0.0)
        await full.heal(FULL)
        assert cluster.why_down(1) == []

    monkeypatch.setattr(limits, "state", lambda *_: {"Running": False, "ExitCode": 4})
    run(test)


@pytest.mark.parametrize(
    ("log", "code", "proven"),
    [
        ("OSError: [Errno 28] No space left on device", 4, True),
        ('{"event":"bug","why":"KeyError(5)"}', 70, False),
    ],
)
def test_the_end_of_a_node_during_a_full_disk_must_be_for_want_of_space(
    log: str, code: int, proven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(cluster: Cluster, agent: Agent, disks: Disks) -> None:
        full = disks.handlers()[DiskFull]
        engine: Any = cluster.engine
        agent.answers["disk"] = disk({"error": "ENOSPC", "fsync_us": [300]}, left_bytes=70)
        assert (await full.inject(FULL)).verified
        engine.log = log
        engine.running.discard(1)
        agent.answers["disk"] = disk(None)
        report = await full.heal(FULL)
        assert report.verified == proven, report
        seen = report.evidence["n1"]
        assert seen["ended_with"] == code and seen["started_again"]["pid"] == 6

    monkeypatch.setattr(limits, "state", lambda *_: {"Running": False, "ExitCode": code})
    run(test)


@pytest.mark.parametrize(
    ("wanted", "said", "is_set"),
    [
        (Wanted(0, False, None), {}, True),
        (Wanted(0, False, None), {"left_bytes": 0}, False),
        (Wanted(0, False, 100), {"left_bytes": 100}, True),
        (Wanted(0, False, 100), {"left_bytes": 0}, True),
        (Wanted(0, False, 100), {"left_bytes": 101}, False),
        (Wanted(0, False, 0), {}, False),
        (Wanted(5, True, None), {"fsync_us": 5, "stalled": True}, True),
        (Wanted(5, True, None), {"fsync_us": 5}, False),
        (Wanted(5, True, None), {"stalled": True}, False),
    ],
)
def test_all_that_the_agent_says_is_compared(
    wanted: Wanted, said: dict[str, Any], is_set: bool
) -> None:
    assert wanted.is_set(disk(None, **said)) == is_set
