"""Partitions: all agents change their filters at one time, and probe every link.

Partitions compose: what the network must look like is the union of the active ones, and every
change sets it whole, on every agent, at one monotonic time a few milliseconds ahead. Then every
agent sends probes to every other, and the directed matrix of what arrived must be the one wanted.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from faults.description import Link
from faults.kinds.partition import Partition, links_cut
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.interface import FaultReport

AHEAD_NS: Final = 6_000_000
"""How far ahead the common time lies: longer than it takes to tell every agent."""
LISTEN_MS: Final = 60
"""How long a cut link is listened on before it counts as cut."""
PROBE_ROUNDS: Final = 3


class Network:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._partitions: dict[str, Partition] = {}
        self._lock = asyncio.Lock()
        self._nonce = 0

    def handlers(self) -> Handlers:
        return {Partition: Handler(self._partition, self._rejoin, "links")}

    async def _partition(self, fault: Partition) -> FaultReport:
        async with self._lock:
            self._partitions[fault.id] = fault
            return await self._set_network()

    async def _rejoin(self, fault: Partition) -> FaultReport:
        async with self._lock:
            self._partitions.pop(fault.id, None)
            return await self._set_network()

    async def _set_network(self) -> FaultReport:
        cut = links_cut(self._partitions.values())
        at_ns = time.monotonic_ns() + AHEAD_NS

        async def tell(node: int, agent: Agent) -> tuple[int, int]:
            drop_to = [self._cluster.pods[b].address for a, b in sorted(cut) if a == node]
            answer = await agent.call("links", drop_to=drop_to, at_ns=at_ns)
            return node, self._cluster.since_zero_ns(answer["done_ns"])

        moments = dict(await asyncio.gather(*(tell(n, a) for n, a in self._cluster.agents.items())))
        arrived = await self._probe(cut)
        wanted = self._all_links() - cut
        wrong = sorted(arrived ^ wanted)
        spread_us = (max(moments.values()) - min(moments.values())) // 1000
        return FaultReport(
            moments,
            verified=not wrong,
            evidence={
                "probes_arrived": len(arrived),
                "probes_lost": len(cut),
                "links": self._matrix(arrived),
                "spread_us": spread_us,
            },
            problem=self._explain(wrong, cut) if wrong else None,
        )

    async def _probe(self, cut: frozenset[Link]) -> frozenset[Link]:
        """The directed links on which probes arrived; asks again while an open one is silent."""
        arrived: set[Link] = set()
        for _ in range(PROBE_ROUNDS):
            self._nonce += 1
            answers = await asyncio.gather(
                *(self._probe_one(node, cut) for node in self._cluster.agents)
            )
            arrived = {link for links in answers for link in links}
            if arrived >= self._all_links() - cut:
                break
        return frozenset(arrived)

    async def _probe_one(self, node: int, cut: frozenset[Link]) -> list[Link]:
        peers = {str(n): p.address for n, p in self._cluster.pods.items() if n != node}
        expect = [n for n in self._cluster.pods if n != node and (n, node) not in cut]
        answer = await self._cluster.agents[node].call(
            "probe_links", peers=peers, expect=expect, nonce=self._nonce, listen_ms=LISTEN_MS
        )
        return [(int(source), node) for source in answer["arrived"]]

    def _all_links(self) -> frozenset[Link]:
        return frozenset((a, b) for a in self._cluster.pods for b in self._cluster.pods if a != b)

    def _matrix(self, arrived: frozenset[Link]) -> dict[str, str]:
        """Per node whom its probes reached, such as {"n1": "n2 n3"}."""
        return {
            f"n{a}": " ".join(f"n{b}" for b in sorted(self._cluster.pods) if (a, b) in arrived)
            for a in sorted(self._cluster.pods)
        }

    def _explain(self, wrong: list[Link], cut: frozenset[Link]) -> str:
        words = [
            f"n{a} to n{b} is {'open' if (a, b) in cut else 'silent'} and should not be"
            for a, b in wrong
        ]
        return "; ".join(words)
