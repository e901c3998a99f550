"""Agents that ended without being asked to, and what they left in the containers that they had
joined: rules, false clocks, paused processes.

Somebody has killed them: an engine ends every process of an agent's container, its guard too. So
another agent joins, removes what is left (`faults.agent.left_behind`), and leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import docker

from harness.errors import HarnessError
from harness.inject.agent_containers import AgentContainers
from harness.inject.containers import Container
from harness.inject.holders import require_free
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import engine_errors
from histories.text import one_line

LINE_MAX = 300


class Removal(NamedTuple):
    """Of what one agent had left. `problem`: why it is not, or may not be, removed."""

    container: str
    reason: str
    """Why that agent had ended, as far as it is known."""
    evidence: Mapping[str, Any]
    problem: str | None = None

    @property
    def sentence(self) -> str:
        lost = f"the agent of {self.container} ended meanwhile ({self.reason})"
        if self.problem is not None:
            return f"{lost}, and what it left could not be removed: {self.problem}"
        return f"{lost}; another one has removed what it left: {self._described()}"

    def _described(self) -> str:
        rules, clocks = self.evidence.get("rules", 0), self.evidence.get("clocks", [])
        resumed = self.evidence.get("resumed", [])
        parts = [
            f"{rules} filters and qdiscs" if rules else "",
            f"the false clocks of {len(clocks)} processes" if clocks else "",
            f"{len(resumed)} paused processes run again" if resumed else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing"


async def remove_left_by(
    api: docker.APIClient,
    created: AgentContainers,
    container: Container,
    lost: Agent,
    *,
    had_paused: bool,
) -> Removal:
    """Removes what a lost agent left. Errors are in what is returned."""
    reason = one_line(lost.lost or "unknown", LINE_MAX)
    try:
        await asyncio.to_thread(require_free, api, [container])
        left = await _by_another(api, created, container, lost.node, had_paused=had_paused)
    except HarnessError as error:
        return Removal(container.name, reason, {}, one_line(str(error), LINE_MAX))
    problems = left.pop("problems", None)
    problem = "; ".join(map(str, problems)) if problems else None
    return Removal(container.name, reason, left, problem)


async def _by_another(
    api: docker.APIClient,
    created: AgentContainers,
    container: Container,
    number: int,
    *,
    had_paused: bool,
) -> dict[str, Any]:
    made = await asyncio.to_thread(created.create_successor, container, had_paused=had_paused)
    agent = Agent(number, made)
    try:
        await agent.attach(api)
        with engine_errors(f"joining {container.name} again"):
            await asyncio.to_thread(api.start, made)
        left = (await agent.hello()).get("left_behind")
        return dict(left) if isinstance(left, dict) else {"problems": ["it does not say what"]}
    finally:
        await agent.detach()
