"""How injectors prove faults: of links, several changes together; of a disk, all that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.delay import Delay
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.shapes import cut_for
from harness.errors import HarnessError
from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.injectors.disks import Wanted
from harness.runtimes.docker.injectors.link_proofs import DISTURBED_MAX, Measured, of_fault
from harness.runtimes.docker.injectors.network import GROUPS, Network
from harness.runtimes.interface import FaultReport

NODES = (1, 2, 3)
FULL = {"error": "ENOSPC", "fsync_us": [900]}
HANGS = {"error": "hangs", "after_ms": 300}
FULL_HANGS = {"error": "ENOSPC", "fsync_us": [], "after_ms": 300}
GOOD = {"error": None, "fsync_us": [300, 200]}
SLOW = {"error": None, "fsync_us": [9_000]}


@pytest.mark.parametrize(
    ("wanted", "looks"),
    [
        (Wanted(0, False, None), (GOOD, SLOW)),
        (Wanted(5_000, False, None), (SLOW,)),
        (Wanted(0, False, 0), (FULL,)),
        (Wanted(5_000, False, 1_000), ({"error": "ENOSPC", "fsync_us": [6_000]},)),
        (Wanted(5_000, True, None), (HANGS,)),
        (Wanted(0, True, 0), (FULL_HANGS,)),
    ],
)
def test_a_probe_must_see_all_that_a_disk_has(
    wanted: Wanted, looks: tuple[dict[str, Any], ...]
) -> None:
    refused = [{"error": "EIO", "fsync_us": []}, {"error": None, "fsync_us": []}]
    for look in (GOOD, SLOW, FULL, HANGS, FULL_HANGS, *refused, *looks):
        assert wanted.is_shown_by(look) == (look in looks), look


class Agent:
    """Answers as the agent of a node whose links do what the rules say."""

    def __init__(self, pods: Pods, node: int) -> None:
        self.pods, self.node = pods, node

    async def call(self, do: str, **what: Any) -> dict[str, Any]:
        answer = getattr(self, do)(**what)
        return dict(await answer if asyncio.iscoroutine(answer) else answer)

    def addresses(self) -> dict[str, Any]:
        own = {"addresses": [f"10.0.0.{self.node}"], "hardware": ""}
        return {"interfaces": {"eth0": own}}

    def links(self, drop_to: list[str], at_ns: int, **_: Any) -> dict[str, Any]:
        self.pods.closed[self.node] = set(drop_to)
        problems, own = self.pods.take(self.node, "links"), self.addresses()["interfaces"]
        return {"done_ns": at_ns, "problems": problems, "addresses": own}

    def shape(self, shapes: dict[str, Any], at_ns: int, **_: Any) -> dict[str, Any]:
        if self.node == self.pods.refuses:
            raise HarnessError("no answer within 20 s")
        self.pods.shapes[self.node] = shapes
        return {"done_ns": at_ns, "failed": "".join(self.pods.take(self.node, "shape"))}

    def measure_links(self, **_: Any) -> dict[str, Any]:
        return {"links": {}}

    def collect_links(self, sources: dict[str, list[str]], **_: Any) -> dict[str, Any]:
        """Every link that is measured is silent."""
        return {"links": {peer: {"received": 0} for peer in sources}}

    async def probe_links(self, peers: dict[str, list[str]], **_: Any) -> dict[str, Any]:
        await self.pods.before_probing(self.node)
        own = f"10.0.0.{self.node}"
        arrived = [peer for peer in peers if own not in self.pods.closed[int(peer)]]
        sources = {peer: [f"10.0.0.{peer}"] for peer in arrived}
        return {"arrived": arrived, "sources": sources, "groups": dict.fromkeys(GROUPS, arrived)}


class Pods:
    """Three of them. While `blocked` is clear, probes wait; `probes` counts the rounds."""

    def __init__(self) -> None:
        self.closed: dict[int, set[str]] = {node: set() for node in NODES}
        self.shapes: dict[int, dict[str, Any]] = {}
        self.refuses = 0
        """The node whose agent does not answer to `shape`."""
        self.untold: dict[tuple[int, str], str] = {}
        """By node and request: a problem that its next answer tells."""
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.probes = 0
        self.problem: HarnessError | None = None
        self.during: Callable[[], Coroutine[Any, Any, None]] | None = None
        agents: Any = {node: Agent(self, node) for node in NODES}
        pods: Any = {node: SimpleNamespace(gateway="10.0.0.9") for node in NODES}
        engine: Any = None
        ask: Any = None
        self.cluster = Cluster(engine, pods, agents, ask, lambda: 0)
        self.network = Network(self.cluster)

    def take(self, node: int, request: str) -> list[str]:
        problem = self.untold.pop((node, request), None)
        return [problem] if problem else []

    async def before_probing(self, node: int) -> None:
        self.probes += node == 1
        await self.go_on.wait()
        if self.during is not None and node == 1:
            await self.during()
        if self.problem is not None:
            problem, self.problem = self.problem, None
            raise problem

    def inject(self, fault: Fault) -> asyncio.Task[Any]:
        return asyncio.create_task(self.network.handlers()[type(fault)].inject(fault))

    def heal(self, fault: Fault) -> asyncio.Task[Any]:
        return asyncio.create_task(self.network.handlers()[type(fault)].heal(fault))


def isolated(node: int) -> Partition:
    cut = cut_for("isolate", (node,), NODES)
    return Partition(
        id=f"f{node}", start_us=0, duration_us=1, nodes=(node,), shape="isolate", cut=cut
    )


LATE = Delay(id="late", start_us=0, duration_us=1, nodes=NODES, delay_us=50_000)
LOSSY = Loss(id="lossy", start_us=0, duration_us=1, nodes=NODES, percent=30)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def run(test: Callable[[Pods], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        pods = Pods()
        await pods.network.prepare(shaping=False)
        await test(pods)

    asyncio.run(inside())


def test_changes_during_a_proof_are_proven_together() -> None:
    async def test(pods: Pods) -> None:
        pods.go_on.clear()
        before = pods.probes
        first = pods.inject(isolated(1))
        await _until(lambda: pods.probes > before)
        others = [pods.inject(isolated(2)), pods.inject(isolated(3))]
        await _until(lambda: all(len(to) == 2 for to in pods.closed.values()))
        pods.go_on.set()
        reports = [await task for task in (first, *others)]
        assert all(report.verified for report in reports), reports
        assert max(report.evidence["together"] for report in reports) >= 2
        assert pods.probes - before <= 3, "the first was disturbed, and one more may have begun"
        assert reports[2].evidence["probes_lost"] == 6

    run(test)


def test_an_end_and_a_beginning_are_proven_together() -> None:
    async def test(pods: Pods) -> None:
        await pods.inject(isolated(1))
        pods.go_on.clear()
        before = pods.probes
        blocking = pods.inject(isolated(2))
        await _until(lambda: pods.probes > before)
        healed, injected = pods.heal(isolated(1)), pods.inject(isolated(3))
        await _until(lambda: len(pods.closed[3]) == 2)
        pods.go_on.set()
        reports = [await task for task in (blocking, healed, injected)]
        assert all(report.verified for report in reports)
        assert reports[1].evidence["links"] == {"n1": "", "n2": "", "n3": ""}
        assert (await pods.heal(isolated(2))).verified
        report = await pods.heal(isolated(3))
        assert report.evidence["links"] == {"n1": "n2 n3", "n2": "n1 n3", "n3": "n1 n2"}

    run(test)


def test_a_proof_that_is_always_disturbed_keeps_the_network_as_it_is_in_the_end() -> None:
    async def test(pods: Pods) -> None:
        changes: list[asyncio.Task[Any]] = []

        async def another_change() -> None:
            """At every round, as long as the network can be changed."""
            if len(changes) < 20:
                fault, healed = isolated(2), len(changes) % 2
                changes.append(pods.heal(fault) if healed else pods.inject(fault))
                await asyncio.sleep(0.03)

        pods.during = another_change
        report = await pods.inject(isolated(1))
        assert report.verified and report.evidence["rounds"] == DISTURBED_MAX + 1
        pods.during = None
        assert all([(await task).verified for task in changes])

    run(test)


def test_a_fault_is_told_of_its_own_links_and_its_class_of_messages_first() -> None:
    links = [(a, b) for a in NODES for b in NODES if a != b]
    measured: Measured = {(link, name): {} for name in ("", "Accept", "Nack") for link in links}
    times: dict[str, Any] = {"id": "f", "start_us": 0, "duration_us": 1}
    late = Delay(**times, nodes=(1,), direction="out", delay_us=1, message="Accept")
    assert list(of_fault(late, measured)) == [
        "n1 to n2, Accept",
        "n1 to n3, Accept",
        "n1 to n2",
        "n1 to n3",
    ]
    assert len(of_fault(isolated(1), measured)) == len(measured)


def test_where_a_proof_fails_the_changes_that_wait_are_proven_all_the_same() -> None:
    async def test(pods: Pods) -> None:
        pods.go_on.clear()
        before = pods.probes
        blocking = pods.inject(isolated(1))
        await _until(lambda: pods.probes > before)
        waiting = [pods.inject(isolated(2)), pods.inject(isolated(3))]
        await _until(lambda: len(pods.closed[3]) == 2)
        pods.problem = HarnessError("an agent does not answer")
        pods.go_on.set()
        with pytest.raises(HarnessError):
            await blocking
        assert all([(await task).verified for task in waiting])

    run(test)


def test_after_a_change_that_failed_on_one_node_healing_undoes_it_on_the_others() -> None:
    async def test(pods: Pods) -> None:
        pods.refuses = 1
        with pytest.raises(HarnessError, match="no answer"):
            await pods.inject(LATE)
        assert set(pods.shapes) == {2, 3}, "told before the error is raised"
        pods.refuses = 0
        await pods.heal(LATE)
        assert pods.shapes == {1: {}, 2: {}, 3: {}}

    run(test)


def test_the_end_of_a_partition_beside_a_loss_is_measured() -> None:
    """No link is untouched, so the probes show nothing: none has to pass."""

    async def test(pods: Pods) -> None:
        assert not (await pods.inject(LOSSY)).verified
        assert (await pods.inject(isolated(1))).evidence["measured"]
        healed = await pods.heal(isolated(1))
        assert not healed.verified and "0 of" in str(healed.problem)

    run(test)


@pytest.mark.parametrize("request_", ["links", "shape"])
def test_what_agents_tell_of_the_time_before_a_change_is_a_problem(request_: str) -> None:
    """A wire that has ended by an error, an interface that could not be filtered."""

    async def test(pods: Pods) -> None:
        await pods.inject(LATE)
        pods.untold[2, request_] = "the wire ended: OSError"
        report = await pods.heal(LATE)
        assert not report.verified and "n2: the wire ended" in str(report.problem)

    run(test)


def test_an_act_that_fails_on_one_node_has_ended_on_all_before_that_is_told() -> None:
    """Or healing comes before what it undoes."""
    ended: list[int] = []

    async def act(node: int) -> FaultReport:
        if node == 1:
            raise HarnessError("the container is just ending")
        await asyncio.sleep(0.05)
        ended.append(node)
        return FaultReport({}, verified=True)

    async def test(pods: Pods) -> None:
        with pytest.raises(HarnessError, match="just ending"):
            await pods.cluster.each(Kill(id="f", start_us=0, duration_us=1, nodes=NODES), act)
        assert ended == [2, 3]

    run(test)
