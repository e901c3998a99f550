"""Plans of suites that several tests use, and nights of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.suite.execution import carry_out
from harness.suite.finish import finish
from harness.suite.night import Night, begin
from harness.suite.plan import Suite, read_suite

SWEEP = """
[suite]
name = "swept"
store = "nights"
[[cells]]
name = "all"
targets = ["multi-paxos"]
mutants = ["B6"]
sweep = 25
time = "2s"
[findings]
confirm = 0
shrink = "0s"
"""
FAILOVER = """
[suite]
store = "nights"
[[failover]]
on = "sim"
targets = ["multi-paxos"]
failures = ["pause"]
count = 4
[[cells]]
targets = ["raft"]
seeds = [1]
time = "500ms"
"""
TELL = """
[tell]
junit = "junit.xml"
prometheus = "metrics.prom"
"""
MANY = f"seeds = {list(range(24))}"
SMALL = f"""
[suite]
name = "small"
store = "nights"
[[cells]]
name = "correct"
targets = ["raft"]
seeds = [1, 2]
time = "1s"
[[cells]]
name = "planted"
targets = ["multi-paxos"]
mutants = ["M3", "B6"]
{MANY}
time = "4s"
[findings]
shrink = "500ms"
[tell]
junit = "junit.xml"
prometheus = "metrics.prom"
"""


def suite(tmp_path: Path, text: str = SMALL) -> Suite:
    path = tmp_path / "nightly.toml"
    path.write_text(text)
    return read_suite(path)


def run_night(one: Suite, name: str) -> tuple[Night, Any]:
    night = begin(one, name)
    carry_out(night)
    return night, finish(night, lambda _: None)
