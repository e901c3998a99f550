"""What the swarm draws for the simulator, as containers carry it out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.kinds.aimed import Aimed
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.reorder import Reorder
from faults.link_fault import LinkFault
from harness.run.feasible import DISK_KINDS, check_feasible
from harness.search.on_containers import CLIENTS_LEAST, KEYS_MOST, RATE_LEAST
from harness.search.swarm import SweepPlan, draw

SEEDS = range(60)


@pytest.mark.parametrize("protocol", ["multi-paxos", "epaxos", "two-phase-commit"])
def test_every_seed_can_be_carried_out_and_is_the_simulators(protocol: str) -> None:
    simulated = SweepPlan(protocol=protocol)
    contained = SweepPlan(protocol=protocol, on="docker")
    classes = powers = slow = 0
    for seed in SEEDS:
        config, schedule = draw(contained, seed)
        check_feasible(config, schedule)
        assert config.on == "docker" and not config.world
        there, theirs = draw(replace(simulated, fixed={"nodes": config.cluster.nodes}), seed)
        assert config.cluster.settings == there.cluster.settings
        assert config.cluster.nodes in (3, 5) and not config.cluster.learners
        assert config.traffic.rate >= RATE_LEAST and config.traffic.concurrency >= CLIENTS_LEAST
        assert config.traffic.keys <= KEYS_MOST
        left = {f.id for f in schedule.faults} - {f.id for f in theirs.faults}
        assert left <= {"w0-delay", "w1-slow-disk"}
        assert {f.id for f in theirs.faults} <= {f.id for f in schedule.faults}
        has_disk = bool(DISK_KINDS.intersection(config.faults.kinds))
        aimed = [f for f in schedule.faults if isinstance(f, Aimed)]
        assert has_disk or not any(f.action == "power" for f in aimed)
        disturbed = any(isinstance(f, Loss | Duplicate | Reorder) for f in schedule.faults)
        assert not disturbed or config.cluster.transport == "udp"
        classes += any(isinstance(f, LinkFault) and f.message for f in schedule.faults)
        powers += any(f.action == "power" for f in aimed)
        slow += "w0-delay" in left
    assert min(classes, powers, slow) > 0
