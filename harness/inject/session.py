"""A session of faults in existing containers.

For each container an agent container is started that joins its network namespace, uses the host's
PID namespace, and acts on that container's processes only. A witness, an agent in a container of
its own on the same networks, is the other end of measurements where no second container is named.
All of them remove themselves; when this program dies they heal first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TypeVar

from faults.description import Fault
from faults.kinds.memory import MemoryPressure
from faults.kinds.partition import Partition
from faults.kinds.slow_cpu import SlowCpu
from faults.link_fault import LinkFault
from harness.errors import HarnessError, UsageError
from harness.inject.agent_containers import AgentContainers
from harness.inject.containers import Container, find_containers, has_ended
from harness.inject.holders import require_free
from harness.inject.limits_guard import LimitsGuard
from harness.inject.lost_agents import LostAgents
from harness.inject.placing import affected, named, placed
from harness.runtimes.docker.abilities import abilities_of, require_kinds
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import API_TIMEOUT_S, connect, engine_errors
from harness.runtimes.docker.images import EngineImages
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.docker.injectors.cluster import all_of
from harness.runtimes.docker.limits import limits_of
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.docker.removal import remove_labelled
from harness.runtimes.interface import FaultReport

KINDS: Final = (
    "partition",
    "pause",
    "clock",
    "drift",
    "strobe",
    "monotonic",
    "loss",
    "delay",
    "duplicate",
    "reorder",
    "corrupt",
    "rate",
    "slow-cpu",
    "memory",
)
"""The kinds that can be injected into an existing container."""
WITNESS: Final = 1_000_000
"""The number that represents all hosts other than the session's containers."""
SETTLE_TRIES: Final = 3
ALL_PEERS: Final = "*"
T = TypeVar("T")


class Session:
    """`with Session(["web-1", "db"]) as session: session.inject(fault); ...; session.heal(fault)`.

    Containers are numbered from 1 in their order. Raises UsageError for one that is refused, also
    because another session has faults in it, and EngineError or StartError where an agent cannot be
    started. Threads may share a session.
    """

    def __init__(self, names: Sequence[str], say: Callable[[str], None] = lambda _: None) -> None:
        if not names:
            raise UsageError("name at least one container")
        self._api = connect()
        self.run_id = f"inject-{secrets.token_hex(4)}"
        try:
            self._abilities = abilities_of(self._api)
            self.containers = find_containers(self._api, names)
        except BaseException:
            self._api.close()
            raise
        self._say = say
        self._lock = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self._pods: dict[int, Pod] = {}
        self._agents: dict[int, Agent] = {}
        self._created: AgentContainers
        self._lost: LostAgents
        self._witness_networks: set[str] = set()
        self._injector: FaultInjector | None = None
        self._guards: list[LimitsGuard] = []
        self._guarded: set[int] = set()
        self._unhealed_limits: set[str] = set()
        self._active: dict[str, Fault] = {}

    def name_of(self, node: int) -> str:
        return "all others" if node == WITNESS else self.containers[node - 1].name

    def numbers_of(self, containers: Iterable[Container]) -> list[int]:
        """The numbers of some of its containers."""
        own = [container.identity for container in self.containers]
        return [own.index(container.identity) + 1 for container in containers]

    def __enter__(self) -> Session:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ injecting

    def check(self, fault: Fault, among: Sequence[int] = ()) -> Fault:
        """The fault as it would be injected. `among`: the numbers of the containers that it calls
        1, 2, ...; all in their order if empty. Raises UsageError for one that is refused here."""
        if fault.kind not in KINDS:
            raise UsageError(
                f"{fault.kind} faults are not for containers that are managed by others",
                remedy=f"choose one of: {', '.join(KINDS)}",
            )
        require_kinds(self._abilities, [fault.kind])
        self._opened().require([fault.kind])
        numbers = among or range(1, len(self.containers) + 1)
        cluster = range(1, len(numbers) + 1)
        resolved = fault.resolve(1, cluster)
        if (why := resolved.lacks_effect(cluster)) is not None:
            raise UsageError(
                f"{resolved.describe()} would change nothing among these containers: {why}",
                remedy="name other containers, or another fault",
            )
        if isinstance(fault, LinkFault | Partition):
            _require_own_networks(self.containers)
        own = placed(resolved, numbers)
        if isinstance(own, SlowCpu):
            for number in affected(own):
                self._require_quota(self.containers[number - 1])
        return own

    def _require_quota(self, container: Container) -> None:
        """Raises UsageError if the engine does not let others set one."""
        if limits_of(self._api, container.identity).nano_cpus:
            raise UsageError(
                f"the container {container.name!r} was started with --cpus, and the engine sets no "
                "other limit of its processor time",
                remedy="start it with --cpu-quota in place of --cpus (50000 is half a processor)",
            )

    def is_active(self, fault: Fault) -> bool:
        """Whether it was injected, or that was tried, and it was not healed."""
        return fault.id in self._active

    def inject(self, fault: Fault, among: Sequence[int] = ()) -> FaultReport:
        """The report has the evidence, and the reason of a failure. Raises UsageError as `check`
        does."""
        with self._lock:
            own = self.check(fault, among)
            if isinstance(own, SlowCpu | MemoryPressure):
                self._guard_limits(own)
                self._unhealed_limits.add(own.id)
            self._active[fault.id] = own
            self._lost.began(own)
            report = self._reported(own, self._run(self._opened().inject(own)))
            if ended := self._ended(own):
                words = f"{ended} ended meanwhile: there is nothing left to affect"
                return dataclasses.replace(report, verified=False, problem=words)
            return report

    def heal(self, fault: Fault) -> FaultReport:
        with self._lock:
            own = self._active.pop(fault.id)
            report = self._reported(own, self._run(self._opened().heal(own)))
            if isinstance(own, SlowCpu | MemoryPressure):
                if report.verified:
                    self._unhealed_limits.discard(own.id)
                return report
            if report.verified:
                self._lost.healed(own, self._active.values())
            if ended := self._ended(own):
                words = f"{ended} ended meanwhile, and the fault with it"
                return dataclasses.replace(report, verified=False, problem=words)
            self._run(self._lost.remove_left())
            return self._lost.told_in(report, affected(own))

    def _ended(self, fault: Fault) -> str:
        """The names of the fault's containers that have ended since they were joined."""
        own = [self.containers[number - 1] for number in affected(fault)]
        return " and ".join(c.name for c in own if has_ended(self._api, c))

    def _guard_limits(self, fault: Fault) -> None:
        new = sorted({int(node) for node in fault.nodes} - self._guarded)
        if new:
            guard = LimitsGuard([self.containers[number - 1].identity for number in new])
            self._guards.append(guard)
            self._guarded |= set(new)

    def _reported(self, fault: Fault, report: FaultReport) -> FaultReport:
        """With the containers' names in place of n1, n2, ...; not verified if no link of the fault
        could be measured."""
        if isinstance(fault, LinkFault) and report.verified:
            ends = [(a, b) for a in self._pods for b in self._pods if a != b]
            if not any(map(fault.covers, ends)):
                words = f"{self.name_of(affected(fault)[0])} is on no network that has other hosts"
                problem = f"nothing could be measured: {words}"
                report = dataclasses.replace(report, verified=False, problem=problem)
        return named(report, {f"n{n}": self.name_of(n) for n in sorted(self._pods)})

    # ------------------------------------------------------------------ joining

    def open(self) -> None:
        """Start the agents. After an error, call `close`."""
        image = EngineImages(self._api, self._say).own()
        self._created = AgentContainers(self._api, self.run_id, image)
        self._lost = LostAgents(self._api, self._created, self.containers, self._agents)
        _require_own_processes(self.containers)
        self._join(range(1, len(self.containers) + 1))
        engine = PodEngine(self._api, self.run_id, image, 0)
        self._injector = FaultInjector(
            engine, self._pods, self._agents, _knows_no_clock, lambda: 0, managed=False
        )

    def add(self, containers: Iterable[Container]) -> None:
        """Join these, too, as far as they are not joined. Faults that are active stay. Raises as
        opening a session does; then the session is as it was before."""
        with self._lock:
            known = {container.identity for container in self.containers}
            new = [container for container in containers if container.identity not in known]
            if not new:
                return
            _require_own_processes([*self.containers, *new])
            _require_own_networks([*self.containers, *new])
            numbers = range(len(self.containers) + 1, len(self.containers) + len(new) + 1)
            self.containers += new
            had_witness = WITNESS in self._pods
            try:
                self._join(numbers)
                self._run(self._opened().pods_were_added())
            except BaseException:
                self._leave(numbers)
                del self.containers[numbers[0] - 1 :]
                if not had_witness:
                    self._leave([WITNESS])
                    self._witness_networks = set()
                raise

    def _join(self, numbers: Sequence[int]) -> None:
        """Agents join these containers. They are created in threads, which `close` waits for: an
        interrupted request may make one all the same."""
        new = [self.containers[number - 1] for number in numbers]
        require_free(self._api, new)
        own: dict[str, str] = {}
        for number, container in zip(numbers, new, strict=True):
            self._say(f"joining {container.name}")
            made = self._run(asyncio.to_thread(self._created.create_agent, container))
            own[container.identity] = made
            self._pods[number] = Pod(
                node=number, agent_id=made, gateway=ALL_PEERS, node_id=container.identity
            )
        require_free(self._api, new, own)
        starting = list(numbers)
        networks = {name for container in new for name in container.networks}
        if networks - self._witness_networks:
            starting += self._widen_witness(networks)
        self._run(self._start(starting))

    def _widen_witness(self, networks: set[str]) -> list[int]:
        """The witness is on these networks, too; its number, if it was created for that."""
        new = sorted(networks - self._witness_networks)
        created: list[int] = []
        if WITNESS not in self._pods:
            made = self._run(asyncio.to_thread(self._created.create_witness, new.pop(0)))
            self._pods[WITNESS] = Pod(node=WITNESS, agent_id=made, gateway="")
            created = [WITNESS]
        witness = self._pods[WITNESS].agent_id
        self._run(asyncio.to_thread(self._created.connect, witness, new))
        self._witness_networks |= networks
        return created

    async def _start(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._agents[number] = Agent(number, self._pods[number].agent_id)
        await all_of(map(self._start_one, numbers))

    async def _start_one(self, number: int) -> None:
        agent, identity = self._agents[number], self._pods[number].agent_id
        await agent.attach(self._api)
        with engine_errors(f"joining {self.name_of(number)}"):
            await asyncio.to_thread(self._api.start, identity)
        await agent.hello()
        await agent.clock_offset_ns()

    def _opened(self) -> FaultInjector:
        assert self._injector is not None, "the session is not open"
        return self._injector

    # ------------------------------------------------------------------ leaving

    def close(self) -> None:
        """Heal what is active, and remove the agents. Safe to call at any time, also twice."""
        with self._lock:
            if self._loop.is_closed():
                return
            try:
                for fault in list(self._active.values()):
                    # Agents heal by themselves, and the engine's limits are restored by the guard.
                    with suppress(HarnessError):
                        self.heal(fault)
                if self._injector is not None:
                    with suppress(HarnessError):
                        self._run(self._lost.remove_left())
            finally:
                self._settle()
                for agent in self._agents.values():
                    self._run(_ignoring_errors(agent.detach()))
                self._run(self._loop.shutdown_default_executor())
                self._api.creations.end(API_TIMEOUT_S)
                try:
                    remove_labelled(self._api, self.run_id)
                finally:
                    for guard in self._guards:
                        guard.end(restored=not self._unhealed_limits)
                    self._api.close()
                    self._loop.close()

    def _leave(self, numbers: Iterable[int]) -> None:
        """Remove the agents of these containers."""
        for number in numbers:
            if (agent := self._agents.pop(number, None)) is not None:
                self._run(_ignoring_errors(agent.detach()))
            if (pod := self._pods.pop(number, None)) is not None:
                with suppress(HarnessError), engine_errors("removing an agent"):
                    self._api.remove_container(pod.agent_id, force=True)  # it has no faults yet

    def _settle(self) -> None:
        """End what an interruption of `open` has left in the loop; it is raised once more in tasks
        that wait for the one that met it."""
        for _ in range(SETTLE_TRIES):
            with suppress(KeyboardInterrupt):
                self._run(_cancel_others())
                return

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


def _require_own_processes(containers: Sequence[Container]) -> None:
    """Raises UsageError if two of them have the same processes, which their agents would fight
    over."""
    _require_different(containers, lambda container: container.pid_owner, "PID namespace")


def _require_own_networks(containers: Sequence[Container]) -> None:
    """The same of links."""
    _require_different(containers, lambda container: container.network_owner, "network namespace")


def _require_different(
    containers: Sequence[Container], owner_of: Callable[[Container], str], what: str
) -> None:
    seen: dict[str, str] = {}
    for container in containers:
        other = seen.setdefault(owner_of(container), container.name)
        if other != container.name:
            raise UsageError(
                f"the containers {other!r} and {container.name!r} use the same {what}: a fault of "
                "one is a fault of both",
                remedy=f"name only {other}",
            )


async def _knows_no_clock(_: int) -> None:
    """An existing container does not report its time."""


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _ignoring_errors(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except (HarnessError, OSError):
        return
