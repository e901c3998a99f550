"""Fast Paxos' coordinator counts the slots that it has proposed and that are not decided, and lets
commands wait while there are many. A slot that a snapshot takes out of the log at once must not
count for ever: with four of them the queue never moved again."""

from __future__ import annotations

import pytest

from node_image.protocols.fast_paxos import FastPaxos
from tests.sim.runs import SECOND, run


@pytest.mark.parametrize("seed", range(3))
def test_decided_slots_do_not_count_as_open(seed: int) -> None:
    done = run(
        target="fast-paxos",
        seed=seed,
        concurrency=24,
        rate=300.0,
        settings={"snapshot_every": 2},
        world={"link_min_us": 1_000, "link_max_us": 60_000},
        time_us=6 * SECOND,
        liveness_timeout_us=5 * SECOND,
    )
    for node in done.runtime.world.nodes.values():
        assert isinstance(node.protocol, FastPaxos)
        applied = node.protocol.status().applied
        assert [slot for slot in node.protocol.tally.votes if slot <= applied] == []
    assert done.outcome == "valid", done.sentence
