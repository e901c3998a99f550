"""A pod: an agent container that owns the network and PID namespaces, and the node that joins them.

Rules, address and published port belong to the agent's namespaces, so they outlive a kill and
restart of the node; and the node may be any image: it needs no tools and no privileges.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import docker
from docker.errors import NotFound
from docker.types import LogConfig
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from harness.errors import StartError
from harness.runtimes.docker.engine import (
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
NO_HEALTH_CHECK: Final = {"test": ["NONE"]}
"""An image's health check would start programs beside the node, also while it is paused or its
clock is false."""


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
                healthcheck=NO_HEALTH_CHECK,
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

    def last_lines(self, container: str, count: int = 12, since_s: float | None = None) -> str:
        """The last lines that a container has printed, fit for a terminal; those since a time of
        the engine's clock, if it is given."""
        try:
            printed = self.api.logs(container, tail=count, since=since_s)[-LAST_LINES_MAX:]
        except STREAM_ERRORS:
            return "(no log)"
        return printable(printed.decode(errors="replace").strip())
