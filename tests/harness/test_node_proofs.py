"""Proofs of faults of processes and clocks, and of aimed ones: where nothing was killed, no process
was looked at, or a healing failed, they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from faults.kinds.aimed import Aimed
from faults.kinds.clock import ClockJump
from faults.kinds.drift import Drift
from faults.kinds.kill import Kill
from faults.kinds.pause import Pause
from faults.kinds.strobe import Strobe
from harness.errors import EngineError
from harness.runtimes.docker.injectors import triggers
from harness.runtimes.docker.injectors.clocks import Clocks
from harness.runtimes.docker.injectors.cluster import Cluster, Handler
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.injectors.triggers import Sighting, Triggers
from harness.runtimes.interface import FaultReport
from tests.harness.injector_fakes import Agent, Engine, cluster_of

TIMES: dict[str, Any] = {"start_us": 0, "duration_us": 1_000_000}
HOUR_NS = 3600 * 10**9
AHEAD = ClockJump(id="c", nodes=(1,), offset_us=HOUR_NS // 1000, **TIMES)
WRONG_AND_RIGHT = Strobe(id="s", nodes=(1,), offset_us=HOUR_NS // 1000, period_us=2_000, **TIMES)


def reading(pid: int, offset_ns: int = 0, **other: Any) -> dict[str, Any]:
    """What `probe_clock` tells of a process."""
    return {
        "pid": pid,
        "at_ns": 1,
        "patched": bool(offset_ns),
        "offset_ns": offset_ns,
        "rate": 0,
        "monotonic_ns": 0,
        "monotonic_rate": 0,
        "code_is_ours": bool(offset_ns),
        "demonstrated_ns": offset_ns + 900_000,
        **other,
    }


def probe(*processes: dict[str, Any]) -> dict[str, Any]:
    return {"processes": list(processes), "strobe_jumps": 4}


# ----------------------------------------------------------------------------------- aimed


class Held:
    """A fault's action whose healing fails."""

    def __init__(self) -> None:
        self.healed = 0

    async def inject(self, _: Kill) -> FaultReport:
        return FaultReport({1: 5}, verified=True)

    async def heal(self, _: Kill) -> FaultReport:
        self.healed += 1
        return FaultReport({}, False, {"engine": "exited"}, "the node did not start")


@pytest.mark.parametrize("hold_us", [0, 1_000])
def test_the_healing_of_an_aimed_fault_is_told_also_when_it_came_before_the_faults_end(
    hold_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    aimed = Aimed(
        id="a", nodes=(1,), moment="before-reply", action="kill", hold_us=hold_us, **TIMES
    )

    async def sees_it(*_: object) -> Sighting:
        return Sighting(1, 5, 1)

    async def test() -> None:
        cluster, _ = cluster_of(Engine())
        handlers = {Kill: Handler(held.inject, held.heal)}
        handler = Triggers(cluster, handlers).handlers()[Aimed]
        assert (await handler.inject(aimed)).evidence["struck"]
        report = await handler.heal(aimed)
        assert (report.verified, report.problem) == (False, "the node did not start")
        assert report.evidence == {"engine": "exited"} and held.healed == 1

    monkeypatch.setattr(Triggers, "_await_moment", sees_it)
    asyncio.run(test())


def test_a_moment_that_does_not_come_is_a_result_but_a_log_that_is_not_followed_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aimed = Aimed(id="a", nodes=(1,), moment="log-line", text="ready", action="kill", **TIMES)

    class Refused:
        def __init__(self, *_: object) -> None:
            self.close = lambda: None

        def wait(self, _: float) -> int | None:
            raise EngineError("configured logging driver does not support reading")

    async def test() -> None:
        cluster, _ = cluster_of(Engine())
        handler = Triggers(cluster, {Kill: Handler(Held().inject, Held().heal)}).handlers()[Aimed]
        with pytest.raises(EngineError, match="does not support reading"):
            await handler.inject(aimed)
        monkeypatch.setattr(Refused, "wait", lambda *_: None)
        report = await handler.inject(aimed)
        assert (report.verified, report.evidence) == (True, {"struck": False})

    monkeypatch.setattr(triggers, "LogLines", Refused)
    asyncio.run(test())


# ----------------------------------------------------------------------------------- kills


def take_down(prepare: Callable[[Cluster], object], pids: list[int]) -> FaultReport:
    """The report of a kill that has met these processes."""

    async def test() -> FaultReport:
        engine = Engine()
        engine.running.clear()
        cluster, _ = cluster_of(engine, kill={"pids": pids})
        prepare(cluster)
        return await Processes(cluster).take_down("k", 1, "kill")

    return asyncio.run(test())


def test_a_kill_that_met_no_process_is_not_proven() -> None:
    report = take_down(lambda _: None, [])
    assert not report.verified and report.problem is not None
    assert report.problem == "n1 had no process: it had ended by itself before"
    assert take_down(lambda _: None, [7]).verified
    elsewhere = take_down(lambda cluster: cluster.holds[2].add("other"), [])
    assert not elsewhere.verified


@pytest.mark.parametrize(
    "prepare",
    [
        lambda cluster: cluster.holds[1].add("other"),
        lambda cluster: cluster.may_end(1, "other"),
        lambda cluster: cluster.may_end(1, "other", 60.0),
    ],
    ids=["held down", "damaged", "its disk was full a moment ago"],
)
def test_a_kill_of_a_node_that_another_fault_has_ended_is_proven(
    prepare: Callable[[Cluster], object],
) -> None:
    report = take_down(prepare, [])
    assert report.verified and report.evidence["down_before"] == ["other"]


def test_a_fault_explains_no_end_long_after_it() -> None:
    assert not take_down(lambda cluster: cluster.may_end(1, "other", 0.0), []).verified
    assert not take_down(lambda cluster: cluster.may_end(1, "k"), []).verified, "it is the kill"


def test_a_pause_of_a_node_that_a_fault_may_have_ended_is_proven() -> None:
    async def test() -> None:
        nothing: dict[str, Any] = {"processes": []}
        cluster, _ = cluster_of(Engine(), pause={}, resume={}, probe_process=nothing)
        handler = Processes(cluster).handlers()[Pause]
        pause = Pause(id="p", nodes=(1,), **TIMES)
        assert not (await handler.inject(pause)).verified
        assert cluster.pauses[1] == {"p"}
        cluster.may_end(1, "disk-full")
        assert (await handler.inject(pause)).verified
        assert (await handler.heal(pause)).verified and not cluster.pauses[1]

    asyncio.run(test())


@pytest.mark.parametrize("before", [True, False])
def test_the_end_of_a_pause_leaves_what_was_stopped_before(before: bool) -> None:
    async def test() -> None:
        stopped = {"threads": "T", "stopped_before": True} if before else {"threads": "T"}
        seen: dict[str, Any] = {"processes": [{"threads": "SS"}, stopped]}
        cluster, _ = cluster_of(Engine(), pause={}, resume={}, probe_process=seen)
        handler = Processes(cluster).handlers()[Pause]
        assert (await handler.heal(Pause(id="p", nodes=(1,), **TIMES))).verified == before

    asyncio.run(test())


# ----------------------------------------------------------------------------------- clocks


def with_clocks(
    test: Callable[[Cluster, dict[int, Agent], Clocks], Awaitable[None]], engine: Engine
) -> None:
    async def inside() -> None:
        cluster, agents = cluster_of(engine, clock={"began_ns": 1}, probe_clock=probe())
        await test(cluster, agents, Clocks(cluster))

    asyncio.run(inside())


@pytest.mark.parametrize("fault", [AHEAD, WRONG_AND_RIGHT], ids=["clock", "strobe"])
def test_a_clock_is_not_proven_where_no_process_was_looked_at(fault: Any) -> None:
    engine = Engine()

    async def test(cluster: Cluster, _: dict[int, Agent], clocks: Clocks) -> None:
        handler = clocks.handlers()[type(fault)]
        report = await handler.inject(fault)
        assert not report.verified and report.evidence["n1"]["no_process"]
        assert not (await handler.heal(fault)).verified, "it runs, says the engine"
        cluster.holds[1].add("kill")
        assert (await handler.inject(fault)).verified
        assert (await handler.heal(fault)).verified
        cluster.holds[1].clear()
        cluster.may_end(1, "disk-full")
        assert not (await handler.inject(fault)).verified, "it runs, says the engine"
        engine.running.clear()
        assert (await handler.inject(fault)).verified
        cluster.ends[1].clear()
        assert not (await handler.inject(fault)).verified
        assert (await handler.heal(fault)).verified, "what has ended has no false clock"

    with_clocks(test, engine)


def test_every_process_must_have_the_clock() -> None:
    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        handler = clocks.handlers()[ClockJump]
        agents[1].answers["probe_clock"] = probe(reading(5, HOUR_NS), reading(6, HOUR_NS))
        assert (await handler.inject(AHEAD)).verified
        without = reading(6, has_vdso=False)
        agents[1].answers["probe_clock"] = probe(reading(5, HOUR_NS), without)
        report = await handler.inject(AHEAD)
        assert not report.verified and report.evidence["n1"]["without_vdso"] == [6]
        agents[1].answers["probe_clock"] = probe(reading(5), without)
        assert (await handler.heal(AHEAD)).verified, "its clock was right all the time"

    with_clocks(test, Engine())


@pytest.mark.parametrize("own_time_namespace", [False, True])
def test_a_drift_in_another_time_namespace_is_not_proven(own_time_namespace: bool) -> None:
    """Its monotonic clock is measured from another zero: it would jump as well."""

    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        rate = round(0.1 * 2**32)
        seen = reading(5, 1, rate=rate, monotonic_rate=rate, own_time_namespace=own_time_namespace)
        agents[1].answers["probe_clock"] = probe(seen)
        drift = Drift(id="d", nodes=(1,), ppm=100_000, **TIMES)
        report = await clocks.handlers()[Drift].inject(drift)
        assert report.verified == (not own_time_namespace)

    with_clocks(test, Engine())


def test_a_small_offset_is_seen_to_be_missing() -> None:
    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        handler = clocks.handlers()[ClockJump]
        little = ClockJump(id="l", nodes=(1,), offset_us=1_000, **TIMES)
        agents[1].answers["probe_clock"] = probe(reading(5))
        assert not (await handler.inject(little)).verified
        agents[1].answers["probe_clock"] = probe(reading(5, 1_000_000))
        assert (await handler.inject(little)).verified
        assert not (await handler.inject(AHEAD)).verified, "the hour is missing"
        agents[1].answers["probe_clock"] = probe(reading(5, HOUR_NS))
        assert not (await handler.inject(AHEAD)).verified, "the millisecond is missing"
        agents[1].answers["probe_clock"] = probe(reading(5, HOUR_NS + 1_000_000))
        assert (await handler.inject(AHEAD)).verified
        assert not (await handler.heal(AHEAD)).verified

    with_clocks(test, Engine())


def test_what_a_rate_has_gained_is_compared_with_some_tolerance() -> None:
    """The two sides know to some microseconds only when it began."""

    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        handler = clocks.handlers()[Drift]
        drift = Drift(id="d", nodes=(1,), ppm=100_000, **TIMES)
        rate = round(0.1 * 2**32)
        running = reading(5, 1, rate=rate, monotonic_rate=rate, monotonic_ns=0)
        agents[1].answers["probe_clock"] = probe(running)
        assert (await handler.inject(drift)).verified
        gained_ns = 100_000_000
        agents[1].answers["clock"] = {"began_ns": 1 + 10 * gained_ns}
        for off_ns, proven in ((2_000_000, True), (20_000_000, False)):
            found = gained_ns + off_ns
            left = reading(5, found, monotonic_ns=found)
            agents[1].answers["probe_clock"] = probe(left)
            assert (await handler.heal(drift)).verified == proven
        agents[1].answers["probe_clock"] = probe(reading(5))
        assert not (await handler.heal(drift)).verified, "what was gained remains"

    with_clocks(test, Engine())


def test_little_that_a_rate_has_gained_remains_in_every_process() -> None:
    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        handler = clocks.handlers()[Drift]
        drift = Drift(id="d", nodes=(1,), ppm=100_000, **TIMES)
        await handler.inject(drift)
        gained_ns = 1_000_000
        agents[1].answers["clock"] = {"began_ns": 1 + 10 * gained_ns}
        agents[1].answers["probe_clock"] = probe(reading(5))
        assert not (await handler.heal(drift)).verified
        agents[1].answers["probe_clock"] = probe(reading(5, gained_ns, monotonic_ns=gained_ns))
        assert (await handler.heal(drift)).verified

    with_clocks(test, Engine())


@pytest.mark.parametrize(
    ("second", "proven"),
    [([0, HOUR_NS], True), ([0, 0], False), ([HOUR_NS, HOUR_NS], False), (None, True)],
    ids=["strobes, too", "never off", "never right", "has ended meanwhile"],
)
def test_a_strobe_is_seen_in_every_process(second: list[int] | None, proven: bool) -> None:
    looks = 0

    def look(**_: Any) -> dict[str, Any]:
        nonlocal looks
        looks += 1
        found = [reading(5, HOUR_NS * (looks % 2))]
        if second is not None:
            found.append(reading(6, second[looks % 2]))
        elif looks == 1:
            found.append(reading(6))
        return probe(*found)

    async def test(_: Cluster, agents: dict[int, Agent], clocks: Clocks) -> None:
        agents[1].answers["probe_clock"] = look
        report = await clocks.handlers()[Strobe].inject(WRONG_AND_RIGHT)
        assert report.verified == proven, report.evidence

    with_clocks(test, Engine())
