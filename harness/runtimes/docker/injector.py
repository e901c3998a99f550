"""Injects faults into pods, and verifies that they took effect.

The modules in `harness.runtimes.docker.injectors` define how each kind is injected. This file
selects the right one, and converts errors into reports: a fault whose injection or healing failed
makes the run's verdict unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from faults.description import Fault, UnsupportedFault
from faults.kinds import KINDS, kinds_of
from harness.errors import HarnessError, UsageError
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.injectors import Cluster, Handler, Handlers
from harness.runtimes.docker.injectors.clocks import Clocks
from harness.runtimes.docker.injectors.cluster import AskClock, AskLeader, no_known_leader
from harness.runtimes.docker.injectors.data import Data
from harness.runtimes.docker.injectors.disks import Disks
from harness.runtimes.docker.injectors.network import Network
from harness.runtimes.docker.injectors.processes import Processes
from harness.runtimes.docker.injectors.resources import Resources
from harness.runtimes.docker.injectors.triggers import Triggers
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.interface import FaultReport
from histories.text import quoted

WRONG_SHAPE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What code raises that takes apart an answer of another form."""


def handlers_for(
    cluster: Cluster,
    network: Network | None = None,
    processes: Processes | None = None,
    *,
    managed: bool = True,
) -> Handlers:
    """The handler for each class of simple faults. `managed`: the nodes are a run's own."""
    processes = processes or Processes(cluster)
    simple: Handlers = {
        **(network or Network(cluster)).handlers(),
        **processes.handlers(),
        **Clocks(cluster).handlers(),
        **Resources(cluster, processes, managed=managed).handlers(),
        **Data(cluster, processes).handlers(),
        **Disks(cluster, processes).handlers(),
    }
    return {**simple, **Triggers(cluster, simple).handlers()}


class FaultInjector:
    """`inject` and `heal` for every fault that containers can have."""

    def __init__(
        self,
        engine: PodEngine,
        pods: dict[int, Pod],
        agents: dict[int, Agent],
        ask_clock: AskClock,
        zero_ns: Callable[[], int],
        ask_leader: AskLeader = no_known_leader,
        *,
        managed: bool = True,
    ) -> None:
        cluster = Cluster(engine, pods, agents, ask_clock, zero_ns, ask_leader)
        self._agents = agents
        self._network = Network(cluster)
        self._processes = Processes(cluster)
        self.handlers = handlers_for(cluster, self._network, self._processes, managed=managed)

    def require(self, kinds: Sequence[str]) -> None:
        """Raises UsageError for a kind that some agent does not support here."""
        for kind in kinds:
            handler = self.handlers.get(KINDS[kind].fault)
            for agent in self._agents.values():
                can = agent.greeting.get("can", {}).get(handler.needs) if handler else None
                if can is not None and not can["ok"]:
                    raise UsageError(
                        f"this machine cannot have {kind} faults: {can['error']}",
                        remedy=str(can.get("remedy", "")),
                    )

    async def prepare(self, kinds: Sequence[str]) -> None:
        """Slow preparations, before the first fault of these kinds."""
        if kinds:
            needs = [h.needs for k in kinds if (h := self.handlers.get(KINDS[k].fault))]
            await self._network.prepare(shaping="shaping" in needs)

    async def pods_were_added(self) -> None:
        """To those with which it was made, with their agents. Faults that are active stay."""
        await self._network.learn_added()

    async def inject(self, fault: Fault) -> FaultReport:
        """Raises UnsupportedFault; every other failure is in the report."""
        return await self._carry_out(self._handler(fault).inject, fault, "inject")

    async def heal(self, fault: Fault) -> FaultReport:
        return await self._carry_out(self._handler(fault).heal, fault, "heal")

    async def start_ended(self, node: int) -> bool:
        """Start a node that has ended, and that no fault holds down; whether it had to be."""
        try:
            return await self._processes.start_ended(node)
        except (HarnessError, *WRONG_SHAPE):
            return False  # it is waited for at the end of the run

    def _handler(self, fault: Fault) -> Handler:
        handler = self.handlers.get(type(fault))
        if handler is None:
            able = ", ".join(kinds_of("docker"))
            raise UnsupportedFault(
                f"containers cannot have a {fault.kind!r} fault; they can have {able}. The "
                "simulator has others: --on sim"
            )
        return handler

    async def _carry_out(
        self,
        act: Callable[[Any], Coroutine[Any, Any, FaultReport]],
        fault: Fault,
        what: str,
    ) -> FaultReport:
        try:
            return await act(fault)
        except HarnessError as error:
            return FaultReport({}, verified=False, problem=f"{what}: {error}")
        except WRONG_SHAPE as error:
            words = f"an answer of an agent is not what it should be: {quoted(error, 200)}"
            return FaultReport({}, verified=False, problem=f"{what}: {words}")
