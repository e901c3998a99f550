"""Real containers and real time, behind the runtime's seam.

`open` starts the agents of all pods in parallel, then the nodes, and waits until every node has
answered a question; nothing is slept for. `drive` runs the conductor on an asyncio loop. Times
that the conductor sees are the host's CLOCK_MONOTONIC minus the moment of `open`; containers share
that clock, so the agents' moments and the nodes' logs are on the same line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from faults.description import Fault, UnsupportedFault
from faults.kinds import kinds_of
from harness.errors import StartError, UsageError
from harness.run.conductor import Conductor
from harness.run.config import RunConfig
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import Image, ensure_image
from harness.runtimes.docker.nemesis import Nemesis
from harness.runtimes.docker.pods import (
    CLIENT_PORT,
    DATA,
    PEER_PORT,
    Pod,
    PodEngine,
    remove_labelled,
)
from harness.runtimes.docker.requests import NodeConnection
from harness.runtimes.interface import FaultReport, Response
from harness.targets import NodeImage, Target
from node_image.protocols.interface import Command

READY_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.2
T = TypeVar("T")


class DockerRuntime:
    """One run's cluster of pods. `say` is told what takes time while it opens."""

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        say: Callable[[str], None] = lambda _: None,
        *,
        target: Target | None = None,
    ) -> None:
        _require_supported(config)
        self.config = config
        self.run_id = run_id
        self._say = say
        self._target = target or NodeImage()
        self._node_image = ""
        self._loop = asyncio.new_event_loop()
        self._zero_ns = time.monotonic_ns()
        self._pods: dict[int, Pod] = {}
        self._agents: dict[int, Agent] = {}
        self._connections: dict[int, NodeConnection] = {}
        self._image: Image | None = None
        self._api = connect()
        self._engine: PodEngine
        self._nemesis: Nemesis
        self._conductor: Conductor
        self._wake_handle: asyncio.TimerHandle | None = None
        self._finished: asyncio.Event
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._leader: int | None = None

    # ------------------------------------------------------------------ the runtime's seam

    def open(self) -> None:
        """Raises EngineError or StartError; then nothing is left behind after `close`."""
        self._image = ensure_image(self._api, self._say)
        self._node_image = self._target.image(self._api, self._say)
        self._engine = PodEngine(self._api, self.run_id, self._image)
        self._run(self._open())

    def drive(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._run(self._drive())

    def collect(self, folder: Path) -> None:
        """Writes n1.log.jsonl, n1.decided.jsonl, n1.status.json and n1.agent.log per node."""
        self._run(self._collect(folder))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._run(self._close())
        remove_labelled(self._api, self.run_id)
        self._api.close()
        self._loop.close()

    def versions(self) -> dict[str, str]:
        version = self._api.version()
        image = self._image
        return {
            "engine": version["Version"],
            "engine_api": self._api.api_version,
            "kernel": version.get("KernelVersion", ""),
            "image": self._node_image,
            "agent_image": image.name if image else "",
            "base_image": image.base if image else "",
        }

    # ------------------------------------------------------------------ the world's seam

    def request(self, call: int, node: int, command: Command) -> None:
        conductor = self._conductor

        def answered(response: Response) -> None:
            if not conductor.done:
                conductor.answered(call, response, self._now_us())
                self._after()

        self._connections[node].command(command, answered)

    def wake(self, at_us: int) -> None:
        if self._wake_handle is not None:
            self._wake_handle.cancel()
        delay_s = max(0.0, (at_us - self._now_us()) / 1e6)
        self._wake_handle = self._loop.call_later(delay_s, self._woke)

    def inject(self, fault: Fault) -> None:
        self._spawn(self._carry_out(fault, "inject"))

    def heal(self, fault: Fault) -> None:
        self._spawn(self._carry_out(fault, "heal"))

    def leader(self) -> int | None:
        return self._leader

    def client_port(self, node: int) -> int:
        """The port on 127.0.0.1 at which a node's clients are served."""
        return self._pods[node].client_port

    # ------------------------------------------------------------------ opening

    async def _open(self) -> None:
        await self._threads([self._engine.create_network])
        nodes = self.config.node_ids()
        pods = await self._threads([partial(self._engine.create_agent, n) for n in nodes])
        self._pods = {pod.node: pod for pod in pods}
        self._agents = {pod.node: Agent(pod.node, pod.agent_id) for pod in pods}
        await asyncio.gather(*(self._start_agent(pod) for pod in pods))
        await self._threads([partial(self._start_node, p) for p in pods])
        self._connections = {p.node: NodeConnection(p.node, p.client_port) for p in pods}
        await asyncio.gather(*(agent.hello() for agent in self._agents.values()))
        await asyncio.gather(*(self._await_ready(pod) for pod in pods))
        self._nemesis = Nemesis(
            self._engine, self._pods, self._agents, self._ask_clock, lambda: self._zero_ns
        )
        self._nemesis.require(self.config.faults)

    async def _start_agent(self, pod: Pod) -> None:
        await self._agents[pod.node].attach(self._api)
        await asyncio.to_thread(self._engine.start_agent, pod)

    def _start_node(self, pod: Pod) -> None:
        command = self._target.command(self._settings(pod.node))
        self._engine.create_node(pod, self._node_image, command)
        self._engine.start_node(pod)

    def _settings(self, node: int) -> dict[str, Any]:
        """What the node's command line says; see `node_image.server`."""
        config = self.config
        return {
            "protocol": config.protocol,
            "mutant": config.mutant,
            "node": node,
            "addresses": {str(p.node): [p.address, PEER_PORT] for p in self._pods.values()},
            "client_port": CLIENT_PORT,
            "peer_port": PEER_PORT,
            "data": DATA,
            "transport": config.transport,
            "seed": config.seed,
            "cluster": {
                "nodes": list(config.node_ids()),
                "learners": list(config.learner_ids()),
                **config.cluster,
            },
        }

    async def _await_ready(self, pod: Pod) -> None:
        """Until the node has answered; or says why it never will. Raises StartError."""
        connection = self._connections[pod.node]
        deadline = time.monotonic() + READY_TIMEOUT_S
        checked = time.monotonic()
        while not await connection.connect():
            now = time.monotonic()
            if now - checked > 0.5:
                checked = now
                running = await asyncio.to_thread(self._engine.is_running, pod)
                if not running:
                    raise self._not_ready(pod, "ended at once")
            if now > deadline:
                raise self._not_ready(pod, f"was not ready within {READY_TIMEOUT_S:g} s")
            await asyncio.sleep(0.01)

    def _not_ready(self, pod: Pod, what: str) -> StartError:
        lines = self._engine.last_lines(pod.node_id)
        return StartError(
            f"n{pod.node} {what}; its last words:\n{lines or '(none)'}",
            remedy="nothing of the run is left; run again, or look at the image and the options",
        )

    # ------------------------------------------------------------------ driving

    async def _drive(self) -> None:
        self._finished = asyncio.Event()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGINT, self._interrupted)
        poll = loop.create_task(self._poll())
        try:
            self._conductor.begin(self, self._now_us())
            await self._finished.wait()
        finally:
            with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
                loop.remove_signal_handler(signal.SIGINT)
            poll.cancel()
            if self._wake_handle is not None:
                self._wake_handle.cancel()
            for task in list(self._tasks):
                task.cancel()
        if self._failure is not None:
            raise self._failure

    def _interrupted(self) -> None:
        if self._conductor.stats.interrupted:
            self._fail(KeyboardInterrupt())  # asked twice: stop at once
            return
        self._conductor.interrupt(self._now_us())
        self._after()

    def _woke(self) -> None:
        self._wake_handle = None
        self._conductor.woke(self._now_us())
        self._after()

    async def _carry_out(self, fault: Fault, what: str) -> None:
        try:
            act = self._nemesis.inject if what == "inject" else self._nemesis.heal
            report = await act(fault)
        except UnsupportedFault as error:
            self._fail(error)
            return
        self._told(fault, what, report)

    def _told(self, fault: Fault, what: str, report: FaultReport) -> None:
        self._conductor.fault_done(fault, what, report, self._now_us())
        self._after()

    async def _poll(self) -> None:
        """Who leads, by the nodes' own words: the one with the highest ballot that says so."""
        while True:
            answers = await asyncio.gather(
                *(c.ask("status", POLL_S) for c in self._connections.values() if c.is_open)
            )
            leaders = [
                (answer["ballot"], answer["node"])
                for answer in answers
                if answer and answer.get("role") == "leader"
            ]
            if leaders:
                self._leader = max(leaders)[1]
            for connection in self._connections.values():
                if not connection.is_open:
                    self._spawn(_quietly(connection.connect()))
            await asyncio.sleep(POLL_S)

    async def _ask_clock(self, node: int) -> int | None:
        answer = await self._connections[node].ask("status", 0.5)
        if not answer or "wall_us" not in answer:
            return None
        real_minus_monotonic_ns = time.time_ns() - time.monotonic_ns()
        off: int = answer["wall_us"] * 1000 - answer["monotonic_ns"] - real_minus_monotonic_ns
        return off

    # ------------------------------------------------------------------ collecting and closing

    async def _collect(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        await asyncio.gather(*(self._collect_node(pod, folder) for pod in self._pods.values()))

    async def _collect_node(self, pod: Pod, folder: Path) -> None:
        name = f"n{pod.node}"
        status = await self._connections[pod.node].ask("status", 2.0)
        (folder / f"{name}.status.json").write_text(json.dumps(status, indent=1) + "\n")
        log, agent_log, decided = await asyncio.gather(
            asyncio.to_thread(self._api.logs, pod.node_id),
            asyncio.to_thread(self._api.logs, pod.agent_id, stdout=False),
            asyncio.to_thread(self._engine.read_file, pod.node_id, f"{DATA}/decided.jsonl"),
        )
        (folder / f"{name}.log.jsonl").write_bytes(log)
        (folder / f"{name}.agent.log").write_bytes(agent_log)
        if decided is not None:
            (folder / f"{name}.decided.jsonl").write_bytes(decided)

    async def _close(self) -> None:
        await asyncio.gather(
            *(connection.close() for connection in self._connections.values()),
            *(agent.detach() for agent in self._agents.values()),
            return_exceptions=True,
        )

    # ------------------------------------------------------------------ small things

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._zero_ns) // 1000

    def _after(self) -> None:
        if self._conductor.done:
            self._finished.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._finished.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _threads(self, jobs: Iterable[Callable[[], T]]) -> list[T]:
        return list(await asyncio.gather(*(asyncio.to_thread(job) for job in jobs)))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(work)


def _require_supported(config: RunConfig) -> None:
    able = kinds_of("docker")
    if unable := [kind for kind in config.faults if kind not in able]:
        raise UsageError(
            f"containers cannot have these faults yet: {', '.join(unable)}",
            remedy=f"they can have {', '.join(able)}; the simulator has all: --on sim",
        )


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    await work
