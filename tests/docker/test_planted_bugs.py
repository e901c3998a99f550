"""Each planted bug is found on real containers; the correct protocol passes the same seeds.

Real containers are not deterministic: a mix is one that fits the bug, and a bug counts as found
when one of the few stated seeds shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import chaos

pytestmark = pytest.mark.docker

SEEDS = (2, 1, 3, 4)

MIXES: dict[str, dict[str, Any]] = {
    # The isolated leader must go on believing while another is elected, and clients ask it.
    "M5": {
        "faults": ("partition",),
        "shapes": ("isolate",),
        "fault_gap_us": 1_500_000,
        "concurrency": 60,
        "rate": 120.0,
        "keys": 2,
        "cluster": {"election_min_us": 300_000, "election_max_us": 1_500_000},
    },
    # All acceptors forget at once: what they had acknowledged is gone.
    "B6": {"faults": ("kill",), "allow_all": True, "fault_gap_us": 1_000_000, "nodes": 3},
    # A leader that is cut off answers what only it has.
    "M3": {"faults": ("partition", "kill"), "fault_gap_us": 1_500_000},
    # Leaders die with commands decided and unanswered, and clients ask again; a log remembers.
    "M8": {
        "workload": "log",
        "faults": ("kill",),
        "fault_gap_us": 700_000,
        "concurrency": 100,
        "rate": 1200.0,
        "keys": 40,
        "nodes": 3,
    },
}
COMMON: dict[str, Any] = {"protocol": "multi-paxos", "time_us": 8_000_000}


@pytest.mark.parametrize("mutant", MIXES)
def test_a_planted_bug_is_found_and_said_truly(mutant: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        result = chaos(tmp_path, **(COMMON | MIXES[mutant]), seed=seed, mutant=mutant)
        if result.verdict.exit_code == 1:
            break
    verdict = result.verdict
    assert verdict.outcome == "invalid", f"{mutant} was not found with seeds {SEEDS}"
    assert "invalid" in (verdict.detectors()["linearizability"], verdict.detectors()["agreement"])
    assert verdict.reasons and verdict.reasons[0]
    evidence = verdict.linearizability.evidence
    if evidence is not None:
        assert 0 < len(evidence.operations) < 30
        assert evidence.sentence in verdict.reasons


@pytest.mark.parametrize("mutant", MIXES)
def test_the_correct_protocol_passes_the_same(mutant: str, tmp_path: Path) -> None:
    result = chaos(tmp_path, **(COMMON | MIXES[mutant]), seed=SEEDS[0])
    assert result.verdict.outcome == "valid", result.verdict.reasons
