"""A graceful transfer of leadership in the simulated cluster, as any client can ask for it."""

from __future__ import annotations

import pytest

from harness.runtimes.interface import World
from harness.runtimes.sim.runtime import SimRuntime
from node_image.protocols.interface import Command
from tests.conformance.script import Ask, Script, ScriptedConductor, Sleep
from tests.sim.runs import config

PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_node_leads_in_turn_and_no_time_out_is_waited_for(protocol: str, seed: int) -> None:
    settings = config(target=protocol, nodes=5, seed=seed)
    make = settings.system.capabilities.transfer_leadership
    assert make is not None
    led: list[int | None] = []
    waited_us: list[int] = []

    def script(world: World) -> Script:
        while world.leader() is None:
            yield Sleep(10_000)
        for turn in range(1, 6):
            leader = world.leader()
            assert leader is not None
            asked_us = now_us = yield Sleep(250_000)  # everybody has heard it
            successor = leader % 5 + 1
            answer = yield Ask(leader, Command(*make(9, turn, successor)))
            assert answer is not None and answer.error is None
            while world.leader() != successor and now_us < asked_us + 400_000:
                now_us = yield Sleep(1_000)
            led.append(world.leader())
            waited_us.append(now_us - asked_us)
            answer = yield Ask(successor, Command(1, turn, "write", "k0", turn))
            assert answer is not None and answer.error is None

    runtime = SimRuntime(settings)
    runtime.open()
    runtime.drive(ScriptedConductor(script))
    assert not runtime.crashes
    assert len(set(led)) == 5
    assert max(waited_us) < 100_000, "an election timeout is 400 ms at least"


@pytest.mark.parametrize("protocol", ["epaxos", "basic-paxos", "two-phase-commit"])
def test_protocols_without_a_leader_cannot(protocol: str) -> None:
    assert config(target=protocol).system.capabilities.transfer_leadership is None
