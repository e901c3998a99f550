"""Each planted bug is found on real containers; the correct protocol passes the same seeds.

Real containers are not deterministic: each mix is chosen to fit the bug, and a bug counts as found
when one of the few stated seeds shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import chaos

pytestmark = pytest.mark.docker

SEEDS = (2, 1, 3, 4)

# All acceptors forget at once: what they had acknowledged is gone.
FORGETFUL: dict[str, Any] = {
    "faults": ("kill",),
    "allow_all": True,
    "fault_gap_us": 1_000_000,
    "nodes": 3,
    "time_us": 6_000_000,
}
# No fault is needed, only clients whose commands collide.
CROWD: dict[str, Any] = {
    "faults": (),
    "concurrency": 30,
    "rate": 300.0,
    "keys": 2,
    "time_us": 5_000_000,
}

MIXES: dict[tuple[str, str], dict[str, Any]] = {
    # The isolated leader must still believe that it leads while another is elected, with clients.
    ("multi-paxos", "M5"): {
        "faults": ("partition",),
        "shapes": ("isolate",),
        "fault_gap_us": 1_500_000,
        "concurrency": 60,
        "rate": 120.0,
        "keys": 2,
        "settings": {"election_min_us": 300_000, "election_max_us": 1_500_000},
    },
    ("multi-paxos", "B6"): FORGETFUL,
    # A leader that is cut off answers what only it has.
    ("multi-paxos", "M3"): {"faults": ("partition", "kill"), "fault_gap_us": 1_500_000},
    # Leaders die with commands decided and unanswered, and clients retry; a log shows duplicates.
    ("multi-paxos", "M8"): {
        "workload": "log",
        "faults": ("kill",),
        "fault_gap_us": 700_000,
        "concurrency": 100,
        "rate": 1200.0,
        "keys": 40,
        "nodes": 3,
    },
    ("basic-paxos", "B8"): CROWD | {"nodes": 3},
    ("flexible-paxos", "B6"): FORGETFUL,
    ("fast-paxos", "Q4"): CROWD,
    ("epaxos", "E2"): CROWD,
    ("raft", "B6"): FORGETFUL,
    # A participant in doubt must abort before it learns of the commit.
    ("two-phase-commit", "T4"): FORGETFUL | {"allow_all": False},
}
COMMON: dict[str, Any] = {"time_us": 8_000_000}


@pytest.mark.parametrize(("protocol", "mutant"), MIXES)
def test_a_planted_bug_is_found_and_described_correctly(
    protocol: str, mutant: str, tmp_path: Path
) -> None:
    mix = COMMON | MIXES[protocol, mutant]
    for seed in SEEDS:
        result = chaos(tmp_path, target=protocol, **mix, seed=seed, mutant=mutant)
        if result.verdict.exit_code == 1:
            break
    verdict = result.verdict
    assert verdict.outcome == "invalid", f"{protocol} {mutant} was not found with seeds {SEEDS}"
    assert "invalid" in (verdict.detectors()["linearizability"], verdict.detectors()["agreement"])
    assert verdict.reasons and verdict.reasons[0]
    evidence = verdict.linearizability.evidence
    if evidence is not None:
        assert 0 < len(evidence.operations) < 30
        assert evidence.sentence in verdict.reasons


@pytest.mark.parametrize(("protocol", "mutant"), MIXES)
def test_the_correct_protocol_passes_the_same(protocol: str, mutant: str, tmp_path: Path) -> None:
    mix = COMMON | MIXES[protocol, mutant]
    result = chaos(tmp_path, target=protocol, **mix, seed=SEEDS[0])
    assert result.verdict.outcome == "valid", result.verdict.reasons
