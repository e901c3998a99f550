"""The same programs on containers: real nodes, real disks, links that a delay fault makes long.

Links between nodes, and the answers to clients, are delayed by `faults.kinds.delay`; what clients
send cannot be delayed by it (no agent is at their end), so a client waits before it sends. Every
delay is proven by the agents' probes before anything is measured. Everything is removed at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from faults.description import Link
from faults.kinds.delay import Delay
from harness.bench.compare.clusters import simulate, timing
from harness.bench.compare.columns import Column
from harness.bench.compare.script import Program, Script
from harness.bench.compare.settings import Settings
from harness.errors import HarnessError
from harness.run.config import RunConfig
from harness.run.record import new_run_id
from harness.targets import settings_of

if TYPE_CHECKING:
    from harness.runtimes.docker.runtime import DockerRuntime


class Containers:
    """A running cluster, as long as `containers` lasts."""

    def __init__(self, runtime: DockerRuntime) -> None:
        self._runtime = runtime

    def drive(self, *programs: Callable[[Script], Program]) -> int:
        """Run the programs to their end; when that was, on the cluster's clock. May be called
        again, with others."""
        script = Script(*programs)
        self._runtime.drive(script)
        if script.is_interrupted:
            raise KeyboardInterrupt
        if script.failure is not None:
            raise script.failure
        return script.now_us

    def counters(self) -> Counter[str]:
        """What all nodes have counted so far, together: messages sent by type as "sent.Accept",
        fsyncs as "disk.syncs"."""
        found: Counter[str] = Counter()
        for node in self._runtime.config.cluster.node_ids():
            status = self._runtime.status(node)
            if status is None:
                raise HarnessError(f"n{node} does not say what it has counted")
            found.update(status.raw["counters"])
        return found

    def delay(self, delay_us: int, *, clients: bool = False, jitter_us: int = 0) -> None:
        """Make every link between nodes longer, and the answers to clients if `clients`; by up to
        `jitter_us` more, drawn for each packet. Raises HarnessError where the probes disagree."""
        self._inject(
            Delay(
                id="delay",
                start_us=0,
                duration_us=0,
                nodes=self._runtime.config.cluster.node_ids(),
                delay_us=delay_us,
                jitter_us=jitter_us,
                clients=clients,
            )
        )

    def delay_links(self, delays_us: Mapping[Link, int]) -> None:
        """Make each of these directed links longer by its own time. Raises HarnessError."""
        for delay_us in sorted(set(delays_us.values())):
            links = tuple(sorted(link for link, us in delays_us.items() if us == delay_us))
            self._inject(
                Delay(
                    id=f"delay-{delay_us}",
                    start_us=0,
                    duration_us=0,
                    nodes=tuple(sorted({source for source, _ in links})),
                    links=links,
                    delay_us=delay_us,
                )
            )

    def _inject(self, fault: Delay) -> None:
        report = self._runtime.inject_now(fault)
        if not report.verified:
            raise HarnessError(f"the links are not delayed as they should be: {report.problem}")


@contextmanager
def containers(
    settings: Settings, column: Column, *, link_us: int, **more: Any
) -> Iterator[Containers]:
    """A fresh cluster whose timeouts suit links of this delay; the delay itself is not yet there.
    Raises EngineError, StartError."""
    from harness.runtimes.docker.runtime import DockerRuntime  # noqa: PLC0415  # needs an engine

    given = timing(settings, column, link_us) | column.options(settings.nodes) | more
    config = RunConfig.of(
        target=column.target,
        nodes=settings.nodes,
        on="docker",
        seed=settings.seed,
        finale=False,
        faults=("delay", "kill"),
        settings=settings_of(column.target, given),
    )
    runtime = DockerRuntime(config, new_run_id())
    try:
        runtime.open()
        yield Containers(runtime)
    finally:
        runtime.close()


def perform(
    settings: Settings,
    column: Column,
    *programs: Callable[[Script], Program],
    link_us: int,
    clients: bool = False,
    delayed: bool = True,
    **more: Any,
) -> None:
    """Run the programs on a fresh cluster with links of this delay, wherever `settings` says. In
    containers: `clients`, the answers to clients are delayed as well; not `delayed`, nothing is,
    for what does not depend on it."""
    if settings.on == "sim":
        simulate(settings, column, *programs, link_us=link_us, **more)
        return
    with containers(settings, column, link_us=link_us, **more) as cluster:
        if delayed:
            cluster.delay(link_us, clients=clients)
        cluster.drive(*programs)
