"""A session of faults in existing containers.

For each container an agent container is started that joins its network namespace, uses the host's
PID namespace, and acts on that container's processes only. A witness, an agent in a container of
its own on the same networks, is the other end of measurements where no second container is named.
All of them remove themselves; when this program dies they heal first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from faults.description import Fault
from faults.kinds.memory import MemoryPressure
from faults.kinds.slow_cpu import SlowCpu
from harness.errors import HarnessError, UsageError
from harness.inject.containers import Container, find_containers, has_ended
from harness.inject.limits_guard import LimitsGuard
from harness.runtimes.docker.abilities import abilities_of, require_kinds
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import connect, engine_errors, labels
from harness.runtimes.docker.images import EngineImages
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.docker.pods import (
    AGENT_CAPABILITIES,
    AGENT_COMMAND,
    LOGS,
    TUN,
    Pod,
    PodEngine,
)
from harness.runtimes.docker.removal import remove_labelled
from harness.runtimes.interface import FaultReport

LINGER_S: Final = 5
"""How long an agent stays, healed, after this program has died; then its container removes
itself."""
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
SETTLE_TRIES: Final = 3
ALL_PEERS: Final = "*"
_NODE: Final = re.compile(r"\bn\d+\b")
T = TypeVar("T")


class Session:
    """`with Session(["web-1", "db"]) as session: session.inject(fault); ...; session.heal(fault)`.

    Containers are numbered from 1 in their order. Raises UsageError for one that is refused,
    EngineError or StartError where an agent cannot be started.
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
        self._loop = asyncio.new_event_loop()
        self._stack = ExitStack()
        self._pods: dict[int, Pod] = {}
        self._agents: dict[int, Agent] = {}
        self._injector: FaultInjector
        self._guarded = False
        self._active: dict[str, Fault] = {}

    @property
    def witness(self) -> int:
        """The number that represents all hosts other than the named containers."""
        return len(self.containers) + 1

    def name_of(self, node: int) -> str:
        return self.containers[node - 1].name if node < self.witness else "all others"

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

    def check(self, fault: Fault) -> Fault:
        """The fault as it would be injected. Raises UsageError for one that is refused here."""
        if fault.kind not in KINDS:
            raise UsageError(
                f"{fault.kind} faults are not for containers that are managed by others",
                remedy=f"choose one of: {', '.join(KINDS)}",
            )
        require_kinds(self._abilities, [fault.kind])
        self._injector.require([fault.kind])
        cluster = range(1, self.witness)
        resolved = fault.resolve(1, cluster)
        if (why := resolved.lacks_effect(cluster)) is not None:
            raise UsageError(
                f"{resolved.describe()} would change nothing among these containers: {why}",
                remedy="name other containers, or another fault",
            )
        return resolved

    def is_active(self, fault: Fault) -> bool:
        """Whether it was injected, or that was tried, and it was not healed."""
        return fault.id in self._active

    def inject(self, fault: Fault) -> FaultReport:
        """The report has the evidence, and the reason of a failure. Raises UsageError."""
        resolved = self.check(fault)
        if isinstance(fault, SlowCpu | MemoryPressure) and not self._guarded:
            self._guarded = True
            guard = LimitsGuard([c.identity for c in self.containers])
            self._stack.enter_context(guard)
        self._active[fault.id] = resolved
        report = self._named(self._run(self._injector.inject(resolved)))
        if ended := [c.name for c in self.containers if has_ended(self._api, c)]:
            words = f"{' and '.join(ended)} ended meanwhile: there is nothing left to affect"
            return dataclasses.replace(report, verified=False, problem=words)
        return report

    def heal(self, fault: Fault) -> FaultReport:
        resolved = self._active.pop(fault.id)
        return self._named(self._run(self._injector.heal(resolved)))

    def close(self) -> None:
        """Heal what is active, and remove the agents. Safe to call at any time, also twice."""
        if self._loop.is_closed():
            return
        try:
            for fault in list(self._active.values()):
                self.heal(fault)
        except HarnessError:
            pass  # the agents heal by themselves; the engine's limits are restored by the guard
        finally:
            self._settle()
            for agent in self._agents.values():
                self._run(_ignoring_errors(agent.detach()))
            self._run(self._loop.shutdown_default_executor())
            remove_labelled(self._api, self.run_id)
            self._stack.close()
            self._api.close()
            self._loop.close()

    def _settle(self) -> None:
        """End what an interruption of `open` has left in the loop; it is raised once more in tasks
        that wait for the one that met it."""
        for _ in range(SETTLE_TRIES):
            with suppress(KeyboardInterrupt):
                self._run(_cancel_others())
                return

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Start the agents. After an error, call `close`."""
        image = EngineImages(self._api, self._say).own()
        engine = PodEngine(self._api, self.run_id, image, 0)
        for number, container in enumerate(self.containers, 1):
            self._say(f"joining {container.name}")
            # In a thread, which `close` waits for: an interrupted request may make it all the same.
            identity = self._run(asyncio.to_thread(self._create_agent, image, container))
            self._pods[number] = Pod(
                node=number, agent_id=identity, gateway=ALL_PEERS, node_id=container.identity
            )
        if any(container.networks for container in self.containers):
            witness = self._run(asyncio.to_thread(self._create_witness, image))
            self._pods[self.witness] = Pod(node=self.witness, agent_id=witness, gateway="")
        self._run(self._start())
        self._injector = FaultInjector(engine, self._pods, self._agents, _knows_no_clock, lambda: 0)

    def _create_agent(self, image: str, container: Container) -> str:
        host = self._api.create_host_config(
            network_mode=f"container:{container.identity}", pid_mode="host", **_HOST
        )
        command = [*AGENT_COMMAND, "--linger-s", str(LINGER_S), "--target-pid", str(container.pid)]
        return self._create(image, command, host, f"joining {container.name}")

    def _create_witness(self, image: str) -> str:
        networks = sorted({name for c in self.containers for name in c.networks})
        host = self._api.create_host_config(network_mode=networks[0], **_HOST)
        command = [*AGENT_COMMAND, "--linger-s", str(LINGER_S)]
        witness = self._create(image, command, host, "starting a witness")
        with engine_errors("starting a witness"):
            for network in networks[1:]:
                self._api.connect_container_to_network(witness, network)
        return witness

    def _create(self, image: str, command: list[str], host: Any, doing: str) -> str:
        with engine_errors(doing):
            made = self._api.create_container(
                image,
                entrypoint=command,
                user="0:0",
                stdin_open=True,
                host_config=host,
                labels=labels(self.run_id, "agent"),
            )
        return str(made["Id"])

    async def _start(self) -> None:
        self._agents = {n: Agent(n, pod.agent_id) for n, pod in self._pods.items()}
        await asyncio.gather(*(self._start_one(n) for n in self._pods))

    async def _start_one(self, node: int) -> None:
        agent, identity = self._agents[node], self._pods[node].agent_id
        await agent.attach(self._api)
        with engine_errors(f"joining {self.name_of(node)}"):
            await asyncio.to_thread(self._api.start, identity)
        await agent.hello()

    # ------------------------------------------------------------------ small things

    def _named(self, report: FaultReport) -> FaultReport:
        """The report with the containers' names in place of n1, n2, ..."""
        names = {f"n{n}": self.name_of(n) for n in sorted(self._pods)}
        problem = report.problem and _NODE.sub(lambda m: names.get(m[0], m[0]), report.problem)
        evidence = _renamed(report.evidence, names)
        return dataclasses.replace(report, evidence=evidence, problem=problem)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


_HOST: Final[dict[str, Any]] = {
    "cap_drop": ["ALL"],
    "cap_add": list(AGENT_CAPABILITIES),
    "devices": [f"{TUN}:{TUN}:rwm"] if Path(TUN).exists() else [],
    "log_config": LOGS,
    "security_opt": ["no-new-privileges"],
    "auto_remove": True,
}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Names in the keys and texts of evidence: "n1", "n1>n2", "n2 n3"."""
    if isinstance(value, dict):
        return {_renamed(key, names): _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, str):
        return value
    for separator in (">", " "):
        if separator in value:
            return separator.join(names.get(part, part) for part in value.split(separator))
    return names.get(value, value)


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
