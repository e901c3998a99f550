"""Tries each kind of fault on this machine: injected into a small cluster, verified, healed.

Kinds that an agent reports as unsupported are not tried; the agent's reason and remedy are shown.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from faults.description import Fault
from faults.generators import Draw, constraints_for
from faults.kinds import KINDS, kinds_of
from faults.kinds.aimed import Aimed
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.runtimes.docker.injector import handlers_for
from harness.runtimes.docker.injectors import Cluster as Pods
from harness.runtimes.docker.pods import PodEngine
from harness.runtimes.interface import FaultReport

NODES: Final = (1, 2, 3)
TARGET: Final = "multi-paxos"
NO_CONTAINERS: Final = "only the simulator has it: --on sim"
OTHER: Final = "another engine, or the simulator: --on sim"
SEED: Final = 1
TRIES: Final = 3
"""A busy machine may spoil a measurement."""
ASK_EVERY_S: Final = 0.02
STATUS_TIMEOUT_S: Final = 0.5


@dataclass(frozen=True)
class Trial:
    """The result for one kind. `how`: the mechanism; `remedy`: what would help."""

    kind: str
    ok: bool
    how: str = ""
    problem: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "available": self.ok, "how": self.how} | (
            {} if self.ok else {"problem": self.problem, "remedy": self.remedy}
        )


def try_all(
    engine: PodEngine,
    can: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None] = lambda _: None,
    *,
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Trial]:
    """One trial per kind of fault, in the kinds' order. `can` is what an agent said of itself,
    `lacking` what the engine cannot have, with the reasons.
    Raises EngineError or StartError where no cluster can be started."""
    needs = needs_by_kind(engine)
    simple = [kind for kind in kinds_of("docker") if kind in needs]
    tried = {k: Trial(k, False, problem=lacking[k], remedy=OTHER) for k in simple if k in lacking}
    able = [k for k in simple if k not in tried and can.get(needs[k], {}).get("ok", True)]
    tried |= {k: _incapable(k, can[needs[k]]) for k in simple if k not in (*able, *tried)}
    with Cluster(TARGET, nodes=len(NODES), faults=tuple(able)) as cluster:
        for kind in able:
            say(f"trying {kind}")
            tried[kind] = _try(cluster, kind, can.get(needs[kind], {}).get("how", ""))
    for kind in KINDS:
        if kind in tried:
            yield tried[kind]
        elif kind in kinds_of("docker"):
            yield _composite(kind, tried)
        else:
            yield Trial(kind, False, problem="containers cannot have it", remedy=NO_CONTAINERS)


def needs_by_kind(engine: PodEngine) -> dict[str, str]:
    """The capability of the agents that each kind of simple fault needs; "": only the engine."""

    async def ask(_: int) -> None:
        return None

    handlers = handlers_for(Pods(engine, {}, {}, ask, lambda: 0))
    return {fault.kind: handler.needs for fault, handler in handlers.items()}


def _incapable(kind: str, said: Mapping[str, Any]) -> Trial:
    problem, remedy = str(said.get("error", "")), str(said.get("remedy", ""))
    return Trial(kind, False, problem=problem, remedy=remedy)


def sample(kind: str) -> Fault:
    """A fault of this kind as the planner might draw it; on the first node if it affects a single
    one."""
    constraints = constraints_for(NODES, runtime="docker")
    fields = KINDS[kind].generator.draw(Draw(SEED, "doctor"), constraints)
    times: dict[str, Any] = {"start_us": 0, "duration_us": 1_000_000}
    return KINDS[kind].fault(id=f"try-{kind}", **times, **fields).resolve(1, NODES)


def _try(cluster: Cluster, kind: str, how: str) -> Trial:
    fault, problem = sample(kind), None
    for _ in range(TRIES):
        try:
            with asked(cluster) if isinstance(fault, Aimed) else nullcontext():
                problem = _problem(cluster.try_fault(fault))
        except HarnessError as error:
            return Trial(kind, False, problem=error.message, remedy=error.remedy)
        if problem is None:
            break
    remedy = "" if problem is None else "run it again; if it stays so, report this with the output"
    return Trial(
        kind, problem is None, how or "the engine's update of the container", problem or "", remedy
    )


def _problem(reports: Sequence[FaultReport]) -> str | None:
    for what, report in zip(("injecting", "healing"), reports, strict=True):
        if not report.verified:
            return f"{what}: {report.problem or 'its probes disagree'}"
    if reports[0].evidence.get("struck") is False:
        return "injecting: what it waits for did not occur, though the nodes were asked"
    return None


@contextmanager
def asked(cluster: Cluster) -> Iterator[None]:
    """Every node is asked for its status again and again meanwhile, by clients of its own: an aimed
    fault waits for the answers."""
    ended = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_ask_all(cluster, ended)), name="asking nodes", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _ask_all(cluster: Cluster, ended: threading.Event) -> None:
    await asyncio.gather(*(_ask(cluster, node, ended) for node in NODES))


async def _ask(cluster: Cluster, node: int, ended: threading.Event) -> None:
    config = cluster.config
    client = config.system.client(node, *cluster.address(node), config.cluster)
    try:
        while not ended.is_set():
            if await client.connect():
                await client.status(STATUS_TIMEOUT_S)
            await asyncio.sleep(ASK_EVERY_S)
    finally:
        await client.close()


def _composite(kind: str, tried: Mapping[str, Trial]) -> Trial:
    """A composite fault is supported if its steps are."""
    parts = sorted({step.kind for step in sample(kind).steps()})
    for part in parts:
        if part in tried and not tried[part].ok:
            return Trial(kind, False, problem=tried[part].problem, remedy=tried[part].remedy)
    return Trial(kind, True, how=f"made of {' and '.join(parts)}")
