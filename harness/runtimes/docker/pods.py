"""A pod: an agent container that owns the network and PID namespaces, and the node that joins them.

Rules, address and published port belong to the agent's namespaces, so they outlive a kill and
restart of the node; and the node may be any image: it needs no tools and no privileges.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import docker
from docker.errors import APIError, NotFound
from docker.types import LogConfig
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from harness.errors import StartError
from harness.runtimes.docker.engine import (
    LABEL,
    LABEL_ROLE,
    STREAM_ERRORS,
    engine_errors,
    engine_host,
    labels,
)
from harness.targets.interface import NodeSpec
from histories.text import printable

AGENT_CAPABILITIES: Final = (
    "NET_ADMIN",
    "NET_RAW",
    "SYS_NICE",
    "SYS_PTRACE",
    "DAC_OVERRIDE",
    "KILL",
)
AGENT_CPU_SHARES: Final = 8 * 1024
"""8 times the ordinary weight: an agent seldom runs, but then it must not wait for busy nodes. Not
more: while agents of other runs on the engine start, nodes must not wait for half a minute."""
CGROUP_VARIABLE: Final = "ANTIPAXOS_CGROUP_PARENT"
TUN: Final = "/dev/net/tun"
"""What the agent's wire needs. An engine elsewhere may lack it where this machine has it, and the
other way round; then shaping works by netem alone, and the agent says so."""
DISK_CAPABILITIES: Final = ("SYS_ADMIN", "SYS_CHROOT", "CHOWN", "FOWNER")
"""What the agent needs beside that to put a file system of its own in front of the node's data; see
`faults.agent.disk`. Only in runs that ask for disk faults."""
DISK_DEVICE: Final = "/dev/fuse"
BACKING: Final = "/antipaxos-disk"
"""Where the node's volume is in the agent's container, in such runs."""
AGENT_COMMAND: Final = ("python3", "-m", "faults.agent")
AGENT_MEMORY: Final = 1 << 30
AGENT_PIDS: Final = 512
SCRATCH: Final = "mode=1777,size=256m"
"""Options of the folders of temporary files: any user may write, as in /tmp."""
LOGS: Final = LogConfig(type="json-file", config={"max-size": "64m", "max-file": "2"})
EXIT_TIMEOUT_S: Final = 10.0
LAST_LINES_MAX: Final = 64 * 1024


def cgroup_parent() -> str | None:
    """The cgroup that the user has set for the containers of runs; None: the engine's own."""
    return os.environ.get(CGROUP_VARIABLE) or None


@dataclass
class Pod:
    """What the engine gave us for one node."""

    node: int
    agent_id: str
    address: str = ""
    gateway: str = ""
    """The address of the network's bridge, from which clients outside come."""
    client_port: int = 0
    node_id: str = ""
    volume: str = ""


class PodEngine:
    """The engine's side of a run's pods. Methods block; call them from worker threads."""

    def __init__(
        self,
        api: docker.APIClient,
        run_id: str,
        agent_image: str,
        client_port: int,
        *,
        disk: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.api = api
        self.run_id = run_id
        self.agent_image = agent_image
        self.client_port = client_port
        self.disk = disk
        """Whether the agents are between the nodes and their disks."""
        self.environment = environment
        """The nodes' environment in addition to their target's."""
        self.network = f"antipaxos-{run_id}"
        self.host = engine_host()

    def create_network(self) -> None:
        with engine_errors("making the run's network"):
            self.api.create_network(
                self.network, driver="bridge", labels=labels(self.run_id, "network")
            )

    def create_agent(self, node: int) -> Pod:
        """The agent's container, and the node's volume; not started."""
        volume = f"{self.network}-data{node}"
        devices = [TUN] if self._has(TUN) else []
        capabilities, security = list(AGENT_CAPABILITIES), ["no-new-privileges"]
        if self.disk:
            devices += [DISK_DEVICE] if self._has(DISK_DEVICE) else []
            capabilities += DISK_CAPABILITIES
            security.append("apparmor=unconfined")
        host = self.api.create_host_config(
            cgroup_parent=cgroup_parent(),
            cap_drop=["ALL"],
            cap_add=capabilities,
            port_bindings={self.client_port: (self.host.publish, None)},
            cpu_shares=AGENT_CPU_SHARES,
            devices=[f"{device}:{device}:rwm" for device in devices],
            binds=[f"{volume}:{BACKING}"] if self.disk else [],
            log_config=LOGS,
            mem_limit=AGENT_MEMORY,
            network_mode=self.network,
            pids_limit=AGENT_PIDS,
            read_only=True,
            security_opt=security,
            tmpfs={"/tmp": SCRATCH, "/run": SCRATCH},
        )
        with engine_errors(f"making the agent of n{node}"):
            self.api.create_volume(volume, labels=labels(self.run_id, "data", node))
            made = self.api.create_container(
                self.agent_image,
                entrypoint=list(AGENT_COMMAND),
                user="0:0",
                name=f"{self.network}-agent{node}",
                hostname=f"n{node}",
                ports=[self.client_port],
                stdin_open=True,
                host_config=host,
                labels=labels(self.run_id, "agent", node),
            )
        # docker-py sets StdinOnce together with attached standard input; see `Agent`.
        return Pod(node=node, agent_id=made["Id"], volume=volume)

    def _has(self, device: str) -> bool:
        """Whether the engine's machine has a device; of another machine that is assumed, and the
        engine refuses what it has not."""
        return not self.host.is_here or Path(device).exists()

    def start_agent(self, pod: Pod) -> None:
        with engine_errors(f"starting the agent of n{pod.node}"):
            self.api.start(pod.agent_id)
            state = self.api.inspect_container(pod.agent_id)
        settings = state["NetworkSettings"]
        pod.address = settings["Networks"][self.network]["IPAddress"]
        pod.gateway = settings["Networks"][self.network]["Gateway"]
        bound = (settings["Ports"] or {}).get(f"{self.client_port}/tcp")
        if not pod.address or not bound:
            raise StartError(
                f"the agent of n{pod.node} did not stay up:\n{self.last_lines(pod.agent_id)}"
            )
        pod.client_port = int(bound[0]["HostPort"])

    def create_node(self, pod: Pod, image: str, spec: NodeSpec) -> None:
        """The node's container; not started."""
        with engine_errors(f"making n{pod.node}"):
            host = self.api.create_host_config(
                cgroup_parent=cgroup_parent(),
                network_mode=f"container:{pod.agent_id}",
                pid_mode=f"container:{pod.agent_id}",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                log_config=LOGS,
                binds=[f"{pod.volume}:{spec.data}"],
                mem_limit=spec.memory,
                pids_limit=spec.pids,
                read_only=spec.read_only,
                tmpfs=dict.fromkeys(spec.scratch, SCRATCH),
            )
            made = self.api.create_container(
                image,
                name=f"{self.network}-n{pod.node}",
                command=list(spec.command),
                entrypoint=list(spec.entrypoint) if spec.entrypoint else None,
                environment={**spec.environment, **self.environment},
                user=spec.user,
                host_config=host,
                labels=labels(self.run_id, "node", pod.node),
            )
        pod.node_id = made["Id"]

    def start_node(self, pod: Pod) -> None:
        with engine_errors(f"starting n{pod.node}"):
            self.api.start(pod.node_id)

    def is_running(self, pod: Pod) -> bool:
        """False if the container was removed."""
        with engine_errors(f"looking at n{pod.node}"):
            try:
                state = self.api.inspect_container(pod.node_id)["State"]
            except NotFound:
                return False
        return bool(state["Running"])

    def what_is_wrong(self, container: str) -> tuple[str, int | None]:
        """The event that a container's state comes to, and its exit code: "die", "pause" or
        "destroy"; "" where it runs."""
        with engine_errors("looking at a container"):
            try:
                state = self.api.inspect_container(container)["State"]
            except NotFound:
                return "destroy", None
        if state["Running"]:
            return ("pause" if state.get("Paused") else ""), None
        return "die", state.get("ExitCode")

    def await_exit(self, pod: Pod) -> bool:
        """Has the engine noticed that the node's process is gone? Starting before is a no-op."""
        waiting = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(EXIT_TIMEOUT_S),
            wait=wait_exponential(multiplier=0.005, max=0.1),
            retry_error_callback=lambda _: True,
        )
        return not waiting(self.is_running, pod)

    def last_lines(self, container: str, count: int = 12) -> str:
        """The last lines that a container has printed, fit for a terminal."""
        try:
            printed = self.api.logs(container, tail=count)[-LAST_LINES_MAX:]
        except STREAM_ERRORS:
            return "(no log)"
        return printable(printed.decode(errors="replace").strip())


def remove_labelled(
    api: docker.APIClient,
    run_id: str | None = None,
    *,
    spare_living: bool = False,
    spare_reaper: bool = False,
) -> list[str]:
    """Remove every container, network and volume of a run (None: of all runs); their names.
    `spare_living`: not what belongs to a run whose controller still works: its reaper runs as long
    as that does, and so do its agents. `spare_reaper`: not the reapers.

    Nodes go before the agents whose namespaces they use. What is already gone is not an error.
    Raises EngineError after everything was tried.
    """
    wanted = {"label": LABEL if run_id is None else f"{LABEL}={run_id}"}
    removed: list[str] = []

    def gone(remove: Callable[[], None], name: str) -> None:
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        while True:
            try:
                remove()
                removed.append(name)
                return
            except NotFound:
                return
            except APIError as error:
                # 409: being removed already, or a network whose last endpoint is still leaving.
                busy = error.status_code in (403, 409, 500)
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def container(found: dict[str, Any]) -> None:
        name = found["Names"][0].lstrip("/") if found.get("Names") else found["Id"][:12]
        gone(lambda: api.remove_container(found["Id"], force=True, v=True), name)

    def network(found: dict[str, Any]) -> None:
        gone(lambda: api.remove_network(found["Id"]), found["Name"])

    def volume(found: dict[str, Any]) -> None:
        gone(lambda: api.remove_volume(found["Name"], force=True), found["Name"])

    living = living_runs(api) if spare_living else frozenset()

    def of(found: Iterable[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return [it for it in found or () if (it["Labels"] or {}).get(LABEL) not in living]

    def role(found: dict[str, Any]) -> str:
        return str((found["Labels"] or {}).get(LABEL_ROLE, ""))

    def containers() -> list[dict[str, Any]]:
        found = of(api.containers(all=True, filters=wanted))
        if spare_reaper:
            found = [it for it in found if role(it) != "reaper"]
        return sorted(found, key=lambda it: role(it) == "agent")

    errors: list[Exception] = []
    with ThreadPoolExecutor(8) as pool:
        for listed, remove in (
            (containers, container),
            (lambda: of(api.networks(filters=wanted)), network),
            (lambda: of(api.volumes(filters=wanted)["Volumes"]), volume),
        ):
            try:
                tasks = [pool.submit(remove, found) for found in listed()]
            except STREAM_ERRORS as error:
                errors.append(error)
                continue
            failed = [task.exception() for task in tasks]
            errors += [one for one in failed if isinstance(one, Exception)]
    if errors:
        with engine_errors("removing what runs left"):
            raise errors[0]
    return removed


def living_runs(api: docker.APIClient) -> frozenset[str]:
    """The ids of runs whose controller is there: it holds the input of their reaper and agents."""
    running = api.containers(filters={"label": LABEL})
    return frozenset(
        found["Labels"][LABEL]
        for found in running
        if found["Labels"].get(LABEL_ROLE) in ("reaper", "agent")
    )
