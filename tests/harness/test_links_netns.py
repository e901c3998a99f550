"""Faults of links from the injector to the wire and back: agents in network namespaces, without an
engine. Real effects must be shown, alone and beside one another."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.corrupt import Corrupt
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.kinds.reorder import Reorder
from faults.shapes import cut_for
from harness.runtimes.docker.agents import AgentError
from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.injectors.network import Network
from harness.runtimes.interface import FaultReport
from tests.faults.agent.pods import Agent, pods

pytestmark = pytest.mark.netns
NODES = (1, 2, 3)
_nonces = itertools.count(1, 1_000)
TIMES: dict[str, Any] = {"start_us": 0, "duration_us": 1}
FIRST: dict[str, Any] = {**TIMES, "nodes": (1,), "direction": "out"}

LATE = Delay(id="late", **FIRST, delay_us=50_000, jitter_us=20_000)
LOSSY = Loss(id="lossy", **FIRST, percent=2)
CORRUPT = Corrupt(id="corrupt", **FIRST, percent=10)
COPIES = Duplicate(id="copies", **FIRST, percent=5, spread_us=50_000)
DISORDER = Reorder(id="disorder", **FIRST, percent=5, window_us=5_000)
SLOW = Rate(id="slow", **FIRST, kbps=512)
SLOWEST = Rate(id="slowest", **FIRST, kbps=64)
CUT = Partition(id="cut", **TIMES, nodes=(2,), shape="isolate", cut=cut_for("isolate", (2,), NODES))


class Conversation:
    """An agent whose requests are answered in threads, as the injectors ask it; of those that
    affect links, addresses with the text `without` are removed."""

    def __init__(self, agent: Agent, without: str = "") -> None:
        self._agent = agent
        self._without = without
        self._lock = threading.Lock()

    async def call(self, do: str, timeout_s: float = 0.0, **what: Any) -> dict[str, Any]:
        del timeout_s
        for kind in ("loss", "shapes") if self._without else ():
            kept = {a: it for a, it in what.get(kind, {}).items() if self._without not in a}
            what |= {kind: kept} if kind in what else {}
        return await asyncio.to_thread(self._ask, do, what)

    def _ask(self, do: str, what: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            answer = self._agent.ask(do, **what)
        if not answer["ok"]:
            raise AgentError(answer["error"])
        return dict(answer)


@pytest.fixture(scope="module")
def three() -> Iterator[list[Agent]]:
    with pods(3) as agents:
        yield agents


def network_of(agents: list[Agent], without: str = "") -> Network:
    told: Any = {
        node: Conversation(agent, without) for node, agent in zip(NODES, agents, strict=True)
    }
    pods: Any = {node: SimpleNamespace(gateway="") for node in NODES}
    engine: Any = None
    ask: Any = None
    network = Network(Cluster(engine, pods, told, ask, lambda: 0))
    network._nonce = network._rounds._nonce = next(_nonces)  # agents remember earlier ones
    return network


def reports_of(
    agents: list[Agent], faults: Sequence[Fault], without: str = ""
) -> list[FaultReport]:
    """Of these faults, injected one after the other and healed in the same order."""

    async def inside() -> list[FaultReport]:
        network = network_of(agents, without)
        await network.prepare(shaping=True)
        handlers = network.handlers()
        reports = [await handlers[type(fault)].inject(fault) for fault in faults]
        return reports + [await handlers[type(fault)].heal(fault) for fault in faults]

    return asyncio.run(inside())


@pytest.mark.parametrize(
    "faults",
    [
        [LATE, CUT],
        [LOSSY, CORRUPT, CUT],
        [COPIES, DISORDER],
        [SLOW, LATE],
        [LOSSY, SLOW],
        [SLOWEST, COPIES],
        [SLOWEST, LOSSY],
        [DISORDER, CORRUPT, SLOW],
    ],
    ids=lambda faults: "+".join(fault.id for fault in faults),
)
def test_effects_are_shown_alone_and_together(three: list[Agent], faults: list[Fault]) -> None:
    reports = reports_of(three, faults)
    assert [report.problem for report in reports] == [None] * len(reports)
    assert all(report.verified for report in reports)


@pytest.mark.parametrize("fault", [LATE, COPIES, SLOW], ids=lambda fault: fault.id)
@pytest.mark.parametrize("address", ["10.98", "fd98"])
def test_an_effect_that_one_of_the_addresses_lacks_is_detected(
    three: list[Agent], fault: Fault, address: str
) -> None:
    """A node has several: of IPv4 and IPv6, of several networks."""
    injected, _ = reports_of(three, [fault], without=address)
    assert not injected.verified, injected.evidence


def inside(agent: Agent, *words: str) -> None:
    subprocess.run(["nsenter", f"--net=/proc/{agent.pid}/ns/net", "ip", *words], check=True)


@pytest.mark.parametrize("fault", [LATE, CUT], ids=lambda fault: fault.id)
def test_addresses_that_a_node_gets_between_and_during_faults(fault: Fault) -> None:
    """As one that follows the leader: a cut covers it, by its hardware address; nothing else does.
    Nor does anything cover an interface that is added."""

    async def during(agents: list[Agent]) -> None:
        network = network_of(agents)
        await network.prepare(shaping=True)
        handler = network.handlers()[type(fault)]

        async def report(*change: str) -> tuple[FaultReport, FaultReport]:
            injected = await handler.inject(fault)
            assert injected.verified, injected.problem
            inside(agents[1], *change)
            return injected, await handler.heal(fault)

        inside(agents[1], "addr", "add", "10.98.0.77/24", "dev", "eth0")
        _, healed = await report("addr", "add", "10.98.0.88/24", "dev", "eth0")
        assert "10.98.0.77" in network._known[2].routed
        assert "10.98.0.88" in (healed.problem or "") if fault is LATE else healed.verified
        _, healed = await report("addr", "del", "10.98.0.77/24", "dev", "eth0")
        assert healed.verified, healed.problem
        inside(agents[1], "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
        _, healed = await report("link", "set", "eth1", "up")
        assert "n2 has had other addresses" in (healed.problem or "")
        inside(agents[1], "link", "del", "eth1")
        await handler.inject(fault)
        inside(agents[1], "addr", "del", "10.98.0.88/24", "dev", "eth0")
        inside(agents[2], "addr", "add", "10.98.0.88/24", "dev", "eth0")
        assert "n3 has had other addresses" in ((await handler.heal(fault)).problem or "")

    with pods(3) as agents:
        asyncio.run(during(agents))


def test_the_addresses_that_are_measured_are_those_that_are_used_now() -> None:
    async def during(agents: list[Agent]) -> None:
        network = network_of(agents)
        await network.prepare(shaping=True)
        handler, cut = network.handlers()[Delay], network.handlers()[Partition]

        async def checked() -> list[str]:
            for report in (await handler.inject(LATE), await handler.heal(LATE)):
                assert report.verified, report.problem
            return [address for address in network._routes[1, 2] if address.startswith("fd96")]

        await cut.inject(CUT)
        for agent, address in zip(agents, ("fd96::1/64", "fd96::2/64"), strict=False):
            inside(agent, "addr", "add", address, "dev", "eth0", "nodad")
        await handler.inject(LATE)
        await handler.heal(LATE)
        await cut.heal(CUT)
        assert await checked() == ["fd96::2"]
        inside(agents[1], "addr", "del", "fd96::2/64", "dev", "eth0")
        assert await checked() == []

    with pods(3) as agents:
        asyncio.run(during(agents))
