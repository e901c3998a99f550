"""Opening a run's cluster: the agents of all pods in parallel, then the nodes, until every node has
answered a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import PurePath
from typing import Final, TypeVar

from harness.errors import StartError
from harness.run.config import RunConfig
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.clients import Clients
from harness.runtimes.docker.endpoint import EngineClient
from harness.runtimes.docker.images import EngineImages
from harness.runtimes.docker.injectors.disks import open_disk
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.targets.interface import LeaderTold, NodeSpec

READY_TIMEOUT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.5
POLL_S: Final = 0.01
T = TypeVar("T")


class Opening:
    """`pods` and `agents` have, by node, what there is, also after an error in the middle.

    `clock_uncertainty_ns`: how exactly the agents' clocks were compared with this machine's.
    `used_images`: those of the nodes.
    """

    def __init__(
        self,
        config: RunConfig,
        api: EngineClient,
        images: EngineImages,
        clients: Clients,
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._api = api
        self._images = images
        self._clients = clients
        self._say = say
        self._engine: PodEngine
        self._node_image = ""
        self._specs: dict[int, NodeSpec] = {}
        self.pods: dict[int, Pod] = {}
        self.agents: dict[int, Agent] = {}
        self.used_images: set[str] = set()
        self.clock_uncertainty_ns = 0

    async def open(self, engine: PodEngine, node_image: str, told: LeaderTold) -> None:
        """`node_image`: of nodes that name none of their own; `told` is called when a node
        announces a leader. Raises EngineError, StartError and TargetError."""
        self._engine, self._node_image = engine, node_image
        self._say("making a network")
        await _in_threads([engine.create_network])
        nodes = self._config.cluster.node_ids()
        self._say(f"starting {len(nodes)} agents")
        pods = await _in_threads([partial(engine.create_agent, n) for n in nodes])
        self.pods.update((pod.node, pod) for pod in pods)
        self.agents.update((pod.node, Agent(pod.node, pod.agent_id)) for pod in pods)
        await asyncio.gather(*(self._start_agent(pod) for pod in pods))
        self._say(f"starting {len(nodes)} nodes")
        await _in_threads([partial(self._create_node, p) for p in pods])
        await asyncio.gather(*(self._open_disk(pod) for pod in pods))
        await _in_threads([partial(engine.start_node, p) for p in pods])
        self._say("waiting until every node answers")
        self._clients.open(self.pods, told)
        await self._greet()
        await asyncio.gather(*(self._await_ready(pod) for pod in pods))

    async def _greet(self) -> None:
        """The agents are there, and have the same clock."""
        agents = self.agents.values()
        await asyncio.gather(*(agent.hello() for agent in agents))
        if self._engine.host.is_here:  # otherwise this machine is outside of the pods' network
            await asyncio.gather(*(agent.call("close_network") for agent in agents))
        offsets = await asyncio.gather(*(agent.clock_offset_ns() for agent in agents))
        self.clock_uncertainty_ns = max(uncertainty for _, uncertainty in offsets)

    async def _start_agent(self, pod: Pod) -> None:
        await self.agents[pod.node].attach(self._api)
        await asyncio.to_thread(self._engine.start_agent, pod)

    async def _open_disk(self, pod: Pod) -> None:
        """In a run with disk faults: put the agent between the node and its volume."""
        if self._engine.disk:
            exempt = [PurePath(path).name for path in self._config.system.artifacts]
            await open_disk(self.agents[pod.node], self._specs[pod.node].data, exempt)

    def _create_node(self, pod: Pod) -> None:
        addresses = {p.node: p.address for p in self.pods.values()}
        config = self._config
        spec = config.system.node(pod.node, addresses, config.cluster, config.seed)
        self._specs[pod.node] = spec
        image = self._images.require(spec.image) if spec.image else self._node_image
        self.used_images.add(image)
        self._engine.create_node(pod, image, spec)

    async def _await_ready(self, pod: Pod) -> None:
        """Wait until the node has answered, or failed. Raises StartError."""
        client = self._clients.by_node[pod.node]
        looked = time.monotonic()
        deadline = looked + READY_TIMEOUT_S
        while not await client.connect():
            self._clients.require(pod.node)
            now = time.monotonic()
            if now - looked > LOOK_EVERY_S:
                looked = now
                if not await asyncio.to_thread(self._engine.is_running, pod):
                    raise self._not_ready(pod, "ended at once")
            if now > deadline:
                raise self._not_ready(pod, f"was not ready within {READY_TIMEOUT_S:g} s")
            await asyncio.sleep(POLL_S)

    def _not_ready(self, pod: Pod, what: str) -> StartError:
        lines = self._engine.last_lines(pod.node_id)
        return StartError(
            f"n{pod.node} {what}; its last lines:\n{lines or '(none)'}",
            remedy="nothing of the run is left; run again, or look at the image and the options",
        )


async def _in_threads(jobs: Iterable[Callable[[], T]]) -> list[T]:
    """Raises the first error after all have ended: otherwise something created during the removal
    would be left behind."""
    results = await asyncio.gather(
        *(asyncio.to_thread(job) for job in jobs), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
