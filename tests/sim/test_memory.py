"""A run's memory is freed as soon as the run is dropped: its objects form no reference cycle.

A sweep runs without the garbage collector and would grow without bound otherwise.
"""

from __future__ import annotations

import gc
import weakref

import pytest

from harness.run.simulation import simulate_and_judge
from harness.search.swarm import SweepPlan, draw
from node_image.mutants import PROTOCOLS


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_run_is_freed_without_the_garbage_collector(protocol: str, traced: bool) -> None:
    plan = SweepPlan(protocol=protocol, fixed={"time_us": 3_000_000})
    config, schedule = draw(plan, 5)
    gc.collect()
    gc.disable()
    try:
        run = simulate_and_judge(config, schedule, traced=traced)
        world = weakref.ref(run.runtime.world)
        assert world() is not None and run.events
        del run
        assert world() is None
        assert gc.collect() == 0
    finally:
        gc.enable()
