"""What the nodes do at the end of a run, when all faults are healed.

Every node is waited for until its connection is open, on which it has answered once. A node that
the last fault has ended may start so late, on a slow machine, that the run would be over before it
has read its files. What it does then (it may find them damaged, and end) belongs to the run. And no
node may be stopped: a quorum answers without it, but somebody else has sent it a signal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from harness.runtimes.docker.agents import Agent

STOPPED: Final = "Tt"
EVERY_S: Final = 0.05
LOOK_EVERY_S: Final = 0.5


class Connection(Protocol):
    async def connect(self) -> bool:
        """True once the node has answered."""


async def findings_at_end(
    connections: Mapping[int, Connection],
    agents: Mapping[int, Agent],
    timeout_s: float,
    *,
    is_running: Callable[[int], bool],
    last_lines: Callable[[int], str],
    is_over: Callable[[], bool],
) -> list[dict[str, Any]]:
    """What is wrong with these nodes, in the form for the history; see `harness.run.node_findings`.
    `is_running` and `last_lines`, of a node's log, block."""
    silent = await nodes_without_answer(
        connections, timeout_s, is_running=is_running, is_over=is_over
    )
    logs = [await asyncio.to_thread(last_lines, node) for node in silent]
    found = [without_answer(node, timeout_s, log) for node, log in zip(silent, logs, strict=True)]
    return found + await findings_of_agents(agents)


async def nodes_without_answer(
    connections: Mapping[int, Connection],
    timeout_s: float,
    *,
    is_running: Callable[[int], bool],
    is_over: Callable[[], bool],
) -> list[int]:
    """The nodes that have not answered within `timeout_s`, although their processes run.
    `is_running` blocks. Nothing is waited for once `is_over`."""
    deadline = time.monotonic() + timeout_s

    async def is_silent(node: int) -> bool:
        looked = time.monotonic()
        while not await connections[node].connect():
            now = time.monotonic()
            if is_over() or now > deadline:
                return not is_over()
            if now - looked > LOOK_EVERY_S:
                looked = now
                if not await asyncio.to_thread(is_running, node):
                    return False  # its end is a finding of its own
            await asyncio.sleep(EVERY_S)
        return False

    silent = await asyncio.gather(*(is_silent(node) for node in connections))
    return [node for node, one in zip(connections, silent, strict=True) if one]


def without_answer(node: int, timeout_s: float, log: str) -> dict[str, Any]:
    """The finding about a node that runs and is silent."""
    what = f"did not answer within {timeout_s:g} s of the end of the run"
    return {"node": node, "role": "node", "what": what, "by": "unknown", "log": log}


async def findings_of_agents(agents: Mapping[int, Agent]) -> list[dict[str, Any]]:
    """The nodes all of whose threads are stopped, and the agents that do not say whether theirs
    are."""
    asked = [agent.call("probe_process") for agent in agents.values()]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [
        stopped(node) if isinstance(answer, dict) else _silent_agent(node, answer)
        for node, answer in zip(agents, answers, strict=True)
        if not isinstance(answer, dict) or _is_stopped(answer)
    ]


def _is_stopped(answer: Mapping[str, Any]) -> bool:
    listed = answer.get("processes")
    processes = listed if isinstance(listed, list) else []
    states = [process.get("threads") for process in processes if isinstance(process, dict)]
    threads = "".join(state for state in states if isinstance(state, str))
    return bool(threads) and all(thread in STOPPED for thread in threads)


def stopped(node: int) -> dict[str, Any]:
    """The finding about a stopped node."""
    return {"node": node, "role": "node", "what": "was stopped", "by": "outside", "log": ""}


def _silent_agent(node: int, error: object) -> dict[str, Any]:
    """Nobody knows whether its node is stopped."""
    what = "did not answer at the end of the run"
    return {"node": node, "role": "agent", "what": what, "by": "unknown", "log": str(error)}
