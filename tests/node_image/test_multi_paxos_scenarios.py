"""Aimed schedules: the few steps that turn a missing safeguard into a violation.

For planted bugs of Multi-Paxos, and of the parts that Fast Paxos shares with it, that random faults
seldom find; fast rounds are off here. Each schedule is executed by whole replicas over the small
world, and the correct protocol must pass it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.interface import DEFINITE_ERRORS, Command
from tests.node_image.cluster import Network, World
from tests.node_image.held_messages import HeldMessages

PROTOCOLS = ("fast-paxos", "flexible-paxos", "multi-paxos")
TIMEOUTS = {"election_min_us": 400_000, "election_max_us": 400_000, "heartbeat_us": 100_000}


class Stage(HeldMessages):
    """A few nodes, messages that are held back by hand, and a coordinator chosen by hand."""

    def __init__(self, protocol: type[Any], nodes: int = 3) -> None:
        network = Network(delay_us=(200, 200), sync_us=(400, 400))
        options = {"fast": False}
        super().__init__(
            World(protocol, nodes=nodes, seed=1, network=network, options=options, **TIMEOUTS)
        )

    def become_candidate(self, node: int) -> None:
        """Let this node's election timeout expire."""
        self.world._deliver(node, self.world.hosts[node].life, "wake", "election")

    def cut_off(self, node: int) -> None:
        self.separate({node})

    def separate(self, some: set[int]) -> None:
        """These nodes and the others do not hear one another."""
        cut = {(a, b) for a in some for b in self.world.config.nodes if b not in some}
        self.world.network.cut = cut | {(b, a) for a, b in cut}

    def ask(self, node: int, client: int) -> None:
        self.world.request(node, Command(client, 1, "write", "x", client))

    def leads(self, node: int) -> bool:
        process = self.world.hosts[node].process
        return process is not None and process.status().role == "leader"

    def applied(self, node: int) -> int:
        return int(self.world.hosts[node].process.status().applied)

    def wait_on(self, *nodes: int) -> None:
        """These nodes do not become candidates by themselves, until they follow another
        candidate."""
        for node in nodes:
            self.world.hosts[node].timers.pop("election", None)

    def lead_first(self, node: int) -> None:
        others = [n for n in self.world.config.nodes if n != node]
        self.wait_on(*others)
        self.world.run_until(lambda: self.leads(node))
        self.world.run(20_000)
        self.wait_on(*others)


def old_coordinator_continues(stage: Stage) -> None:
    """B10. Node 1 leads and is cut off; its proposal to node 3 is in flight. Nodes 2 and 3 elect
    another leader, and decide. Then the old proposal arrives at node 3, and its answer at node
    1."""
    stage.lead_first(1)
    stage.hold(m.Accept, (1, 2), (1, 3))
    stage.ask(1, client=1)
    stage.world.run(2_000)
    stage.cut_off(1)
    stage.world.hosts[1].timers.clear()  # it steps down late
    stage.world.run(900_000)
    stage.become_candidate(2)
    stage.world.run_until(lambda: stage.leads(2))
    stage.ask(2, client=2)
    stage.world.run_until(lambda: stage.applied(2) == 1)
    stage.world.network.cut = {(1, 2), (2, 1), (2, 3)}
    stage.release(m.Accept, (1, 3))
    stage.world.run(50_000)


def stale_promise(stage: Stage) -> None:
    """B3. Node 3's promise to node 1's first ballot is late. Meanwhile nodes 2 and 3 decide. When
    node 1 is a candidate again, its Prepares are lost, and the old promise arrives."""
    stage.wait_on(2, 3)
    stage.hold(m.Promise, (3, 1), (2, 1))
    stage.hold(m.Prepare, (1, 2))
    stage.world.run_until(lambda: any(isinstance(held[2], m.Promise) for held in stage.held))
    stage.wait_on(3)
    stage.cut_off(1)
    stage.world.run(900_000)
    stage.become_candidate(2)
    stage.world.run_until(lambda: stage.leads(2))
    stage.hold(m.Entries, (2, 3))
    stage.ask(2, client=2)
    stage.world.run_until(lambda: stage.applied(2) == 1)
    stage.world.crash(2, keep=10)
    stage.world.network.cut = set()
    stage.hold(m.Prepare, (1, 3))
    stage.wait_on(3)
    stage.world.run_until(
        lambda: any(isinstance(h[2], m.Prepare) and h[1] == 3 for h in stage.held)
    )
    stage.world.run(1_000)
    stage.release(m.Promise, (3, 1))
    stage.world.run(1_000)
    stage.ask(1, client=1)
    stage.world.run(50_000)
    stage.rules.clear()
    stage.world.boot(2)
    stage.world.run(3_000_000)


def ballot_used_again(stage: Stage) -> None:
    """B7. Node 1 crashes: node 2 has voted for its proposal, and the one to node 3 is in flight. It
    restarts in the same ballot, receives replies from node 3 only, proposes something else, and
    takes node 3's answer to the old proposal for one to the new."""
    stage.lead_first(1)
    stage.hold(m.Accept, (1, 3))
    stage.ask(1, client=1)
    stage.world.run_until(lambda: bool(stage.world.hosts[2].process.log.entries))
    stage.world.crash(1, keep=0)
    stage.world.run(10_000)
    stage.hold(m.Promise, (2, 1))
    stage.hold(m.Accept, (1, 2))
    stage.hold(m.Entries, (1, 2), (1, 3))
    stage.hold(m.Heartbeat, (1, 2), (1, 3))
    stage.world.boot(1)
    stage.wait_on(2, 3)
    for other in (2, 3):
        stage.world.hosts[other].process.leadership.timing.heard_us = -(10**9)
    stage.world.run_until(lambda: stage.leads(1))
    stage.ask(1, client=2)
    stage.world.run(1_000)
    stage.release(m.Accept, (1, 3))
    stage.world.run(5_000)
    stage.world.crash(1, keep=10)
    stage.rules.clear()
    for other in (2, 3):
        stage.become_candidate(other)
    stage.world.run(3_000_000)


def refused_and_decided(stage: Stage) -> None:
    """M12. Node 1's proposal has reached node 2, whose vote has not arrived. Node 2 takes over and
    completes it; node 1 steps down, and has answered its client meanwhile."""
    stage.lead_first(1)
    stage.hold(m.Accepted, (2, 1), (3, 1))
    stage.ask(1, client=1)
    stage.world.run(2_000)
    for other in (2, 3):
        stage.world.hosts[other].process.leadership.timing.heard_us = -(10**9)
    stage.become_candidate(2)
    stage.world.run(2_000_000)


def vote_replaced_by_a_lower_one(stage: Stage) -> None:
    """B4. Node 1 leads and is cut off; its proposals are on their way. Nodes 3, 4 and 5 elect node
    3; node 2 hears nothing of that, votes for what node 3 proposes, and with 3 and 5 decides it.
    Then node 1's proposal arrives at node 2; and nodes 1, 2 and 4 go on without the others."""
    stage.lead_first(1)
    stage.hold(m.Accept, *((1, n) for n in (2, 3, 4, 5)))
    stage.ask(1, client=1)
    stage.world.run(2_000)
    stage.cut_off(1)
    stage.world.hosts[1].timers.clear()  # it is slow to notice
    stage.world.run(900_000)
    stage.hold(m.Prepare, (3, 2))
    stage.hold(m.Accept, (3, 4))
    stage.hold(m.Heartbeat, *((3, n) for n in (2, 4)))
    stage.wait_on(2, 4, 5)
    stage.become_candidate(3)
    stage.world.run_until(lambda: stage.leads(3))
    stage.hold(m.Commit, *((3, n) for n in (2, 4)))
    stage.ask(3, client=3)
    stage.world.run_until(lambda: stage.applied(3) == 1)
    stage.world.run(1_000)
    stage.separate({3, 5})
    stage.release(m.Accept, (1, 2))
    stage.world.run(1_000)
    stage.rules.clear()
    stage.world._deliver(1, stage.world.hosts[1].life, "wake", "heartbeat")
    stage.world.run(5_000_000)


SCHEDULES: dict[str, Callable[[Stage], None]] = {
    "B3": stale_promise,
    "B7": ballot_used_again,
    "B10": old_coordinator_continues,
    "M12": refused_and_decided,
}


def harm(stage: Stage) -> list[str]:
    """Two values in a slot, or a command that was definitely refused and is decided."""
    world = stage.world
    decided = {c[:2] for values in world.decided.values() for value in values for c in value}
    assert decided
    denied = [
        f"{key} was answered {answer.error}, and decided"
        for key, answers in world.replies.items()
        for _, answer in answers
        if answer.error is not None and DEFINITE_ERRORS[answer.error] and key in decided
    ]
    return world.conflicts + denied


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mutant", sorted(SCHEDULES))
def test_schedule_breaks_the_mutant_and_not_the_protocol(protocol: str, mutant: str) -> None:
    correct, broken = (Stage(protocol_class(protocol, m)) for m in (None, mutant))
    for stage in (correct, broken):
        SCHEDULES[mutant](stage)
    assert not harm(correct)
    assert harm(broken)


@pytest.mark.parametrize("protocol", ["flexible-paxos", "multi-paxos"])
def test_a_vote_that_promises_nothing_is_replaced_by_a_lower_one(protocol: str) -> None:
    correct, broken = (Stage(protocol_class(protocol, mutant), 5) for mutant in (None, "B4"))
    for stage in (correct, broken):
        vote_replaced_by_a_lower_one(stage)
    assert not harm(correct)
    assert harm(broken)


# ----------------------------------------------------------------------------- liveness


def five_with_a_coordinator(protocol: str, mutant: str | None) -> tuple[World, int]:
    replica = protocol_class(protocol, mutant)
    world = World(replica, nodes=5, seed=3, options={"fast": False})
    world.run_until(lambda: world.leader() is not None)
    world.run(300_000)
    leader = world.leader()
    assert leader is not None
    return world, leader


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("mutant", "answered"), [(None, True), ("L1", False)])
def test_a_coordinator_that_cannot_receive_steps_down(
    protocol: str, mutant: str | None, answered: bool
) -> None:
    """L1. Its heartbeats are still delivered, and keep the others from becoming candidates."""
    world, leader = five_with_a_coordinator(protocol, mutant)
    others = [n for n in world.config.nodes if n != leader]
    world.network.cut = {(other, leader) for other in others}
    for attempt in range(6):
        world.request(others[attempt % 4], Command(1, 1, "write", "x", 1))
        world.run(1_000_000)
    answers = [answer.error for _, answer in world.replies.get((1, 1), [])]
    assert (None in answers) is answered


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("mutant", "deposed"), [(None, False), ("L2", True)])
def test_a_node_that_cannot_receive_does_not_depose_the_coordinator(
    protocol: str, mutant: str | None, deposed: bool
) -> None:
    """L2. Its messages are delivered, and would depose one coordinator after the other."""
    world, leader = five_with_a_coordinator(protocol, mutant)
    others = [n for n in world.config.nodes if n != leader]
    world.network.cut = {(n, others[0]) for n in world.config.nodes if n != others[0]}
    world.run(5_000_000)
    step_downs = sum(h.process.counters.get("step_downs", 0) for h in world.hosts.values())
    assert (step_downs > 0) is deposed
