"""The configurations that seeds draw: combinations of faults, and sizes of clusters."""

from __future__ import annotations

from typing import Any

import pytest

from faults.description import Fault
from faults.kinds import KINDS
from faults.kinds.aimed import Aimed
from harness.run.config import RunConfig
from harness.run.simulation import simulate_and_judge
from harness.search.fault_patterns import LINK_FAULTS
from harness.search.swarm import SweepPlan, draw
from harness.targets.paxos_family import messages_of
from node_image.mutants import PROTOCOLS

SEEDS = range(120)


def drawn(protocol: str = "multi-paxos", **fixed: Any) -> list[tuple[RunConfig, tuple[Fault, ...]]]:
    plan = SweepPlan(protocol=protocol, fixed=fixed)
    return [(config, schedule.faults) for config, schedule in (draw(plan, s) for s in SEEDS)]


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_every_protocol_can_be_drawn_and_only_kinds_that_were_chosen(protocol: str) -> None:
    for config, faults in drawn(protocol):
        assert {fault.kind for fault in faults} <= set(config.faults.kinds)
        assert all(fault.end_us <= config.time_us for fault in faults)


def test_in_some_seeds_each_new_leader_is_hit_in_turn() -> None:
    chains = [
        faults
        for config, faults in drawn()
        if set(config.faults.kinds) <= {"aimed", *LINK_FAULTS}
        and sum(isinstance(fault, Aimed) for fault in faults) >= 6
        and all(f.id.startswith(("s", "l")) for f in faults)
    ]
    assert len(chains) > len(SEEDS) // 20
    assert any(len({f.message for f in c if isinstance(f, Aimed)}) > 1 for c in chains)


def test_a_clock_jump_on_the_affected_node_outlasts_the_other_fault() -> None:
    found = 0
    for config, faults in drawn(faults=("partition", "pause", "clock")):
        struck = {fault.id: fault for fault in faults}
        for jump in (f for f in faults if f.id.endswith("-jump")):
            first = struck[jump.id.removesuffix("-jump")]
            found += 1
            assert jump.nodes == first.nodes
            assert first.start_us <= jump.start_us < first.end_us
            assert (
                jump.end_us > first.end_us or first.end_us == config.time_us or lasts(config, first)
            )
    assert found > 20


def lasts(config: RunConfig, fault: Fault) -> bool:
    return config.heal == "quorum" and fault.end_us > config.time_us - 1_000_000


def test_faults_of_a_minority_continue_where_only_a_quorum_is_healed() -> None:
    """And the run shows it: those faults are never healed, and the other nodes answer."""
    lasting = 0
    for config, faults in drawn(heal="quorum"):
        groups = [KINDS[f.kind].generator.group for f in faults if f.end_us == config.time_us]
        lasting += bool(groups)
    assert lasting > len(SEEDS) // 3
    kept = 0
    plan = SweepPlan(protocol="multi-paxos", fixed={"heal": "quorum", "faults": ("kill", "pause")})
    for seed in range(12):
        run = simulate_and_judge(*draw(plan, seed))
        assert run.stats.not_live is None
        core = run.config.core()
        down = [n for n, node in run.runtime.world.nodes.items() if not node.running]
        assert not set(down) & set(core)
        kept += bool(down)
    assert kept > 2


def test_seeds_are_drawn_for_batches_snapshots_and_voters_that_are_down_for_long() -> None:
    configs = drawn()
    busy = [c for c, _ in configs if c.traffic.concurrency >= 16 and c.traffic.rate >= 200]
    assert len(busy) > len(SEEDS) // 5
    assert sum(c.cluster.settings["snapshot_every"] <= 10 for c, _ in configs) > len(SEEDS) // 5
    outages = [(c, f) for c, faults in configs for f in faults if f.id.startswith("o0-")]
    assert len(outages) > len(SEEDS) // 6
    assert len({fault.kind for _, fault in outages}) > 2
    for config, fault in outages:
        assert fault.kind in config.faults.kinds
        assert fault.duration_us >= config.time_us // 5 and fault.end_us < config.time_us
        assert len(fault.nodes) == 1 and fault.nodes[0] in config.cluster.voter_ids()


def test_flexible_paxos_is_drawn_with_quorums_other_than_majorities() -> None:
    options = [config.cluster.settings["options"] for config, _ in drawn("flexible-paxos")]
    assert any("grid_rows" in o for o in options)
    assert any(o.get("q1") != o.get("q2") for o in options)
    assert {o["thrifty"] for o in options} == {False, True}


def test_learners_are_drawn_where_supported_and_are_down_for_long() -> None:
    configs = drawn(faults=("kill",))
    with_learners = [(c, f) for c, f in configs if c.cluster.learners]
    assert len(with_learners) > len(SEEDS) // 5
    for config, faults in with_learners:
        down = [f for f in faults if set(f.nodes) & set(config.cluster.learner_ids())]
        assert any(f.duration_us >= config.time_us // 10 for f in down)
    assert not any(config.cluster.learners for config, _ in drawn("two-phase-commit"))


def test_messages_with_commands_are_chosen_more_often() -> None:
    """Also where the command is inside an entry or a vote."""
    raft = messages_of("raft")
    assert raft.count("Append") > raft.count("Appended") == 1
    multi = messages_of("multi-paxos")
    assert multi.count("Accept") == multi.count("Promise") > multi.count("Accepted") == 1


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 3), ({"q2": 1}, 5), ({"q1": 4}, 4), ({"q1": 3, "q2": 4}, 4), ({"grid_rows": 1}, 5)],
)
def test_the_core_of_a_cluster_has_quorums_of_both_phases(
    options: dict[str, int], size: int
) -> None:
    config = RunConfig.of(
        target="flexible-paxos", nodes=5, heal="quorum", settings={"options": options}
    )
    assert len(config.core()) == size
