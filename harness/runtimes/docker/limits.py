"""Limits of a running container, set by the engine's update, and their state in the kernel.

Functions block; call them from worker threads. `container` is a name or an id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import docker
from docker.errors import APIError

from harness.errors import HarnessError
from harness.runtimes.docker.engine import engine_errors

PERIOD_US: Final = 100_000
QUOTA_LEAST_US: Final = 1_000
"""The kernel refuses less."""
ENDING: Final = re.compile(
    r"stopped container|not running|deleted process|(task|process) \S+ not found|ttrpc: closed"
)
"""What engines say of a container that is just ending."""
ENDING_S: Final = 10.0
"""How long an engine may take to see that a container has ended."""
NO_LIMIT: Final = 1 << 50
"""An engine cannot remove a memory limit, only raise it; this is more than any machine has."""


class Limits(NamedTuple):
    """Of a container, as the engine shows them. 0: none, or the engine's default."""

    quota_us: int
    """Of the processor in each period; also -1: none."""
    period_us: int
    nano_cpus: int
    """What --cpus sets in place of quota and period."""
    memory: int
    swap: int
    """Memory and swap together; -1: as much as the machine has."""

    @property
    def quota_per_period_us(self) -> int | None:
        """The quota as one in each PERIOD_US; None: no limit."""
        if self.quota_us <= 0:
            return None
        return max(QUOTA_LEAST_US, self.quota_us * PERIOD_US // (self.period_us or PERIOD_US))

    def of_cpu(self) -> tuple[int, int]:
        """What `limit_cpu` has to set for these."""
        return self.quota_us or -1, self.period_us or PERIOD_US

    def of_memory(self) -> tuple[int, int]:
        """What `limit_memory` has to set for these: an engine's default of memory and swap together
        is twice the memory."""
        return self.memory or NO_LIMIT, self.swap or 2 * self.memory or NO_LIMIT

    def effective(self) -> tuple[object, object]:
        """Two of these that are equal are the same limits."""
        cpu = self.of_cpu() if self.quota_us > 0 else None
        return cpu, self.of_memory() if 0 < self.memory < NO_LIMIT else None


def limits_of(api: docker.APIClient, container: str) -> Limits:
    with engine_errors("looking at a container"):
        said = api.inspect_container(container)["HostConfig"]
    names = ("CpuQuota", "CpuPeriod", "NanoCpus", "Memory", "MemorySwap")
    return Limits(*(int(said.get(name) or 0) for name in names))


def limit_cpu(
    api: docker.APIClient, container: str, quota_us: int, period_us: int = PERIOD_US
) -> int:
    """Let the container use `quota_us` in each period (-1: no limit). Returns when this was in
    effect, on CLOCK_MONOTONIC in ns."""
    with engine_errors("limiting a container's processor time"):
        _until_ended(
            lambda: api.update_container(container, cpu_period=period_us, cpu_quota=quota_us)
        )
    return time.monotonic_ns()


def limit_memory(
    api: docker.APIClient, container: str, limit: int, with_swap: int | None = None
) -> int:
    """Limit the container's memory to this many bytes, and memory and swap together to
    `with_swap` (None: without swap); returns when that was in effect."""
    swap = limit if with_swap is None else with_swap
    with engine_errors("limiting a container's memory"):
        _until_ended(lambda: api.update_container(container, mem_limit=limit, memswap_limit=swap))
    return time.monotonic_ns()


def restore(api: docker.APIClient, container: str, before: Limits) -> list[str]:
    """Set back what is not as it was; why that was not possible, in words."""
    problems: list[str] = []
    try:
        now_cpu, now_memory = limits_of(api, container).effective()
    except HarnessError as error:
        return [str(error)]
    cpu, memory = before.effective()
    if now_cpu != cpu:
        with _noting(problems):
            limit_cpu(api, container, *before.of_cpu())
    if now_memory != memory:
        with _noting(problems):
            limit_memory(api, container, *before.of_memory())
    return problems


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except HarnessError as error:
        problems.append(str(error))


def stats(api: docker.APIClient, container: str) -> Mapping[str, Any]:
    """The kernel's accounting of the container, once."""
    with engine_errors("reading a container's accounting"):
        return dict(api.stats(container, stream=False, one_shot=True))


def state(api: docker.APIClient, container: str) -> Mapping[str, Any]:
    """The engine's view of the container: Running, OOMKilled, ExitCode, ..."""
    with engine_errors("looking at a container"):
        return dict(api.inspect_container(container)["State"])


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
