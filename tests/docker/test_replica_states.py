"""Replicas' states are compared on real containers: what is recorded, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.run.expected import fingerprints
from harness.run.run_sequence import RunResult
from histories.folder import RunFolder
from histories.replica_states import read_states
from tests.docker.conftest import chaos

pytestmark = pytest.mark.docker


def away(store: Path, protocol: str, mutant: str | None = None, seed: int = 1) -> RunResult:
    """Nodes are killed, and come back when the others no longer hold what they lack."""
    return chaos(
        store,
        target=protocol,
        mutant=mutant,
        nodes=3,
        faults=("kill",),
        fault_gap_us=1_500_000,
        time_us=6_000_000,
        rate=60.0,
        liveness_timeout_us=60_000_000,
        settings={"snapshot_every": 10},
        seed=seed,
    )


def check(folder: RunFolder) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["check", str(folder.path)])
    return done.exit_code, done.output


def test_a_run_records_digests_and_check_judges_them(tmp_path: Path) -> None:
    result = away(tmp_path, "multi-paxos")
    assert result.verdict.outcome == "valid", result.verdict.reasons
    agreement = result.verdict.agreement
    assert agreement is not None and agreement.states > 3
    files = dict(result.folder.state_files())
    assert sorted(files) == [1, 2, 3]
    lives = {state.life for path in files.values() for state in read_states(path, [])}
    assert len(lives) > 1, "killed nodes told more in their next lives"
    logs = "".join(result.folder.node_log(node).read_text() for node in files)
    assert "snapshot-installed" in logs
    assert check(result.folder)[0] == 0

    whole = files[2].read_bytes()
    files[2].unlink()
    code, said = check(result.folder)
    assert code == 2 and "n2.states.jsonl" in said
    files[2].write_bytes(whole)
    assert check(result.folder)[0] == 0

    files[2].write_bytes(whole.replace(b'"digest":"', b'"digest":"00'))
    code, said = check(result.folder)
    assert code == 2 and "n2.states.jsonl" in said and "state after" not in said

    document = result.folder.read_json("run.json")
    document["collected"] = fingerprints(result.folder.nodes)
    result.folder.write_json("run.json", document)
    code, said = check(result.folder)
    assert code == 1 and "state after slot" in said and "on node 2 in life" in said


@pytest.mark.parametrize(("protocol", "mutant"), [("multi-paxos", "M7"), ("raft", "M7b")])
def test_a_snapshot_installed_wrongly_is_found(protocol: str, mutant: str, tmp_path: Path) -> None:
    for seed in (1, 2, 3, 4):
        result = away(tmp_path, protocol, mutant, seed)
        assert result.verdict.agreement is not None
        if any(f.kind == "state-divergence" for f in result.verdict.agreement.findings):
            break
    assert result.verdict.exit_code == 1
    assert any("state after slot" in reason for reason in result.verdict.reasons)
