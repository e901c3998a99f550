"""Hand-written schedules in a run: their random part is drawn as `--faults` is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.run_sequence import schedule_for, with_schedule

RANDOM = """
duration = "40s"
[random]
mix = { kill = 1, loss = 1, aimed = 1 }
every = "1s"
"""


@pytest.mark.parametrize("on", ["docker", "sim"])
def test_the_random_part_is_drawn_as_faults_on_the_command_line(on: str, tmp_path: Path) -> None:
    """The same voters, classes of messages and runtime."""
    path = tmp_path / "random.toml"
    path.write_text(RANDOM)
    for seed in range(12):
        config = RunConfig.of(
            target="multi-paxos",
            on=on,
            nodes=5,
            learners=2,
            seed=seed,
            time_us=40_000_000,
            faults=("kill", "loss", "aimed"),
            fault_gap_us=1_000_000,
        )
        _, schedule = with_schedule(config, path)
        assert schedule.faults == schedule_for(config).faults
        for kill in (fault for fault in schedule.faults if fault.kind == "kill"):
            assert len(kill.nodes) == 1 and set(kill.nodes) <= {1, 2, 3, "leader"}


@pytest.mark.parametrize("options", [{"nodes": 1}, {"nodes": 3, "shapes": ("majorities-ring",)}])
def test_flapping_is_refused_where_no_shape_fits(options: dict[str, object]) -> None:
    config = RunConfig.of(target="multi-paxos", on="sim", faults=("flapping",), **options)
    with pytest.raises(UsageError, match="and flapping needs one"):
        schedule_for(config)
