"""Processes: kill, stop and pause through the agent; start through the engine.

What one fault does is kept apart from what another does: a node that two faults hold down starts
when the second lets go. Evidence: what /proc shows, and what the engine says of the container. A
kill that has met no process is proven only where another fault explains that the node was down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

from faults.kinds.kill import Kill
from faults.kinds.pause import Pause
from faults.kinds.stop import Stop
from harness.runtimes.docker.agents import AgentError
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers
from harness.runtimes.interface import FaultReport

START_TIMEOUT_S: Final = 15.0
STOPPED: Final = "Tt"
"""Stopped; and stopped under the agent's trace, as while the node is being started."""
PAUSED: Final = STOPPED + "DZX"
"""The states of a paused process's threads: also those that wait for the disk, and stop before they
execute another instruction, and those that have ended."""

STATES_TRIES: Final = 10
STATES_EVERY_S: Final = 0.02
"""A thread whose disk has just answered runs, inside the kernel, until it stops."""


class Processes:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def handlers(self) -> Handlers:
        each = self._cluster.each
        return {
            Kill: Handler(
                lambda f: each(f, lambda n: self.take_down(f.id, n, "kill")),
                lambda f: each(f, lambda n: self.release(f.id, n)),
                "processes",
            ),
            Stop: Handler(
                lambda f: each(
                    f, lambda n: self.take_down(f.id, n, "stop", grace_s=f.grace_us / 1e6)
                ),
                lambda f: each(f, lambda n: self.release(f.id, n)),
                "processes",
            ),
            Pause: Handler(
                lambda f: each(f, lambda n: self._signal(f.id, n, "pause")),
                lambda f: each(f, lambda n: self._signal(f.id, n, "resume")),
                "processes",
            ),
        }

    async def take_down(self, identity: str, node: int, do: str, **what: Any) -> FaultReport:
        """End the node's processes in the name of a fault, which then holds it down."""
        cluster = self._cluster
        async with cluster.locks[node]:
            cluster.holds[node].add(identity)
            answer = await cluster.agents[node].call(do, **what)
            gone = await asyncio.to_thread(cluster.engine.await_exit, cluster.pods[node])
        graceful = {"graceful": answer["graceful"]} if "graceful" in answer else {}
        return self.killed(identity, node, answer, gone=gone, **graceful)

    def killed(
        self, identity: str, node: int, answer: dict[str, Any], *, gone: bool, **evidence: Any
    ) -> FaultReport:
        """The report on a kill. `gone`: the engine has seen the end of the node's container."""
        cluster = self._cluster
        pids, others = answer["pids"], cluster.why_down(node, but=identity)
        problem = None
        if not gone:
            problem = f"the engine still shows n{node} as running"
        elif not pids and not others:
            problem = f"n{node} had no process: it had ended by itself before"
        evidence = {"killed": pids, "engine": "exited" if gone else "running", **evidence}
        if not pids:
            evidence["down_before"] = others
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=problem is None,
            evidence=evidence,
            problem=problem,
        )

    async def release(self, identity: str, node: int) -> FaultReport:
        """This fault holds the node down no longer; start it if no other does."""
        cluster = self._cluster
        async with cluster.locks[node]:
            cluster.holds[node].discard(identity)
            if others := sorted(cluster.holds[node]):
                return FaultReport({}, verified=True, evidence={"held_down_by": others})
            return await self.start(node)

    async def start_ended(self, node: int) -> bool:
        """Start a node that has ended, and that no fault holds down; whether it had to be."""
        cluster = self._cluster
        async with cluster.locks[node]:
            running = await asyncio.to_thread(cluster.engine.is_running, cluster.pods[node])
            if running or cluster.holds[node]:
                return False
            await self.start(node)
            return True

    async def start(self, node: int) -> FaultReport:
        """Start the node's container, and wait for its process. The node's lock must be held. One
        whose disk is full may have ended before it was seen."""
        cluster = self._cluster
        try:
            return await self._start(node)
        except AgentError:
            full = sorted(cluster.full_disks[node])
            if not full or await asyncio.to_thread(cluster.engine.is_running, cluster.pods[node]):
                raise
            return FaultReport({}, verified=True, evidence={"ended_again_by": full})

    async def _start(self, node: int) -> FaultReport:
        cluster = self._cluster
        _, answer = await asyncio.gather(
            asyncio.to_thread(cluster.engine.start_node, cluster.pods[node]),
            cluster.agents[node].call("await_process", timeout_s=START_TIMEOUT_S),
        )
        if cluster.engine.disk:
            await cluster.agents[node].call("await_disk", timeout_s=START_TIMEOUT_S)
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=True,
            evidence={k: answer[k] for k in ("pid", "pids", "clock") if k in answer},
        )

    async def _signal(
        self, identity: str, node: int, do: Literal["pause", "resume"]
    ) -> FaultReport:
        cluster = self._cluster
        async with cluster.locks[node]:
            if do == "pause":
                cluster.pauses[node].add(identity)
            else:
                cluster.pauses[node].discard(identity)
                if others := sorted(cluster.pauses[node]):
                    return FaultReport({}, verified=True, evidence={"stopped_by": others})
            down = bool(cluster.why_down(node))  # because of another fault: it cannot be resumed
            answer = await cluster.agents[node].call(do)
            for _ in range(STATES_TRIES):
                probe = await cluster.agents[node].call("probe_process")
                seen = probe["processes"]
                if do == "resume":  # what somebody else had stopped before the pause stays so
                    seen = [p for p in seen if not p.get("stopped_before")]
                states = [p["threads"] for p in seen]
                right = (any(states) or down) and _are_right(do, states)
                if right:
                    break
                await asyncio.sleep(STATES_EVERY_S)
        return FaultReport(
            {node: cluster.since_zero_ns(answer["done_ns"])},
            verified=right,
            evidence={"states": states},
            problem=None if right else f"after {do} the threads of n{node} are in states {states}",
        )


def _are_right(do: Literal["pause", "resume"], states: Sequence[str]) -> bool:
    """Whether these states of threads, of one process each, are those after a pause or resume."""
    threads = "".join(states)
    if do == "pause":
        return all(thread in PAUSED for thread in threads)
    return all(thread not in STOPPED for thread in threads)
