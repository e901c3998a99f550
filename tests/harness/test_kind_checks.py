"""What `antipaxos doctor` says of a kind of faults, by the reports of its trial."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from faults.description import Fault
from harness.errors import EngineError
from harness.runtimes.docker.kind_checks import NODES, TRIES, _try
from harness.runtimes.interface import FaultReport

HEALED = FaultReport({}, verified=True)
LIMIT_S = 30.0


class FakeCluster:
    """`inject` gives the report of a fault; the clients of its nodes note who was asked."""

    def __init__(self, inject: Callable[[FakeCluster], FaultReport]) -> None:
        self.config = SimpleNamespace(system=SimpleNamespace(client=self._client), cluster=None)
        self.inject = inject
        self.tried = 0
        self.open: set[int] = set()
        self.asked = {node: threading.Event() for node in NODES}

    def address(self, node: int) -> tuple[str, int]:
        return ("127.0.0.1", 7000 + node)

    def try_fault(self, fault: Fault) -> tuple[FaultReport, FaultReport]:
        self.tried += 1
        return self.inject(self), HEALED

    def _client(self, node: int, host: str, port: int, _: Any) -> FakeClient:
        assert (host, port) == self.address(node)
        self.open.add(node)
        return FakeClient(self, node)


class FakeClient:
    def __init__(self, cluster: FakeCluster, node: int) -> None:
        self._cluster = cluster
        self._node = node

    async def connect(self) -> bool:
        return True

    async def status(self, _: float) -> None:
        self._cluster.asked[self._node].set()

    async def close(self) -> None:
        self._cluster.open.remove(self._node)


def trial(kind: str, inject: Callable[[FakeCluster], FaultReport]) -> tuple[Any, FakeCluster]:
    cluster = FakeCluster(inject)
    return _try(cluster, kind, "packets"), cluster  # type: ignore[arg-type]


def test_an_aimed_fault_that_hit_nothing_is_not_shown_as_working() -> None:
    unseen = FaultReport({}, verified=True, evidence={"struck": False})
    found, cluster = trial("aimed", lambda _: unseen)
    assert not found.ok and "what it waits for did not occur" in found.problem
    assert cluster.tried == TRIES and not cluster.open


def test_the_nodes_are_asked_while_an_aimed_fault_is_tried() -> None:
    def wait(cluster: FakeCluster) -> FaultReport:
        asked = all(event.wait(LIMIT_S) for event in cluster.asked.values())
        return FaultReport({1: 5}, verified=True, evidence={"struck": asked, "node": 1})

    found, cluster = trial("aimed", wait)
    assert found.ok and found.how == "packets" and cluster.tried == 1
    assert all(event.is_set() for event in cluster.asked.values())
    assert not cluster.open


@pytest.mark.parametrize("kind", ["kill", "loss"])
def test_other_kinds_are_tried_without_requests(kind: str) -> None:
    found, cluster = trial(kind, lambda _: FaultReport({1: 5}, verified=True))
    assert found.ok and not any(event.is_set() for event in cluster.asked.values())


def test_what_cannot_be_tried_has_its_remedy_once() -> None:
    def refuse(_: FakeCluster) -> FaultReport:
        raise EngineError("the engine refuses", remedy="ask another")

    found, _ = trial("kill", refuse)
    assert (found.problem, found.remedy) == ("the engine refuses", "ask another")


def test_what_a_busy_machine_spoiled_once_is_tried_again() -> None:
    spoiled = FaultReport({}, verified=False, problem="late")
    reports = [spoiled, FaultReport({1: 5}, verified=True)]
    found, cluster = trial("kill", lambda _: reports.pop(0))
    assert found.ok and cluster.tried == 2
    found, _ = trial("kill", lambda _: spoiled)
    assert not found.ok and found.problem == "injecting: late"
