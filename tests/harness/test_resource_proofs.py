"""Proofs of limits on processor and memory, with a kernel that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from faults.kinds.memory import MemoryPressure
from faults.kinds.slow_cpu import SlowCpu
from harness.errors import EngineError
from harness.runtimes.docker import limits
from harness.runtimes.docker.injectors import resources as resources_module
from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.injectors.resources import Resources
from harness.runtimes.interface import FaultReport
from tests.harness.injector_fakes import Engine, cluster_of

TIMES: dict[str, Any] = {"nodes": (1,), "start_us": 0, "duration_us": 1_000_000}
SLOW = SlowCpu(id="a", percent=50, **TIMES)
SLOWER = SlowCpu(id="b", percent=20, **TIMES)
PRESSURE = MemoryPressure(id="m", spare_kib=256, **TIMES)


class Container(Engine):
    """n1's. `quota_us` is what the kernel has, `shown_us` what the engine shows."""

    def __init__(self) -> None:
        super().__init__()
        self.quota_us = self.shown_us = 0
        self.period_us = 0
        self.swap = 0
        self.enforces = True
        self.stands_still = False
        self.periods = self.used_ns = 0
        self.used_bytes = 20 << 20
        self.limit = 0
        self.asked_limits: list[int] = []
        self.refusals: Iterator[EngineError | None] = iter(())
        self.code, self.oom = 0, False
        self.updates = 0
        self.at_update: Callable[[], None] = lambda: None

    def limit_cpu(self, _: Any, __: str, quota_us: int, period_us: int) -> int:
        self.at_update()
        self.updates += 1
        self.shown_us, self.period_us = quota_us, period_us
        if self.enforces:
            self.quota_us = quota_us
        return 1

    def limit_memory(self, _: Any, __: str, limit: int, swap: int) -> int:
        self.asked_limits.append(limit)
        if (error := next(self.refusals, None)) is not None:
            raise error
        self.limit, self.swap = limit, swap
        return 1

    def limits_of(self, *_: Any) -> limits.Limits:
        return limits.Limits(self.shown_us, self.period_us, 0, self.limit, self.swap)

    def stats(self, _: Any, __: str) -> dict[str, Any]:
        """The kernel's accounting a period later."""
        runs = 1 in self.running and not self.stands_still
        self.used_ns += runs * 1_000_000
        self.periods += runs and self.quota_us > 0
        self.used_bytes += 1 << 20
        memory = {"usage": self.used_bytes, "limit": self.limit} if 1 in self.running else {}
        return {
            "cpu_stats": {
                "throttling_data": {"periods": self.periods},
                "cpu_usage": {"total_usage": self.used_ns},
            },
            "memory_stats": memory,
        }

    def state(self, _: Any, __: str) -> dict[str, Any]:
        return {"Running": 1 in self.running, "ExitCode": self.code, "OOMKilled": self.oom}

    def end(self, code: int, *, oom: bool = False, log: str = "") -> None:
        self.running.discard(1)
        self.code, self.oom, self.log = code, oom, log


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container()
    for name in ("limit_cpu", "limit_memory", "limits_of", "stats", "state"):
        monkeypatch.setattr(limits, name, getattr(made, name))
    monkeypatch.setattr(resources_module, "ACCOUNTED_EVERY_S", 0.0)
    return made


Test = Callable[[Cluster, Resources], Awaitable[None]]


def run(container: Container, test: Test, *, managed: bool = True) -> None:
    answers: dict[str, Any] = {"await_process": {"pid": 9}, "await_disk": {}} if managed else {}

    async def inside() -> None:
        cluster, _ = cluster_of(container, **answers)
        await test(cluster, Resources(cluster, Processes(cluster), managed=managed))

    asyncio.run(inside())


async def slow(resources: Resources, fault: SlowCpu) -> FaultReport:
    return await resources.handlers()[SlowCpu].inject(fault)


async def heal(resources: Resources, fault: SlowCpu | MemoryPressure) -> FaultReport:
    return await resources.handlers()[type(fault)].heal(fault)


def test_two_changes_of_a_quota_come_one_after_the_other(container: Container) -> None:
    """The end of one fault, which takes longer at the engine, and the beginning of another."""

    async def test(_: Cluster, resources: Resources) -> None:
        assert (await slow(resources, SLOW)).verified
        loop, second = asyncio.get_running_loop(), []

        def begin_another() -> None:
            async def begin() -> None:
                second.append(asyncio.create_task(slow(resources, SLOWER)))
                await asyncio.sleep(0.2)  # enough for it to get to the engine, if it may

            container.at_update = lambda: None
            asyncio.run_coroutine_threadsafe(begin(), loop).result(10)

        container.at_update = begin_another
        healed = await heal(resources, SLOW)
        assert healed.verified and healed.evidence["n1"]["quota_us"] == -1
        report = await second[0]
        assert report.verified and report.evidence["n1"]["quota_us"] == 20_000
        assert container.quota_us == 20_000

    run(container, test)


@pytest.mark.parametrize("node_runs", [True, False])
def test_periods_are_counted_under_a_quota_and_no_longer_afterwards(
    container: Container, node_runs: bool
) -> None:
    async def test(_: Cluster, resources: Resources) -> None:
        assert (await slow(resources, SLOW)).evidence["n1"]["kernel_counts_periods"] is True
        container.stands_still = not node_runs
        healed = await heal(resources, SLOW)
        assert healed.verified
        counts = healed.evidence["n1"].get("kernel_counts_periods")
        assert counts is (False if node_runs else None)

    run(container, test)


def test_a_quota_that_the_kernel_does_not_take_or_keeps_is_not_proven(
    container: Container,
) -> None:
    async def test(_: Cluster, resources: Resources) -> None:
        container.enforces = False
        assert not (await slow(resources, SLOW)).verified
        container.enforces = True
        assert (await slow(resources, SLOW)).verified
        container.enforces = False
        report = await heal(resources, SLOW)
        assert not report.verified
        assert report.evidence["n1"] == {
            "quota_us": -1,
            "period_us": limits.PERIOD_US,
            "kernel_counts_periods": True,
        }

    run(container, test)


@pytest.mark.parametrize(
    ("quota_us", "period_us", "meanwhile_us"),
    [(80_000, 0, 50_000), (20_000, 50_000, 40_000), (20_000, 100_000, 20_000)],
)
def test_a_quota_of_a_container_that_had_one_is_that_again(
    container: Container, quota_us: int, period_us: int, meanwhile_us: int
) -> None:
    """And meanwhile the smaller one counts, of one period."""

    async def test(_: Cluster, resources: Resources) -> None:
        container.quota_us = container.shown_us = quota_us
        container.period_us = period_us
        report = await slow(resources, SLOW)
        assert report.verified
        assert (container.quota_us, container.period_us) == (meanwhile_us, limits.PERIOD_US)
        report = await heal(resources, SLOW)
        assert report.verified and report.evidence["n1"]["quota_us"] == quota_us
        assert (container.quota_us, container.period_us) == (quota_us, period_us or 100_000)

    run(container, test)


@pytest.mark.parametrize(
    ("memory", "swap", "restored"),
    [
        (30 << 20, 1 << 30, 1 << 30),
        (30 << 20, -1, -1),
        (1 << 30, 1 << 30, 1 << 30),
        (1 << 30, 0, 2 << 30),
        (0, 0, limits.NO_LIMIT),
    ],
)
def test_a_memory_limit_is_not_loosened_and_is_restored_with_its_swap(
    container: Container, memory: int, swap: int, restored: int
) -> None:
    async def test(_: Cluster, resources: Resources) -> None:
        container.limit, container.swap = memory, swap
        pressure = MemoryPressure(id="m", spare_kib=64 << 10, **TIMES)
        assert (await resources.handlers()[MemoryPressure].inject(pressure)).verified
        asked = container.used_bytes - (1 << 20) + (64 << 20)
        assert container.limit == min(memory or asked, container.limit) <= asked
        assert container.swap == container.limit
        assert (await heal(resources, pressure)).verified
        assert (container.limit, container.swap) == (memory or limits.NO_LIMIT, restored)

    run(container, test)


@pytest.mark.parametrize("oom", [True, False])
def test_a_container_of_others_is_started_again_only_if_the_kernel_killed_it(
    container: Container, oom: bool
) -> None:
    """No process is waited for: its agent would see none."""

    async def test(_: Cluster, resources: Resources) -> None:
        assert (await resources.handlers()[MemoryPressure].inject(PRESSURE)).verified
        container.end(137, oom=oom)
        report = await heal(resources, PRESSURE)
        assert report.verified is oom and (1 in container.running) is oom
        assert report.evidence["n1"].get("started_again") == ({"running": True} if oom else None)
        if not oom:
            assert report.problem == (
                "n1 ended by itself (exit code 137), not for want of memory; it is not started "
                "again"
            )

    run(container, test, managed=False)


def test_a_node_that_another_fault_has_stopped_needs_no_processor(container: Container) -> None:
    async def test(cluster: Cluster, resources: Resources) -> None:
        container.stands_still = True
        assert not (await slow(resources, SLOW)).verified
        cluster.pauses[1].add("pause")
        assert (await slow(resources, SLOW)).verified
        cluster.pauses[1].clear()
        cluster.may_end(1, "disk-full")
        assert not (await slow(resources, SLOW)).verified, "it runs, says the engine"
        container.end(4)
        assert (await slow(resources, SLOW)).verified

    run(container, test)


# ----------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("code", "oom", "log", "proven"),
    [
        (137, True, "", True),
        (137, False, "", True),
        (1, False, "Traceback (most recent call last):\nMemoryError\n", True),
        (4, False, '{"event":"disk-error","why":"[Errno 12] ...","errno":12}', True),
        (2, False, "fatal error: runtime: out of memory\n" + 50 * "goroutine\n", True),
        (70, False, '{"event":"bug","why":"KeyError(5)"}', False),
        (1, False, "(no log)", False),
        (139, False, "", False),
    ],
)
def test_the_end_of_a_node_under_a_memory_limit_must_be_for_want_of_memory(
    container: Container, code: int, oom: bool, log: str, proven: bool
) -> None:
    async def test(_: Cluster, resources: Resources) -> None:
        assert (await resources.handlers()[MemoryPressure].inject(PRESSURE)).verified
        container.end(code, oom=oom, log=log)
        report = await heal(resources, PRESSURE)
        assert report.verified == proven, report
        seen = report.evidence["n1"]
        assert seen["killed_for_memory"] == oom and seen["ended_with"] == code
        assert seen["started_again"] == {"pid": 9} and container.running == {1, 2, 3}
        if not proven:
            assert report.problem is not None
            assert report.problem.startswith(f"n1 ended by itself (exit code {code})")

    run(container, test)


def test_the_end_of_a_node_under_a_memory_limit_may_have_another_fault_as_its_cause(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(cluster: Cluster, resources: Resources) -> None:
        await resources.handlers()[MemoryPressure].inject(PRESSURE)
        cluster.may_end(1, "disk-full")
        container.end(4, log="[Errno 28] No space left on device")
        assert (await heal(resources, PRESSURE)).verified
        assert cluster.why_down(1) == ["disk-full", "m"], "it may still end for want of memory"
        monkeypatch.setattr(resources_module, "LATE_S", 0.0)
        await heal(resources, PRESSURE)
        assert cluster.why_down(1) == ["disk-full"]

    run(container, test)


def test_a_node_that_had_ended_before_gets_no_memory_limit(container: Container) -> None:
    async def test(cluster: Cluster, resources: Resources) -> None:
        inject = resources.handlers()[MemoryPressure].inject
        container.end(70)
        report = await inject(PRESSURE)
        assert report.problem == "n1 used no memory: it had ended by itself before"
        cluster.holds[1].add("kill")
        assert (await inject(PRESSURE)).verified

    run(container, test)


BELOW_USAGE = EngineError("limiting: runc: unable to set memory limit to 1 (current usage: 2)")


def test_a_limit_that_is_below_what_is_used_by_now_is_drawn_again(container: Container) -> None:
    """A node that allocates memory between the look and the limit."""
    container.refusals = iter([BELOW_USAGE, BELOW_USAGE])

    async def test(_: Cluster, resources: Resources) -> None:
        assert (await resources.handlers()[MemoryPressure].inject(PRESSURE)).verified
        first, second, third = container.asked_limits
        assert first < second < third == container.limit

    run(container, test)


@pytest.mark.parametrize(
    ("refusals", "tries"), [([EngineError("no such container")], 1), ([BELOW_USAGE] * 9, 5)]
)
def test_other_refusals_of_a_limit_are_errors(
    container: Container, refusals: list[EngineError], tries: int
) -> None:
    container.refusals = iter(refusals)

    async def test(_: Cluster, resources: Resources) -> None:
        with pytest.raises(EngineError):
            await resources.handlers()[MemoryPressure].inject(PRESSURE)

    run(container, test)
    assert len(container.asked_limits) == tries
