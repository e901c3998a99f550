"""Aimed faults: they wait for an event of the cluster's own activity, and then hit one node.

    after-send      the node has sent messages of a class: its agent sees the packets leave
    before-reply    the node answers a client: the answer is on its way (a packet cannot be seen
                    before it is sent), so the client may or may not get it
    elected         another node leads, by the nodes' own word
    log-line        the node's log has a line that contains a text

What then happens to the node is injected and verified as any fault of that kind, some milliseconds
after the moment. Where the moment does not come, that is a result and not a failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from faults.description import Fault, UnsupportedFault
from faults.kinds.aimed import Aimed
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.docker.injectors.log_lines import LogLines
from harness.runtimes.interface import FaultReport

LOOK_EVERY_S: Final = 0.02
GRACE_S: Final = 5.0
"""How much longer than asked an agent may take to say that nothing came."""
ACTIONS: Final[dict[str, type[Fault]]] = {
    "kill": Kill,
    "pause": Pause,
    "power": PowerCut,
    "isolate": Partition,
}


@dataclass(frozen=True)
class Sighting:
    """The moment has come, at this node; `seen`: how many of what was waited for."""

    node: int
    at_ns: int
    seen: int


class Triggers:
    """`handlers`: what injects the actions."""

    def __init__(self, cluster: Cluster, handlers: Handlers) -> None:
        self._cluster = cluster
        self._handlers = handlers
        self._injected: dict[str, Fault] = {}
        self._releases: dict[str, asyncio.Task[FaultReport]] = {}

    def handlers(self) -> Handlers:
        return {Aimed: Handler(self._wait_and_inject, self._release, "packets")}

    async def _wait_and_inject(self, fault: Aimed) -> FaultReport:
        action = self._handlers.get(ACTIONS[fault.action])
        if action is None:
            raise UnsupportedFault(
                f"{fault.id}: the action of an aimed fault cannot be {fault.action!r} in containers"
            )
        sighting = await self._await_moment(fault)
        if sighting is None:
            return FaultReport({}, verified=True, evidence={"struck": False})
        action_fault = self._action_on(fault, sighting.node)
        self._injected[fault.id] = action_fault
        report = await action.inject(action_fault)
        if fault.hold_us:
            self._releases[fault.id] = asyncio.create_task(self._release_later(fault))
        seen_ns = self._cluster.since_zero_ns(sighting.at_ns)
        moment_ns = report.moments_ns.get(sighting.node, seen_ns)
        evidence = {
            "struck": True,
            "node": sighting.node,
            "action": fault.action,
            "seen": sighting.seen,
            "struck_after_us": (moment_ns - seen_ns) // 1000,
        }
        return FaultReport(
            {sighting.node: moment_ns}, report.verified, evidence | report.evidence, report.problem
        )

    def _action_on(self, fault: Aimed, node: int) -> Fault:
        fields: dict[str, Any] = {"id": f"{fault.id}!", "start_us": 0, "duration_us": 0}
        fields |= {"shape": "isolate"} if fault.action == "isolate" else {}
        made = ACTIONS[fault.action](nodes=(node,), **fields)
        return made.resolve(node, sorted(self._cluster.pods))

    async def _release_later(self, fault: Aimed) -> FaultReport:
        await asyncio.sleep(fault.hold_us / 1e6)
        return await self._let_go(fault)

    async def _let_go(self, fault: Aimed) -> FaultReport:
        action_fault = self._injected.pop(fault.id, None)
        if action_fault is None:
            return FaultReport({}, verified=True, evidence={"struck": False})
        return await self._handlers[type(action_fault)].heal(action_fault)

    async def _release(self, fault: Aimed) -> FaultReport:
        """At the fault's end: the node may go on, if it may not already; then the report is that
        of its release."""
        releasing = self._releases.pop(fault.id, None)
        return await (self._let_go(fault) if releasing is None else releasing)

    # ------------------------------------------------------------------ moments

    async def _await_moment(self, fault: Aimed) -> Sighting | None:
        if fault.moment == "elected":
            return await self._await_election(fault)
        nodes = [int(n) for n in fault.nodes] or sorted(self._cluster.pods)
        if fault.moment == "log-line":
            return await self._await_line(fault, nodes)
        return await _first([self._await_packets(fault, node) for node in nodes])

    async def _await_packets(self, fault: Aimed, node: int) -> Sighting | None:
        timeout_s = fault.duration_us / 1e6
        what: dict[str, Any] = {"pattern": f'["{fault.message}",' if fault.message else ""}
        if fault.moment == "before-reply":
            what = {"pattern": "", "source_port": self._cluster.engine.client_port}
        answer = await self._cluster.agents[node].call(
            "await_packets",
            timeout_s=timeout_s + GRACE_S,
            **what,
            count=fault.count,
            within_s=timeout_s,
        )
        if not answer["matched"]:
            return None
        return Sighting(node, answer["done_ns"], answer["seen"])

    async def _await_election(self, fault: Aimed) -> Sighting | None:
        """Another node leads, or the same node with a higher term, for the `count`-th time."""
        deadline = time.monotonic() + fault.duration_us / 1e6
        known, seen = await self._cluster.ask_leader(), 0
        while time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            now = await self._cluster.ask_leader()
            if now is None or now == known:
                continue
            known, node = now, now[1]
            seen += 1
            if seen >= fault.count and (not fault.nodes or node in fault.nodes):
                return Sighting(node, time.monotonic_ns(), seen)
        return None

    async def _await_line(self, fault: Aimed, nodes: Sequence[int]) -> Sighting | None:
        pods, api = self._cluster.pods, self._cluster.engine.api
        logs = {n: LogLines(api, pods[n].node_id, fault.text, fault.count) for n in nodes}
        timeout_s = fault.duration_us / 1e6

        async def wait(node: int) -> Sighting | None:
            at_ns = await asyncio.to_thread(logs[node].wait, timeout_s)
            return None if at_ns is None else Sighting(node, at_ns, fault.count)

        try:
            return await _first([wait(node) for node in nodes])
        finally:
            for log in logs.values():
                log.close()


async def _first(waits: Sequence[Coroutine[Any, Any, Sighting | None]]) -> Sighting | None:
    """The first sighting of several that are waited for; None when none came."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        for done in asyncio.as_completed(tasks):
            if sighting := await done:
                return sighting
        return None
    finally:
        for task in tasks:
            task.cancel()
