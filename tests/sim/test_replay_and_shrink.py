"""From a folder: the same run again, byte for byte; and a small one that fails in the same way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from faults.kinds.partition import Partition
from faults.schedule import Schedule
from harness.cli.replay import replay_command
from harness.cli.shrink import _starting_point, shrink_command
from harness.errors import UsageError
from harness.reproduce.replay import load, replay_simulated, replay_timings
from harness.reproduce.shrink import Candidate, _Shrinker, shrink
from harness.reproduce.story import tell
from harness.run.config import RunConfig
from harness.run.simulation import simulate_and_judge, write_folder
from harness.search.swarm import SweepPlan
from harness.search.sweep import sweep
from histories.checker import check
from histories.formats.native import read


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that fails."""
    store = tmp_path_factory.mktemp("runs")
    fixed = {"faults": ("partition", "pause", "loss", "delay"), "nodes": 3}
    plan = SweepPlan(protocol="multi-paxos", mutant="M3", fixed=fixed)
    result = sweep(plan, range(200), stop_at_first=True, store=store)
    return next(iter(result.groups.values())).folders[0]


def test_a_simulated_run_replays_byte_for_byte(failing: Path) -> None:
    result = replay_simulated(load(failing))
    assert result.identical and result.reproduced == 1 and result.outcome == "invalid"


def test_a_run_of_a_target_that_cannot_be_simulated_is_not_shrunk() -> None:
    config = RunConfig.of(target="etcd", on="docker")
    recorded: Any = SimpleNamespace(outcome="invalid", config=config)
    with pytest.raises(UsageError, match="etcd cannot be simulated, and runs are shrunk in"):
        _starting_point(recorded, 0.0, SimpleNamespace())  # type: ignore[arg-type]


def test_a_smaller_cluster_in_which_a_fault_has_no_effect_does_not_fail() -> None:
    """Of five nodes the three of a partition's half are left: it would cut nothing."""
    config = RunConfig.of(target="raft", on="sim", nodes=5, faults=("partition",), time_us=500_000)
    half = Partition(id="p", start_us=0, duration_us=1_000, nodes=(1, 2, 3), shape="halves")
    schedule = Schedule(faults=(half,), duration_us=500_000)
    shrinker = _Shrinker(config, schedule, 60.0, lambda *_: None, lambda _: None)
    shrinker.deadline = time.monotonic() + 60
    shrinker.best = Candidate(config, schedule)
    assert not shrinker._fails(Candidate(config.changed(nodes=3), schedule), 1)
    assert shrinker.tried == 1


def test_an_edited_history_is_detected_with_its_line(failing: Path, tmp_path: Path) -> None:
    copy = _copied(failing, tmp_path)
    lines = (copy / "history.jsonl").read_text().splitlines()
    lines[4] = lines[4].replace('"time":', '"time": ')
    (copy / "history.jsonl").write_text("\n".join(lines) + "\n")
    result = replay_simulated(load(copy))
    assert result.identical is False and "line 5" in str(result.difference)


def test_the_same_schedule_fails_under_some_other_timings(failing: Path) -> None:
    result = replay_timings(load(failing), 20)
    assert 0 < result.reproduced <= 20


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("run.json", {"format": 99}, "format"),
        ("run.json", {"config": {"target": "multi-paxos", "warp": 9}}, "no option 'warp'"),
        ("run.json", {"config": {"target": "multi-paxos", "mutant": "X9"}}, "X9"),
        ("run.json", {"config": {"target": "multi-paxos", "world": {"warp": 9}}}, "warp"),
        ("schedule.json", {"version": 99}, "version"),
        ("schedule.json", {"faults": [{"kind": "flood"}]}, "flood"),
    ],
)
def test_a_folder_with_an_invalid_configuration_is_refused(
    failing: Path, tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    copy = _copied(failing, tmp_path)
    document = json.loads((copy / name).read_text()) | change
    (copy / name).write_text(json.dumps(document))
    with pytest.raises(UsageError, match=words):
        load(copy)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load(tmp_path / "nowhere")


def test_the_commands(failing: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        replay_command, [str(failing), "--json", "--store", str(tmp_path)], standalone_mode=False
    )
    assert json.loads(done.stdout.strip().splitlines()[-1])["identical"] is True
    assert done.return_value == 1
    done = CliRunner().invoke(
        shrink_command,
        [str(failing), "--json", "--limit", "20", "--store", str(tmp_path)],
        standalone_mode=False,
    )
    shown = json.loads(done.stdout.strip().splitlines()[-1])
    assert shown["verdict"] == "invalid" and done.return_value == 1
    assert replay_simulated(load(shown["folder"])).identical
    story = (Path(shown["folder"]) / "story.txt").read_text()
    assert "⚡" in story and "client" in story


def test_a_run_from_docker_is_shrunk_in_a_timing_with_the_same_failure(
    failing: Path, tmp_path: Path
) -> None:
    """No more timings are tried than needed, and the output says which."""
    copy = _copied(failing, tmp_path)
    document = json.loads((copy / "run.json").read_text())
    document["config"] |= {"on": "docker", "world": {}}
    document["config"]["faults"]["kinds"] = ["partition", "pause"]
    (copy / "run.json").write_text(json.dumps(document))
    words = [str(copy), "--limit", "10", "--store", str(tmp_path)]
    done = CliRunner().invoke(shrink_command, words, standalone_mode=False)
    assert done.return_value == 1, done.output
    tried = [line for line in done.output.splitlines() if line.startswith("timing ")]
    assert tried and [line.endswith("fails alike") for line in tried].index(True) == len(tried) - 1


def test_what_to_do_about_a_run_that_does_not_fail_names_its_folder(
    failing: Path, tmp_path: Path
) -> None:
    copy = _copied(failing, tmp_path)
    document = json.loads((copy / "run.json").read_text())
    document["config"]["cluster"]["mutant"] = None
    (copy / "run.json").write_text(json.dumps(document))
    done = CliRunner().invoke(shrink_command, [str(copy), "--store", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert f"antipaxos replay {copy} --on sim --times 50" in done.exception.remedy


def test_a_failing_run_shrinks_to_a_fifth_with_the_same_failure(
    failing: Path, tmp_path: Path
) -> None:
    recorded = load(failing)
    result = shrink(recorded.config, recorded.schedule, limit_s=30)
    assert result.after.faults <= max(2, result.before.faults // 5)
    assert result.after.operations * 5 <= result.before.operations
    run = simulate_and_judge(*result.smallest, traced=True)
    assert any(s.detector == result.detector for s in run.symptoms)
    story = tell(write_folder(run, tmp_path, "shrunk").path).text()
    assert len(story.splitlines()) < 100
    for fault in run.schedule.faults:
        assert fault.kind in story


def test_a_run_that_does_not_fail_cannot_be_shrunk() -> None:
    from tests.sim.runs import config, schedule  # noqa: PLC0415

    with pytest.raises(UsageError, match="does not fail"):
        shrink(config(), schedule())


CORPUS = sorted((Path(__file__).parents[2] / "histories" / "corpus").glob("*/run.json"))


@pytest.mark.parametrize("run_file", CORPUS, ids=lambda p: p.parent.name)
def test_the_corpus_fails_with_its_bug_and_passes_without(run_file: Path) -> None:
    """Every recorded failure: its history is invalid or its logs disagree, as recorded; run again
    it fails, possibly in another timing of the network if the protocol's timing has changed; the
    correct protocol under the same operations and faults raises no alarm."""

    recorded = load(run_file.parent)
    assert recorded.outcome == "invalid"
    history = read(recorded.folder.history)
    judged = check(history, model="kv", time_limit_s=30)
    assert judged.outcome == recorded.verdict["linearizability"]["verdict"]

    def outcome(seed: int, mutant: str | None) -> str:
        world = dict(recorded.config.world) | ({"seed": seed} if seed else {})
        config = recorded.config.changed(mutant=mutant, world=world)
        return simulate_and_judge(config, recorded.schedule).outcome

    assert any(outcome(seed, recorded.config.cluster.mutant) == "invalid" for seed in range(200))
    assert all(outcome(seed, None) != "invalid" for seed in range(1, 6))


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 8


def _copied(folder: Path, to: Path) -> Path:
    copy = to / "copy"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copy
