"""Carries faults out through the agents, all at one moment, and proves that they took effect.

Partitions compose: what the network must look like is the union of the active ones, and every
change sets it whole, on every agent, at one monotonic instant a few milliseconds ahead. Then every
agent sends probes to every other, and the directed matrix of what arrived must be the one wanted.
Kills, pauses and clocks are proved by what /proc, the engine, and the node's own clock say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from faults.description import Fault, Link, UnsupportedFault
from faults.kinds.clock import ClockJump
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition, links_cut
from faults.kinds.pause import Pause
from harness.errors import HarnessError
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.interface import FaultReport

AHEAD_NS: Final = 6_000_000
"""How far ahead the common moment lies: longer than it takes to tell every agent."""
LISTEN_MS: Final = 60
"""How long a cut link is listened on before it counts as cut."""
PROBE_ROUNDS: Final = 3
CLOCK_TOLERANCE_NS: Final = 50_000_000
"""A node's own clock is read through a request; that takes time on a busy machine."""

Clock = Callable[[int], Awaitable[int | None]]
"""node -> how far its CLOCK_REALTIME is off the host's, in ns, by its own word; None: no answer."""


class Nemesis:
    """`inject` and `heal` for every fault that containers can have."""

    def __init__(
        self,
        engine: PodEngine,
        pods: dict[int, Pod],
        agents: dict[int, Agent],
        ask_clock: Clock,
        zero_ns: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._pods = pods
        self._agents = agents
        self._ask_clock = ask_clock
        self._zero_ns = zero_ns
        self._partitions: dict[str, Partition] = {}
        self._clocks: dict[int, dict[str, int]] = {}
        self._network = asyncio.Lock()
        self._processes = {node: asyncio.Lock() for node in pods}
        self._nonce = 0

    async def inject(self, fault: Fault) -> FaultReport:
        """Raises UnsupportedFault; every other failure is in the report."""
        return await self._carry_out(fault, self._injectors(), "inject")

    async def heal(self, fault: Fault) -> FaultReport:
        return await self._carry_out(fault, self._healers(), "heal")

    def _injectors(self) -> dict[type[Fault], Callable[[Any], Coroutine[Any, Any, FaultReport]]]:
        return {
            Partition: self._partition,
            Kill: lambda f: self._each(f, self._kill),
            Pause: lambda f: self._each(f, self._pause),
            ClockJump: lambda f: self._each(f, lambda n: self._clock(f, n, f.offset_us * 1000)),
        }

    def _healers(self) -> dict[type[Fault], Callable[[Any], Coroutine[Any, Any, FaultReport]]]:
        return {
            Partition: self._rejoin,
            Kill: lambda f: self._each(f, self._restart),
            Pause: lambda f: self._each(f, self._resume),
            ClockJump: lambda f: self._each(f, lambda n: self._clock(f, n, 0)),
        }

    async def _carry_out(
        self,
        fault: Fault,
        table: dict[type[Fault], Callable[[Any], Coroutine[Any, Any, FaultReport]]],
        what: str,
    ) -> FaultReport:
        if type(fault) not in table:
            raise UnsupportedFault(
                f"containers cannot have a {fault.kind!r} fault yet; the simulator can: --on sim"
            )
        try:
            return await table[type(fault)](fault)
        except HarnessError as error:
            return FaultReport({}, verified=False, problem=f"{what}: {error}")

    async def _each(
        self, fault: Fault, act: Callable[[int], Awaitable[FaultReport]]
    ) -> FaultReport:
        """The same act on each of the fault's nodes at once; one report."""
        nodes = [int(node) for node in fault.nodes]
        reports = await asyncio.gather(*(act(node) for node in nodes))
        problems = [r.problem for r in reports if r.problem]
        return FaultReport(
            {n: ns for r in reports for n, ns in r.moments_ns.items()},
            verified=all(r.verified for r in reports),
            evidence={f"n{n}": r.evidence for n, r in zip(nodes, reports, strict=True)},
            problem="; ".join(problems) or None,
        )

    # ------------------------------------------------------------------ the network

    async def _partition(self, fault: Partition) -> FaultReport:
        async with self._network:
            self._partitions[fault.id] = fault
            return await self._set_network()

    async def _rejoin(self, fault: Partition) -> FaultReport:
        async with self._network:
            self._partitions.pop(fault.id, None)
            return await self._set_network()

    async def _set_network(self) -> FaultReport:
        cut = links_cut(self._partitions.values())
        at_ns = time.monotonic_ns() + AHEAD_NS

        async def tell(node: int, agent: Agent) -> tuple[int, int]:
            drop_to = [self._pods[b].address for a, b in sorted(cut) if a == node]
            answer = await agent.call("links", drop_to=drop_to, at_ns=at_ns)
            return node, answer["done_ns"] - self._zero_ns()

        moments = dict(await asyncio.gather(*(tell(n, a) for n, a in self._agents.items())))
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
            answers = await asyncio.gather(*(self._probe_one(node, cut) for node in self._agents))
            arrived = {link for links in answers for link in links}
            if arrived >= self._all_links() - cut:
                break
        return frozenset(arrived)

    async def _probe_one(self, node: int, cut: frozenset[Link]) -> list[Link]:
        peers = {str(n): p.address for n, p in self._pods.items() if n != node}
        expect = [n for n in self._pods if n != node and (n, node) not in cut]
        answer = await self._agents[node].call(
            "probe_links", peers=peers, expect=expect, nonce=self._nonce, listen_ms=LISTEN_MS
        )
        return [(int(source), node) for source in answer["arrived"]]

    def _all_links(self) -> frozenset[Link]:
        return frozenset((a, b) for a in self._pods for b in self._pods if a != b)

    def _matrix(self, arrived: frozenset[Link]) -> dict[str, str]:
        """Per node whom its probes reached, such as {"n1": "n2 n3"}."""
        return {
            f"n{a}": " ".join(f"n{b}" for b in sorted(self._pods) if (a, b) in arrived)
            for a in sorted(self._pods)
        }

    def _explain(self, wrong: list[Link], cut: frozenset[Link]) -> str:
        words = [
            f"n{a} to n{b} is {'open' if (a, b) in cut else 'silent'} and should not be"
            for a, b in wrong
        ]
        return "; ".join(words)

    # ------------------------------------------------------------------ processes

    async def _kill(self, node: int) -> FaultReport:
        async with self._processes[node]:
            answer = await self._agents[node].call("kill")
            gone = await asyncio.to_thread(self._engine.await_exit, self._pods[node])
        return FaultReport(
            {node: answer["done_ns"] - self._zero_ns()},
            verified=gone,
            evidence={"killed": answer.get("pids", []), "engine": "exited" if gone else "running"},
            problem=None if gone else f"the engine still shows n{node} as running",
        )

    async def _restart(self, node: int) -> FaultReport:
        async with self._processes[node]:
            pod, agent = self._pods[node], self._agents[node]
            _, answer = await asyncio.gather(
                asyncio.to_thread(self._engine.start_node, pod),
                agent.call("await_process", timeout_s=15.0),
            )
        return FaultReport(
            {node: answer["done_ns"] - self._zero_ns()},
            verified=True,
            evidence={k: answer[k] for k in ("pid", "pids", "clock") if k in answer},
        )

    async def _pause(self, node: int) -> FaultReport:
        return await self._signal(node, "pause", "T")

    async def _resume(self, node: int) -> FaultReport:
        return await self._signal(node, "resume", "")

    async def _signal(self, node: int, do: str, wanted: str) -> FaultReport:
        async with self._processes[node]:
            answer = await self._agents[node].call(do)
            probe = await self._agents[node].call("probe_process")
        states = [p["state"] for p in probe["processes"]]
        right = bool(states) and all(
            (s == wanted) if wanted else s not in ("T", "t") for s in states
        )
        return FaultReport(
            {node: answer["done_ns"] - self._zero_ns()},
            verified=right,
            evidence={"states": states},
            problem=None if right else f"after {do} n{node}'s processes are in states {states}",
        )

    # ------------------------------------------------------------------ clocks

    async def _clock(self, fault: ClockJump, node: int, offset_ns: int) -> FaultReport:
        async with self._processes[node]:
            active = self._clocks.setdefault(node, {})
            if offset_ns:
                active[fault.id] = offset_ns
            else:
                active.pop(fault.id, None)
            wanted = sum(active.values())
            answer = await self._agents[node].call("clock", offset_ns=wanted)
            probe = await self._agents[node].call("probe_clock")
            own = await self._ask_clock(node)
        off = [p["offset_ns"] for p in probe["processes"]]
        told_ok = own is None or abs(own - wanted) < CLOCK_TOLERANCE_NS
        right = all(o == wanted for o in off) and told_ok
        evidence: dict[str, Any] = {"patched_offset_ns": off, "wanted_offset_ns": wanted}
        if own is not None:
            evidence["node_says_offset_ns"] = own
        return FaultReport(
            {node: answer["done_ns"] - self._zero_ns()},
            verified=right,
            evidence=evidence,
            problem=None if right else f"n{node}'s clock should be {wanted} ns off: {evidence}",
        )
