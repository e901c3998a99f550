"""The containers of a session's agents: one for each container of others, whose network namespace
it joins, and the witness, in a container of its own on the same networks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import docker

from harness.inject.containers import Container
from harness.runtimes.docker.engine import LABEL_JOINED, engine_errors, labels
from harness.runtimes.docker.pods import AGENT_CAPABILITIES, AGENT_COMMAND, LOGS, TUN

LINGER_S: Final = 5
"""How long an agent stays, healed, after this program has died; then its container removes
itself."""
_HOST: Final[dict[str, Any]] = {
    "cap_drop": ["ALL"],
    "cap_add": list(AGENT_CAPABILITIES),
    "devices": [f"{TUN}:{TUN}:rwm"] if Path(TUN).exists() else [],
    "log_config": LOGS,
    "security_opt": ["no-new-privileges"],
    "auto_remove": True,
}


class AgentContainers:
    """Creates them, and starts none. Functions block; call them from worker threads."""

    def __init__(self, api: docker.APIClient, run_id: str, image: str) -> None:
        self._api = api
        self._run_id = run_id
        self._image = image

    def create_successor(self, container: Container, *, had_paused: bool) -> str:
        """An agent that joins after another one was killed there, which `had_paused` the processes
        of the container."""
        return self.create_agent(container, "--after-killed", *["--resume"] * had_paused)

    def create_agent(self, container: Container, *options: str) -> str:
        host = self._api.create_host_config(
            network_mode=f"container:{container.identity}", pid_mode="host", **_HOST
        )
        joined = " ".join(sorted(container.namespaces))
        return self._create(
            ["--target-pid", str(container.pid), *options],
            host,
            f"joining {container.name}",
            joined,
        )

    def create_witness(self, network: str) -> str:
        host = self._api.create_host_config(network_mode=network, **_HOST)
        return self._create([], host, "starting a witness")

    def connect(self, witness: str, networks: Collection[str]) -> None:
        """The witness is on these networks, too."""
        with engine_errors("starting a witness"):
            for network in sorted(networks):
                self._api.connect_container_to_network(witness, network)

    def _create(self, options: list[str], host: Any, doing: str, joined: str = "") -> str:
        with engine_errors(doing):
            made = self._api.create_container(
                self._image,
                entrypoint=[*AGENT_COMMAND, "--linger-s", str(LINGER_S), *options],
                user="0:0",
                stdin_open=True,
                host_config=host,
                labels=labels(self._run_id, "agent") | ({LABEL_JOINED: joined} if joined else {}),
            )
        return str(made["Id"])
