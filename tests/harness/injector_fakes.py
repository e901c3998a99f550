"""A cluster whose agents and engine answer what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

from harness.runtimes.docker.injectors.cluster import Cluster

NODES = (1, 2, 3)
Answer = Mapping[str, Any] | Callable[..., Mapping[str, Any]]


class Agent:
    """`answers`: by operation. `calls`: what was asked."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, do: str, *, timeout_s: float = 20.0, **what: Any) -> dict[str, Any]:
        self.calls.append((do, what))
        answer = self.answers[do]
        return {"done_ns": 1, **(answer(**what) if callable(answer) else answer)}


class Engine:
    """Of containers of which `running` are."""

    run_id = "run"
    disk = True
    client_port = 7000
    api: Any = None
    log = ""
    log_since: Mapping[float, str] = MappingProxyType({})
    """By time, in seconds."""

    def __init__(self) -> None:
        self.running = set(NODES)

    def is_running(self, pod: Any) -> bool:
        return pod.node in self.running

    def await_exit(self, pod: Any) -> bool:
        return not self.is_running(pod)

    def start_node(self, pod: Any) -> None:
        self.running.add(pod.node)

    def last_lines(self, container: str, count: int = 12, since_s: float | None = None) -> str:
        return self.log if since_s is None else self.log_since.get(since_s, "")


def cluster_of(engine: Engine, **answers: Answer) -> tuple[Cluster, dict[int, Agent]]:
    """Three nodes whose agents answer the same, and those agents."""
    agents = {node: Agent(dict(answers)) for node in NODES}
    pods: Any = {node: SimpleNamespace(node=node, node_id=f"n{node}") for node in NODES}

    async def knows_no_clock(_: int) -> None:
        return None

    fakes: Any = {"engine": engine, "agents": agents}
    return Cluster(pods=pods, ask_clock=knows_no_clock, zero_ns=lambda: 0, **fakes), agents
