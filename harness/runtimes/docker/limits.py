"""Limits of a running container, set by the engine's update, and their state in the kernel.

Functions block; call them from worker threads. `container` is a name or an id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import docker
from docker.errors import APIError

from harness.runtimes.docker.engine import engine_errors

PERIOD_US: Final = 100_000
ENDING: Final = re.compile(
    r"stopped container|not running|deleted process|(task|process) \S+ not found|ttrpc: closed"
)
"""What engines say of a container that is just ending."""
ENDING_S: Final = 10.0
"""How long an engine may take to see that a container has ended."""
NO_LIMIT: Final = 1 << 50
"""An engine cannot remove a memory limit, only raise it; this is more than any machine has."""


def limit_cpu(api: docker.APIClient, container: str, quota_us: int) -> int:
    """Let the container use `quota_us` in each PERIOD_US (-1: no limit). Returns when this was in
    effect, on CLOCK_MONOTONIC in ns."""
    with engine_errors("limiting a container's processor time"):
        _until_ended(
            lambda: api.update_container(container, cpu_period=PERIOD_US, cpu_quota=quota_us)
        )
    return time.monotonic_ns()


def cpu_quota_us(api: docker.APIClient, container: str) -> int:
    return int(_host_config(api, container).get("CpuQuota") or 0)


def limit_memory(api: docker.APIClient, container: str, limit: int) -> int:
    """Limit the container's memory to this many bytes, without swap; returns when that was in
    effect."""
    with engine_errors("limiting a container's memory"):
        _until_ended(lambda: api.update_container(container, mem_limit=limit, memswap_limit=limit))
    return time.monotonic_ns()


def memory_limit(api: docker.APIClient, container: str) -> int:
    """The limit according to the engine; 0: none."""
    return int(_host_config(api, container).get("Memory") or 0)


def stats(api: docker.APIClient, container: str) -> Mapping[str, Any]:
    """The kernel's accounting of the container, once."""
    with engine_errors("reading a container's accounting"):
        return dict(api.stats(container, stream=False, one_shot=True))


def state(api: docker.APIClient, container: str) -> Mapping[str, Any]:
    """The engine's view of the container: Running, OOMKilled, ExitCode, ..."""
    with engine_errors("looking at a container"):
        return dict(api.inspect_container(container)["State"])


def _host_config(api: docker.APIClient, container: str) -> Mapping[str, Any]:
    with engine_errors("looking at a container"):
        return dict(api.inspect_container(container)["HostConfig"])


def _until_ended(update: Callable[[], object]) -> None:
    """Again while the container is just ending: then the engine takes it to run and its kernel
    part does not, and what is asked for once it has ended counts from its next start."""
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            update()
            return
        except APIError as error:
            if not ENDING.search(str(error)) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
