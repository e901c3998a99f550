"""What all injectors share: the pods, their agents, and combined reports."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

from faults.description import Fault
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.interface import FaultReport

Done = TypeVar("Done")


class OwnClocks(NamedTuple):
    """By how much a node's clocks differ from the host's according to the node, and the
    uncertainty."""

    wall_ns: int
    monotonic_ns: int
    uncertainty_ns: int


AskClock: TypeAlias = Callable[[int], Awaitable[OwnClocks | None]]
"""node -> its clocks; None if it does not answer, or does not report them."""

AskLeader: TypeAlias = Callable[[], Awaitable[tuple[tuple[int, ...], int] | None]]
"""The leader that the nodes report: (term, node); None where no node reports one."""


async def no_known_leader() -> None:
    """For targets whose leader is unknown."""


@dataclass
class Cluster:
    """The pods of a run. `zero_ns` is the runtime's zero on CLOCK_MONOTONIC."""

    engine: PodEngine
    pods: dict[int, Pod]
    agents: dict[int, Agent]
    ask_clock: AskClock
    zero_ns: Callable[[], int]
    ask_leader: AskLeader = no_known_leader
    locks: dict[int, asyncio.Lock] = field(default_factory=dict)
    """Per node, held while its processes or their clocks are changed."""
    holds: dict[int, set[str]] = field(default_factory=dict)
    """Per node, the ids of the faults that keep it down: it starts when the last one ends."""
    pauses: dict[int, set[str]] = field(default_factory=dict)
    """Per node, the ids of the faults that keep its processes stopped."""
    ends: dict[int, dict[str, float]] = field(default_factory=dict)
    """Per node, the faults because of which it may end by itself, by id, and until when; see
    `may_end`."""
    full_disks: dict[int, set[str]] = field(default_factory=dict)
    """Per node, the ids of the faults that have filled its disk: it may end as soon as it starts,
    and is started again when there is space."""

    def __post_init__(self) -> None:
        # A session in existing containers may join more of them later.
        self.locks = defaultdict(asyncio.Lock)
        self.holds, self.pauses = defaultdict(set), defaultdict(set)
        self.ends = defaultdict(dict)
        self.full_disks = defaultdict(set)

    def may_end(self, node: int, identity: str, for_s: float = math.inf) -> None:
        """From now on, and for so long, the node may end because of this fault."""
        self.ends[node][identity] = time.monotonic() + for_s

    def why_down(self, node: int, *, but: str = "") -> list[str]:
        """The ids of the faults that explain that no process of the node runs, without `but`.

        A proof that has found no process is none, unless one of these explains that."""
        now_s = time.monotonic()
        ended = (identity for identity, until_s in self.ends[node].items() if now_s < until_s)
        return sorted({*self.holds[node], *ended} - {but})

    async def is_explained(self, node: int, explained: bool) -> bool:
        """Whether it is right that no process of the node was found. `explained`: some fault, or
        its own end, may be the reason. One that does not hold it down must have ended it."""
        if self.holds[node]:
            return True
        return explained and await asyncio.to_thread(self.engine.await_exit, self.pods[node])

    def since_zero_ns(self, monotonic_ns: int) -> int:
        return monotonic_ns - self.zero_ns()

    async def each(self, fault: Fault, act: Callable[[int], Awaitable[FaultReport]]) -> FaultReport:
        """The same act on each of the fault's nodes at once; one report. Where it fails on one, the
        error is raised when it has ended on all: what healing undoes must not be done after it."""
        nodes = [int(node) for node in fault.nodes]
        return combined(nodes, await all_of(act(node) for node in nodes))


async def all_of(acts: Iterable[Awaitable[Done]]) -> list[Done]:
    """The results of what is done at once; or the first error, when all have ended."""
    results: list[Done] = []
    for one in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results


def combined(nodes: Sequence[int], reports: Sequence[FaultReport]) -> FaultReport:
    """One report for several nodes."""
    problems = [r.problem for r in reports if r.problem]
    return FaultReport(
        {n: ns for r in reports for n, ns in r.moments_ns.items()},
        verified=all(r.verified for r in reports),
        evidence={f"n{n}": r.evidence for n, r in zip(nodes, reports, strict=True)},
        problem="; ".join(problems) or None,
    )


class Handler(NamedTuple):
    """`needs`: the capability in an agent's greeting without which this kind cannot be injected."""

    inject: Callable[[Any], Coroutine[Any, Any, FaultReport]]
    heal: Callable[[Any], Coroutine[Any, Any, FaultReport]]
    needs: str = ""


Handlers: TypeAlias = dict[type[Fault], Handler]
