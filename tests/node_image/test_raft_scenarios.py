"""Aimed schedules: the few steps that turn a missing safeguard of Raft into a violation.

For planted bugs that random faults seldom find. Each schedule is executed by whole replicas over
the small world and returns the violation; with the correct protocol there is none.
(R1 has the paper's own schedule, in `test_raft`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node_image.mutants import protocol_class
from node_image.protocols import raft_messages as m
from node_image.protocols.interface import DEFINITE_ERRORS, Command
from tests.node_image.cluster import Network, World
from tests.node_image.held_messages import HeldMessages, Link

ALL = (1, 2, 3)


class Stage(HeldMessages):
    """Three nodes, messages that are held back by hand, and candidates chosen by hand."""

    def __init__(self, protocol: type[Any], **config: Any) -> None:
        network = Network(delay_us=(200, 200), sync_us=(400, 400))
        super().__init__(World(protocol, nodes=3, seed=1, network=network, **config))
        self.calm(*ALL)

    def calm(self, *nodes: int) -> None:
        """These do not become candidates by themselves."""
        for node in nodes:
            self.world.hosts[node].timers.pop("election", None)

    def stir(self, *nodes: int) -> None:
        """These become candidates again by themselves, when they receive nothing from a leader."""
        for node in nodes:
            self.world._deliver(node, self.world.hosts[node].life, "wake", "election")

    def process(self, node: int) -> Any:
        return self.world.hosts[node].process

    def become_candidate(self, node: int) -> None:
        """No node has heard from a leader for long, and this node's election timeout expires."""
        self.calm(*ALL)
        self.world.run(self.world.config.election_max_us + 1)
        self.calm(*ALL)
        self.stir(node)

    def elect(self, node: int) -> None:
        self.become_candidate(node)
        self.world.run_until(lambda: self.process(node).context.role == "leader")
        self.world.run(5_000)

    def ask(self, node: int, client: int, f: str = "write") -> None:
        self.world.request(node, Command(client, 1, f, "x", client if f == "write" else None))
        self.world.run(5_000)

    def answers(self, client: int) -> list[Any]:
        return [answer for _, answer in self.world.replies.get((client, 1), [])]

    def cut(self, *links: Link) -> None:
        self.world.network.cut = {*links, *((b, a) for a, b in links)}


def late_vote(protocol: type[Any]) -> list[str]:
    """R3. Node 1's votes of term 1 are late. When they arrive it is a candidate in term 2, in which
    node 2 has been elected."""
    stage = Stage(protocol)
    stage.hold(m.VoteGranted, (2, 1), (3, 1))
    stage.become_candidate(1)
    stage.world.run(5_000)
    stage.hold(m.RequestVote, (1, 2), (1, 3))
    stage.become_candidate(1)
    stage.world.run(5_000)
    assert (stage.process(1).storage.term, stage.process(1).context.role) == (2, "candidate")
    stage.cut((1, 2))
    stage.elect(2)
    assert stage.process(2).storage.term == 2
    stage.cut((1, 2), (2, 3))  # otherwise node 2 commits before node 1 has sent anything
    stage.release(m.VoteGranted, (3, 1))
    stage.world.run(5_000)
    if stage.process(1).context.role == "leader":
        stage.ask(1, client=11)
    stage.cut((1, 2))
    stage.ask(2, client=12)
    stage.world.run(300_000)
    return stage.world.conflicts


def late_acknowledgement(protocol: type[Any]) -> list[str]:
    """B3. Node 3 appends entries of node 1 in term 1, and its acknowledgement is late; in term 2
    node 2 replaces them. In term 3 node 1 leads again, and the old acknowledgement arrives."""
    stage = Stage(protocol)
    stage.elect(1)
    stage.hold(m.Append, (1, 2))
    stage.hold(m.Appended, (3, 1))
    for client in (1, 2, 3):
        stage.world.request(1, Command(client, 1, "write", "x", client))
    stage.world.run_until(lambda: stage.process(3).log.last == 4)
    stage.world.run(1_000)
    stage.world.hosts[1].durable[:] = [
        r for r in stage.world.hosts[1].durable if not isinstance(r, m.Log) or r.entries[0].slot < 2
    ]  # its disk was slow: the entries it sent were not on its own disk yet
    stage.world.crash(1, keep=0)
    late = stage.held[:]
    stage.rules.clear()
    stage.world.boot(1)
    stage.cut((2, 3))
    stage.elect(2)
    stage.cut()
    stage.world.run(500_000)
    stage.world.crash(2, keep=10)
    stage.hold(m.Append, (1, 3))
    stage.elect(1)
    stage.held = [h for h in late if isinstance(h[2], m.Appended) and h[2].upto == 4]
    stage.ask(1, client=5)
    stage.release(m.Appended, (3, 1))
    stage.world.run(5_000)
    stage.world.crash(1, keep=10)
    stage.rules.clear()
    stage.world.boot(2)
    stage.elect(2)
    stage.ask(2, client=6)
    stage.world.run(500_000)
    return stage.world.conflicts


def clock_that_goes_back(protocol: type[Any]) -> list[str]:
    """M6. The leader is cut off, and its wall clock is set back; another is elected and accepts
    writes; the old one believes that its lease still holds."""
    stage = Stage(protocol, reads="lease")
    stage.elect(1)
    stage.ask(1, client=1)
    stage.cut((1, 2), (1, 3))
    stage.world.wall_offset[1] -= 3_600_000_000
    stage.world.run(500_000)
    stage.stir(2)
    stage.world.run(20_000)
    if stage.process(2).context.role != "leader":
        return ["no leader was elected"]
    stage.ask(2, client=2)
    assert stage.answers(2), "the new leader writes"
    stage.ask(1, client=3, f="read")
    return [f"read {a.value}" for a in stage.answers(3) if a.error is None and a.value != 2]


def refused_and_done(protocol: type[Any]) -> list[str]:
    """M12. A leader steps down without replies, and answers the client of a write that another node
    has appended and will commit."""
    stage = Stage(protocol)
    stage.elect(1)
    stage.hold(m.Appended, (2, 1), (3, 1))
    stage.ask(1, client=1)
    stage.world.run_until(lambda: stage.process(1).context.role != "leader")
    stage.rules.clear()
    stage.elect(2)
    (answer,) = stage.answers(1)
    done = stage.process(2).context.machine.apply(Command(0, 0, "read", "x", None)).value == 1
    return [f"refused: {answer.error}"] if done and DEFINITE_ERRORS[answer.error] else []


def leader_that_cannot_receive(protocol: type[Any]) -> list[str]:
    """L1. The leader can send but not receive."""
    stage = Stage(protocol)
    stage.elect(1)
    stage.stir(2, 3)
    stage.world.network.cut = {(2, 1), (3, 1)}
    stage.world.run(3_000_000)
    leader = stage.world.leader()
    assert leader is not None
    stage.ask(leader, client=1)
    stage.world.run(1_000_000)
    return [] if any(a.error is None for a in stage.answers(1)) else ["no answer"]


def follower_that_cannot_receive(protocol: type[Any]) -> list[str]:
    """L2. A follower can send but not receive."""
    stage = Stage(protocol)
    stage.elect(1)
    stage.stir(2, 3)
    stage.world.network.cut = {(1, 3), (2, 3)}
    stage.world.run(5_000_000)
    return [note.what for _, _, note in stage.world.notes if note.what == "step-down"]


SCHEDULES: dict[str, Callable[[type[Any]], list[str]]] = {
    "B3": late_acknowledgement,
    "L1": leader_that_cannot_receive,
    "L2": follower_that_cannot_receive,
    "M6": clock_that_goes_back,
    "M12": refused_and_done,
    "R3": late_vote,
}


@pytest.mark.parametrize("mutant", sorted(SCHEDULES))
def test_schedule_breaks_the_mutant_and_not_the_protocol(mutant: str) -> None:
    assert SCHEDULES[mutant](protocol_class("raft")) == []
    assert SCHEDULES[mutant](protocol_class("raft", mutant)) != []
