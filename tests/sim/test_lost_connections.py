"""What nodes notice of each other's connections in the simulator, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from harness.run.simulation import SimulatedRun
from tests.sim.runs import SECOND, run

PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")
TIMES: dict[str, Any] = {"id": "f", "start_us": SECOND, "duration_us": SECOND}
ELECTION_US = 400_000


def struck(fault: Fault, protocol: str, **changes: Any) -> SimulatedRun:
    done = run(fault, target=protocol, nodes=5, **changes)
    assert not done.symptoms, done.sentence
    return done


def notes(done: SimulatedRun, what: str, within_us: int) -> Iterator[int]:
    """When nodes noted something within so long after the fault, from then on."""
    struck_us = next(e.time // 1000 for e in done.events if e.f == "inject" and e.type == "info")
    for node in done.runtime.world.nodes.values():
        for at_us, note in node.notes:
            if note.what == what and struck_us <= at_us < struck_us + within_us:
                yield at_us - struck_us


def leaders(done: SimulatedRun) -> set[int]:
    """The nodes that led at any time."""
    nodes = done.runtime.world.nodes.values()
    return {node.id for node in nodes if any(note.what == "leading" for _, note in node.notes)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_killed_leader_is_replaced_within_about_a_heartbeat(protocol: str, seed: int) -> None:
    done = struck(Kill(**TIMES, nodes=("leader",)), protocol, seed=seed)
    assert len(list(notes(done, "leader-lost", 20_000))) == 4
    assert min(notes(done, "leading", ELECTION_US)) < 100_000


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", [PowerCut, Pause])
def test_machines_without_power_and_paused_processes_close_nothing(
    protocol: str, fault: type[Fault]
) -> None:
    done = struck(fault(**TIMES, nodes=("leader",)), protocol)
    assert not list(notes(done, "leader-lost", SECOND))
    assert min(notes(done, "leading", SECOND)) > ELECTION_US // 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("links", [((1, 2), (2, 1)), ((3, 4), (4, 3)), ()])
def test_cuts_lose_no_connection(protocol: str, links: tuple[tuple[int, int], ...]) -> None:
    """Of one link for a second, and of all the leader's for less than the timeout."""
    if links:
        cut = Partition(**TIMES, nodes=(), shape="links", cut=links)
    else:
        times = TIMES | {"duration_us": ELECTION_US // 2}
        cut = Partition(**times, nodes=("leader",), shape="isolate")
    done = struck(cut, protocol)
    assert not list(notes(done, "leader-lost", 2 * SECOND))
    assert len(leaders(done)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_follower_costs_no_election(protocol: str) -> None:
    probed = run(target=protocol, nodes=5)
    follower = 3 if probed.runtime.world.leader() != 3 else 4
    done = struck(Kill(**TIMES, nodes=(follower,)), protocol)
    assert not list(notes(done, "leader-lost", 2 * SECOND))
    assert len(leaders(done)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_go_on_soon_after_a_leader_is_killed(protocol: str) -> None:
    """They ask others when the connection breaks, and the new leader when they are told of it."""
    done = struck(Kill(**TIMES, nodes=("leader",)), protocol, rate=200.0, concurrency=20)
    struck_us = next(e.time // 1000 for e in done.events if e.f == "inject" and e.type == "info")
    served = [e.time // 1000 for e in done.events if e.type == "ok"]
    assert min(at_us for at_us in served if at_us > struck_us + 20_000) < struck_us + 150_000
