"""Agents that ended without being asked to, and what they left in the containers that they had
joined: rules, false clocks, paused processes.

Somebody has killed them: an engine ends every process of an agent's container, its guard too. So
another agent joins, removes what is left (`faults.agent.left_behind`), and leaves.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import docker

from faults.description import Fault
from faults.kinds.pause import Pause
from harness.errors import HarnessError
from harness.inject.agent_containers import AgentContainers
from harness.inject.containers import Container, has_ended
from harness.inject.holders import require_free
from harness.inject.placing import affected
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import engine_errors
from harness.runtimes.interface import FaultReport
from histories.text import one_line, quoted

LINE_MAX: Final = 300


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
        rules = self.evidence.get("rules")
        clocks, resumed = (self._count(name) for name in ("clocks", "resumed"))
        parts = [
            f"filters and qdiscs: {quoted(rules)}" if rules else "",
            f"processes with a false clock: {clocks}" if clocks else "",
            f"paused processes: {resumed}" if resumed else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing"

    def _count(self, name: str) -> int:
        found = self.evidence.get(name)
        return len(found) if isinstance(found, list) else 0


class LostAgents:
    """Those of a session. `containers` and `agents` are the session's own, by number from 1 on, and
    may grow."""

    def __init__(
        self,
        api: docker.APIClient,
        created: AgentContainers,
        containers: Sequence[Container],
        agents: Mapping[int, Agent],
    ) -> None:
        self._api = api
        self._created = created
        self._containers = containers
        self._agents = agents
        self._may_be_paused: set[int] = set()
        self._removed: dict[int, Removal] = {}

    def began(self, fault: Fault) -> None:
        """The fault is about to be injected."""
        if isinstance(fault, Pause):
            self._may_be_paused |= set(affected(fault))

    def healed(self, fault: Fault, active: Iterable[Fault]) -> None:
        """The fault was healed, and that is verified; `active` are the others that are not."""
        if isinstance(fault, Pause):
            self._may_be_paused -= set(affected(fault))
            for other in active:
                self.began(other)

    async def remove_left(self) -> None:
        """What agents have left, in containers that still run. Raises EngineError; what the removal
        itself meets is told by `told_in`."""
        for number, agent in self._agents.items():
            is_new = agent.lost is not None and number not in self._removed
            if is_new and number <= len(self._containers):  # else it is the witness
                container = self._containers[number - 1]
                if not await asyncio.to_thread(has_ended, self._api, container):
                    self._removed[number] = await self._remove_left_by(agent, container)

    def told_in(self, report: FaultReport, numbers: Sequence[int]) -> FaultReport:
        """The report of the end of a fault in these containers. One whose agent was lost is not
        known to have been there until its end."""
        removed = [self._removed[number] for number in numbers if number in self._removed]
        if not removed:
            return report
        problem = "; ".join(one.sentence for one in removed)
        seen = report.evidence | {"left": {one.container: dict(one.evidence) for one in removed}}
        return dataclasses.replace(report, verified=False, problem=problem, evidence=seen)

    async def _remove_left_by(self, lost: Agent, container: Container) -> Removal:
        reason = one_line(lost.lost or "unknown", LINE_MAX)
        try:
            await asyncio.to_thread(require_free, self._api, [container])
            left = await self._by_another(container, lost.node)
        except HarnessError as error:
            return Removal(container.name, reason, {}, one_line(str(error), LINE_MAX))
        problems = left.pop("problems", None)
        problem = one_line("; ".join(map(str, problems)), LINE_MAX) if problems else None
        return Removal(container.name, reason, left, problem)

    async def _by_another(self, container: Container, number: int) -> dict[str, Any]:
        had_paused = number in self._may_be_paused
        made = await asyncio.to_thread(
            self._created.create_successor, container, had_paused=had_paused
        )
        agent = Agent(number, made)
        try:
            await agent.attach(self._api)
            with engine_errors(f"joining {container.name} again"):
                await asyncio.to_thread(self._api.start, made)
            left = (await agent.hello()).get("left_behind")
            return dict(left) if isinstance(left, dict) else {"problems": ["it does not say what"]}
        finally:
            await agent.detach()
