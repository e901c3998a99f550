"""Real containers and real time, behind the runtime's interface.

`open` starts the agents of all pods in parallel, then the nodes, and waits until every node has
answered a request. `drive` runs the conductor on an asyncio loop. The conductor's times are the
host's CLOCK_MONOTONIC minus that of `open`; containers share this clock, so the agents' times and
the nodes' logs are comparable.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from faults.description import Fault, UnsupportedFault
from faults.kinds import kinds_of
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.interrupts import GRACE_S
from harness.runtimes.docker.abilities import abilities_of, require_kinds
from harness.runtimes.docker.clients import Clients
from harness.runtimes.docker.collecting import collect
from harness.runtimes.docker.engine import API_TIMEOUT_S, connect, engine_errors
from harness.runtimes.docker.event_findings import EventFindings
from harness.runtimes.docker.final_answers import findings_at_end
from harness.runtimes.docker.images import EngineImages
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.docker.injectors import OwnClocks
from harness.runtimes.docker.injectors.disks import needs_disk, node_environment
from harness.runtimes.docker.leaders import Leaders
from harness.runtimes.docker.opening import Opening
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.docker.reaper import Reaper
from harness.runtimes.docker.removal import remove_labelled
from harness.runtimes.docker.scheduled_faults import CarriedOutFault, carry_out
from harness.runtimes.docker.start_guard import StartGuard
from harness.runtimes.docker.unexpected import UnexpectedEvents
from harness.runtimes.docker.watch import ContainerEvent, EngineWatch
from harness.runtimes.interface import Driven, FaultReport
from harness.targets.guarded_client import GuardedClient
from harness.targets.interface import NodeStatus, Request, Response

STATUS_TIMEOUT_S: Final = 2.0
SETTLE_TRIES: Final = 5
T = TypeVar("T")


class DockerRuntime:
    """One run's cluster of pods. `say` is called with slow steps while it opens."""

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        _require_supported(config)
        self.config = config
        self.run_id = run_id
        self._say = say
        self._target = config.system
        self._node_image = ""
        self._loop = asyncio.new_event_loop()
        self._clients = Clients(config, self._loop, self._fail)
        self._leaders = Leaders(self._clients.by_node)
        self._zero_ns = time.monotonic_ns()
        self._api = connect()
        try:
            require_kinds(abilities_of(self._api), config.faults.kinds)
        except BaseException:
            self._api.close()
            self._loop.close()
            raise
        self._images = EngineImages(self._api, say)
        self._opening = Opening(config, self._api, self._images, self._clients, say)
        self._pods, self._agents = self._opening.pods, self._opening.agents
        self._engine: PodEngine
        self._injector: FaultInjector
        self._conductor: Driven
        self._wake_handle: asyncio.TimerHandle | None = None
        self._finished: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._was_interrupted = False
        self._reaper: Reaper | None = None
        self._guard: StartGuard | None = None
        self._watch: EngineWatch | None = None
        self._unexpected: UnexpectedEvents
        self._events: EventFindings
        self._ready_s = 0

    # ------------------------------------------------------------------ the runtime's interface

    def open(self) -> None:
        """Raises EngineError or StartError; nothing is left after `close`."""
        self._say("looking for the image")
        agent_image = self._images.own()
        self._node_image = self._target.image(self._images)
        self._engine = PodEngine(
            self._api,
            self.run_id,
            agent_image,
            self._target.client_port,
            disk=needs_disk(self.config.faults.kinds),
            environment=node_environment(self.config.faults.kinds),
        )
        self._zero_ns = time.monotonic_ns()
        self._say("starting a reaper")
        self._guard = StartGuard(self.run_id)
        self._reaper = Reaper(self._api, self.run_id, agent_image)
        # In a thread, which `close` waits for: what an interrupted request makes nobody would know.
        if (problem := self._run(asyncio.to_thread(self._reaper.start))) is not None:
            self._say(
                f"note: no reaper ({problem}): after kill -9 a process on this machine removes "
                "what is left, or antipaxos clean"
            )
        else:
            self._guard.dismiss()
        self._run(self._open())
        self._ready_s = int(time.time())

    def drive(self, conductor: Driven) -> None:
        self._conductor = conductor
        self._events = EventFindings(
            self._unexpected,
            start_ended=self._injector.start_ended,
            tell=self._tell,
            spawn=self._spawn,
        )
        self._watch = EngineWatch(
            self.run_id,
            partial(self._from_thread, self._events.take),
            partial(self._from_thread, self._events.lost),
            since_s=self._ready_s,
        )
        try:
            self._run(self._drive())
        finally:
            self._watch.stop()

    def collect(self, folder: Path) -> dict[str, str]:
        """See `harness.runtimes.docker.collecting`."""
        return self._run(self._collect(folder))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._settle()
        self._run(self._close())
        self._settle()
        # Threads that create something must have ended before everything is removed.
        self._run(self._loop.shutdown_default_executor())
        self._api.creations.end(API_TIMEOUT_S)
        removers = [it for it in (self._reaper, self._guard) if it is not None]
        try:
            remove_labelled(self._api, self.run_id, spare_reaper=True)
            for remover in removers:
                remover.dismiss()
            remove_labelled(self._api, self.run_id)  # the reaper, which is ending
        except BaseException:
            for remover in removers:
                remover.leave()
            raise
        finally:
            self._api.close()
            self._loop.close()

    def interrupt(self) -> None:
        """End the run early; the second call stops it at once. Thread-safe, and safe in signal
        handlers."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._interrupted)

    def versions(self) -> dict[str, str]:
        with engine_errors("asking for the engine's version"):
            version = self._api.version()
        return {
            "engine": version["Version"],
            "engine_api": self._api.api_version,
            "kernel": version.get("KernelVersion", ""),
            "image": ", ".join(sorted(self._opening.used_images)) or self._node_image,
            "agent_image": self._images.own_name,
            "base_image": self._images.base,
            "clock_zero_ns": str(self._zero_ns),
            "clock_uncertainty_us": str(self._opening.clock_uncertainty_ns // 1000),
        }

    # ------------------------------------------------------------------ the world's interface

    def request(self, call: int, node: int, request: Request) -> None:
        conductor = self._conductor

        def answered(response: Response) -> None:
            if not conductor.done:
                conductor.answered(call, response, self.now_us())
                self._after()

        self._clients.by_node[node].send(request, answered)

    def wake(self, at_us: int) -> None:
        if self._wake_handle is not None:
            self._wake_handle.cancel()
        delay_s = max(0.0, (at_us - self.now_us()) / 1e6)
        self._wake_handle = self._loop.call_later(delay_s, self._woke)

    def inject(self, fault: Fault) -> None:
        self._unexpected.began(fault)
        self._spawn(self._carry_out(fault, "inject"))

    def heal(self, fault: Fault) -> None:
        self._spawn(self._carry_out(fault, "heal"))

    def leader(self) -> int | None:
        return self._leaders.current

    def inject_now(self, fault: Fault) -> FaultReport:
        """Inject a fault outside of a run; returns when it is verified, or not."""
        return self._run(self._injector.inject(fault))

    def heal_now(self, fault: Fault) -> FaultReport:
        """Heal it."""
        return self._run(self._injector.heal(fault))

    def carry_out(self, faults: Sequence[Fault]) -> list[CarriedOutFault]:
        """Inject and heal these at their times, outside of a run; see `scheduled_faults`."""
        return self._run(carry_out(self._injector, faults))

    def start_ended(self) -> None:
        """Start the nodes that have ended though no fault holds them down, outside of a run."""
        for node in self._pods:
            self._run(self._injector.start_ended(node))

    def status(self, node: int) -> NodeStatus | None:
        """A node's status, outside of a run; None if it does not answer."""

        async def ask() -> NodeStatus | None:
            client = self._clients.by_node[node]
            return await client.status(STATUS_TIMEOUT_S) if await client.connect() else None

        return self._run(ask())

    def clocks(self, node: int) -> OwnClocks | None:
        """By how much a node's clocks differ from the host's according to the node, outside of a
        run."""

        async def ask() -> OwnClocks | None:
            client = self._clients.by_node[node]
            return await self._ask_clock(node) if await client.connect() else None

        return self._run(ask())

    def pod(self, node: int) -> Pod:
        """A node's containers."""
        return self._pods[node]

    def agent(self, node: int, do: str, **what: Any) -> Any:
        """An agent's answer, outside of a run. Raises AgentError."""
        return self._run(self._agents[node].call(do, **what))

    def client_port(self, node: int) -> int:
        """The port on `client_host` at which a node's clients are served."""
        return self._pods[node].client_port

    @property
    def client_host(self) -> str:
        """The host at which nodes' clients are served: of the engine's machine."""
        return self._engine.host.reach

    async def _open(self) -> None:
        await self._opening.open(self._engine, self._node_image, self._leaders.told)
        self._unexpected = UnexpectedEvents(self._engine, self._pods)
        self._injector = FaultInjector(
            self._engine,
            self._pods,
            self._agents,
            self._ask_clock,
            lambda: self._zero_ns,
            self._leaders.ask,
        )
        self._injector.require(self.config.faults.kinds)
        await self._injector.prepare(self.config.faults.kinds)

    # ------------------------------------------------------------------ driving

    async def _drive(self) -> None:
        finished = self._finished = asyncio.Event()
        loop = asyncio.get_running_loop()
        poll = loop.create_task(self._leaders.poll(self._connect))
        try:
            self._leaders.begin(self._led, self._announced)
            self._conductor.begin(self, self.now_us())
            await finished.wait()
            if self._failure is None and not self._conductor.is_interrupted:
                await self._await_last_answers()
            if self._failure is None:
                await self._events.report_the_last()
                if self._watch and not await asyncio.to_thread(self._watch.is_complete):
                    self._events.lost()
        finally:
            poll.cancel()
            if self._wake_handle is not None:
                self._wake_handle.cancel()
            for task in list(self._tasks):
                task.cancel()
        if self._failure is not None:
            raise self._failure
        if (finding := self._clients.finding()) is not None:
            self._conductor.noticed(finding, self.now_us())

    def _interrupted(self) -> None:
        if self._was_interrupted:
            self._fail(KeyboardInterrupt())  # asked twice: stop at once
            return
        self._was_interrupted = True
        self._conductor.interrupt(self.now_us())
        self._loop.call_later(GRACE_S, self._fail, KeyboardInterrupt())
        self._after()

    def _led(self, node: int, term: tuple[int, ...]) -> None:
        if not self._conductor.done:
            self._conductor.led(node, term, self.now_us())

    def _announced(self, leader: int) -> None:
        if not self._conductor.done:
            self._conductor.leader_announced(leader, self.now_us())
            self._after()

    def _connect(self, client: GuardedClient) -> None:
        self._spawn(_ignoring_result(client.connect()))

    def _woke(self) -> None:
        self._wake_handle = None
        self._conductor.woke(self.now_us())
        self._after()

    async def _carry_out(self, fault: Fault, what: str) -> None:
        try:
            act = self._injector.inject if what == "inject" else self._injector.heal
            report = await act(fault)
        except UnsupportedFault as error:
            self._fail(error)
            return
        self._told(fault, what, report)

    def _told(self, fault: Fault, what: str, report: FaultReport) -> None:
        if what == "heal" and report.verified:  # else the node may well be down still
            self._unexpected.ended(fault)
        self._conductor.fault_done(fault, what, report, self.now_us())
        self._after()

    # ------------------------------------------------------------------ unexpected events

    def _from_thread(self, take: Callable[..., None], *what: ContainerEvent) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(take, *what)

    def _tell(self, finding: dict[str, Any]) -> None:
        self._conductor.noticed(finding, self.now_us())
        self._after()

    async def _await_last_answers(self) -> None:
        """Wait for nodes that start late after the last fault, which may end because of it."""
        await self._events.await_restarts()
        healed = self.config.core() or self.config.cluster.node_ids()
        awaited = [node for node in healed if not self._unexpected.is_held_down(node)]
        for finding in await findings_at_end(
            {node: self._clients.by_node[node] for node in awaited},
            {node: self._agents[node] for node in awaited},
            self.config.answer_within_us / 1e6,
            is_running=lambda node: self._engine.is_running(self._pods[node]),
            last_lines=lambda node: self._engine.last_lines(self._pods[node].node_id),
            is_over=lambda: self._failure is not None or self._was_interrupted,
        ):
            self._tell(finding)

    async def _ask_clock(self, node: int) -> OwnClocks | None:
        asked_ns = time.monotonic_ns()
        status = await self._clients.by_node[node].status(0.5)
        if status is None or status.wall_ns is None or status.monotonic_ns is None:
            return None
        half_ns = (time.monotonic_ns() - asked_ns) // 2
        return OwnClocks(
            status.wall_ns - (time.time_ns() - half_ns),
            status.monotonic_ns - (asked_ns + half_ns),
            half_ns,
        )

    # ------------------------------------------------------------------ collecting and closing

    async def _collect(self, folder: Path) -> dict[str, str]:
        asked = [client.status(STATUS_TIMEOUT_S) for client in self._clients.by_node.values()]
        statuses = dict(zip(self._clients.by_node, await asyncio.gather(*asked), strict=True))
        return await collect(
            folder, self._api, self._pods, statuses, self._target.artifacts, self._zero_ns
        )

    def _settle(self) -> None:
        """End what is left in the loop. An interruption that one task has met is raised once more
        in those that wait for it."""
        for _ in range(SETTLE_TRIES):
            with contextlib.suppress(KeyboardInterrupt):
                self._run(_cancel_others())
                return

    async def _close(self) -> None:
        await asyncio.gather(
            self._clients.close(),
            *(agent.detach() for agent in self._agents.values()),
            return_exceptions=True,
        )

    # ------------------------------------------------------------------ helpers

    def now_us(self) -> int:
        return (time.monotonic_ns() - self._zero_ns) // 1000

    def _after(self) -> None:
        if self._conductor.done and self._finished is not None:
            self._finished.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        if self._finished is not None:
            self._finished.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._clients.run(work)


def _require_supported(config: RunConfig) -> None:
    able = kinds_of("docker")
    if unable := [kind for kind in config.faults.kinds if kind not in able]:
        raise UsageError(
            f"containers cannot have these faults: {', '.join(unable)}",
            remedy=f"they can have {', '.join(able)}; the simulator has all: --on sim",
        )


async def _cancel_others() -> None:
    """What an interruption has left in the loop ends, and does not warn that it was never run."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _ignoring_result(work: Coroutine[Any, Any, Any]) -> None:
    await work
