"""Sweeps: planted bugs are found near known seeds, the correct protocol passes, crashes are
reported."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from harness.cli.display import Progress
from harness.cli.sweep import reached_lines, sweep_command
from harness.errors import HarnessError, UnknownChoice
from harness.reproduce.replay import load, replay_simulated
from harness.run.simulation import simulate_and_judge
from harness.run.verdict import judge_folder
from harness.search.swarm import SweepPlan, draw
from harness.search.sweep import SeedResult, run_seed, sweep
from harness.targets import targets
from harness.targets.paxos_family import PaxosTarget
from histories.folder import RunFolder
from node_image.protocols.multi_paxos import MultiPaxos

Fixed = dict[str, Any]
SMALL: Fixed = {"nodes": 3, "time_us": 5_000_000, "rate": 100.0}

# For each planted bug: the options of its sweep, and a seed that showed it when this was written.
# Seeds change with the protocol's timing, so a test tries a range of seeds from there on;
# `antipaxos mutants` measures how many seeds the default sweep takes.
PLANTED: dict[str, tuple[Fixed, int]] = {
    "M1": ({"faults": ("aimed", "loss"), "rate": 200.0, "concurrency": 12}, 25),
    "M2": ({"faults": ("partition", "pause"), "rate": 50.0, "time_us": 6_000_000}, 9),
    "M3": ({"faults": ("partition", "kill"), "time_us": 6_000_000}, 7),
    "M5": ({"faults": ("partition", "pause"), "nodes": 5, "keys": 1, "concurrency": 12}, 14),
    "M8": ({"faults": ("aimed", "kill", "pause"), "keys": 1, "time_us": 6_000_000}, 0),
    "M9": ({"faults": ("loss", "aimed", "kill"), "rate": 200.0, "concurrency": 12}, 25),
    "B5": ({"faults": ("power", "slow-disk"), "concurrency": 8, "time_us": 4_000_000}, 9),
    "B6": ({"faults": ("power",), "rate": 50.0, "time_us": 4_000_000}, 2),
    "B7": ({"faults": ("aimed",), "rate": 50.0, "concurrency": 8, "time_us": 6_000_000}, 780),
    "B9": ({"faults": ("duplicate", "kill", "partition"), "nodes": 5, "concurrency": 12}, 13),
}
DISKS: Fixed = {
    "faults": ("disk-damage", "disk-stall", "disk-full", "kill", "partition", "power"),
    "nodes": 3,
    "time_us": 10_000_000,
}
PLANTED |= dict.fromkeys(("D1", "D2", "D3", "D4", "D5"), (DISKS, 0))
MORE_SEEDS = 200


@pytest.mark.parametrize("mutant", PLANTED)
def test_a_planted_bug_is_found_near_its_seed(mutant: str) -> None:
    fixed, first = PLANTED[mutant]
    plan = SweepPlan(protocol="multi-paxos", mutant=mutant, fixed=SMALL | fixed)
    result = sweep(plan, range(first, first + MORE_SEEDS), stop_at_first=True)
    assert result.outcome == "invalid"
    (group,) = result.groups.values()
    wanted = {"liveness"} if mutant == "M1" else {"agreement", "linearizability"}
    assert group.symptom.detector in wanted
    assert group.sentence


@pytest.mark.parametrize("protocol", ["multi-paxos", "epaxos"])
def test_a_seed_leaves_no_reference_cycles(protocol: str) -> None:
    """A sweep that has to search for reference cycles spends a tenth of its time on it."""
    plan = SweepPlan(protocol=protocol, fixed={"time_us": 3_000_000})
    run_seed(plan, 0)
    gc.collect()
    gc.disable()
    try:
        assert [run_seed(plan, seed).outcome for seed in range(1, 5)] == ["valid"] * 4
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_correct_protocol_raises_no_alarm() -> None:
    result = sweep(SweepPlan(protocol="multi-paxos"), range(40))
    assert result.outcome == "valid", [g.to_json() for g in result.groups.values()]
    assert result.faults > 100 and result.operations > 5_000


@pytest.mark.parametrize("mutant", [None, "D0"])
def test_a_node_that_repairs_its_log_raises_no_alarm(mutant: str | None) -> None:
    plan = SweepPlan(protocol="multi-paxos", mutant=mutant, fixed=SMALL | DISKS)
    result = sweep(plan, range(25))
    assert result.outcome == "valid", [g.to_json() for g in result.groups.values()]


def test_two_jobs_give_the_same_results_as_one() -> None:
    fixed = {"time_us": 3_000_000, "faults": ("power",)}
    plan = SweepPlan(protocol="multi-paxos", mutant="B6", fixed=fixed)
    one = sweep(plan, range(20), jobs=1).to_json()
    two = sweep(plan, range(20), jobs=2).to_json()
    for timing in ("seconds", "seeds_per_s", "simulated_s_per_s"):
        one.pop(timing), two.pop(timing)
    assert one == two and one["invalid"]
    assert not multiprocessing.active_children()


def test_a_sweep_reports_the_states_its_seeds_reached() -> None:
    """Batches, installed snapshots, catch-ups and recoveries do happen."""
    names = ["batches decided", "snapshots taken", "snapshots installed", "catch-ups"]
    for protocol in ("multi-paxos", "raft", "epaxos"):
        result = sweep(SweepPlan(protocol=protocol, fixed={"time_us": 6_000_000}), range(20))
        assert result.outcome == "valid", [g.to_json() for g in result.groups.values()]
        counted = result.to_json()["reached"]
        assert all(counted[name]["seeds"] >= 3 for name in names), (protocol, counted)
        assert counted["batches decided"]["count"] > counted["values decided"]["count"] // 200
        if protocol == "epaxos":
            assert counted["recoveries of others' values"]["seeds"] >= 3
        text = "\n".join(reached_lines(result))
        assert "snapshots installed" in text and "never reached: " in text


def test_a_seed_that_kills_its_worker_is_reported_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def deadly(plan: SweepPlan, seed: int) -> SeedResult:
        if seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return run_seed(plan, seed)

    monkeypatch.setattr("harness.search.sweep.run_seed", deadly)
    plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 1_000_000})
    result = sweep(plan, range(8), jobs=2, store=tmp_path)
    assert (result.outcome, result.done, result.unknown) == ("unknown", 8, 1)
    (group,) = result.groups.values()
    assert group.seeds == [3] and "SIGKILL" in group.sentence and not group.folders


def test_each_seed_draws_a_mix_of_its_own() -> None:
    plan = SweepPlan(protocol="multi-paxos")
    configs = [draw(plan, seed)[0] for seed in range(60)]
    for name in ("nodes", "concurrency", "rate", "keys", "transport", "heal", "kinds"):
        assert len({config.option(name) for config in configs}) > 1, name
    kinds = {kind for config in configs for kind in config.faults.kinds}
    assert {"partition", "aimed", "power", "duplicate"} <= kinds


def test_options_of_the_user_stay_fixed() -> None:
    plan = SweepPlan(
        protocol="multi-paxos",
        fixed={"nodes": 5, "rate": 33.0, "faults": ("kill",), "settings": {"reads": "log"}},
    )
    for seed in range(10):
        config, schedule = draw(plan, seed)
        assert (config.cluster.nodes, config.traffic.rate, config.faults.kinds) == (
            5,
            33.0,
            ("kill",),
        )
        assert config.cluster.settings["reads"] == "log"
        assert set(schedule.kinds()) <= {"kill"}


# ------------------------------------------------------------------ a protocol that raises


class Clumsy(MultiPaxos):
    """Raises an exception at the fifth command that a leader receives."""

    asked = 0

    def request(self, command: Any, now_us: int) -> Any:
        self.asked += 1
        if self.asked == 5:
            raise ZeroDivisionError("one too many")
        return super().request(command, now_us)


class Confused(MultiPaxos):
    """Returns something that is not an effect."""

    def request(self, command: Any, now_us: int) -> Any:
        return ["what?"]


@pytest.fixture
def planted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from node_image import mutants  # noqa: PLC0415

    monkeypatch.setitem(mutants.PROTOCOLS, "planted", request.param)
    monkeypatch.setattr(request.param, "name", "planted")
    monkeypatch.setitem(cast(dict[str, Any], targets()), "planted", PaxosTarget("planted"))


@pytest.mark.parametrize(
    ("planted", "kind"),
    [(Clumsy, "ZeroDivisionError in test_sweep.py:request"), (Confused, "BadEffect in")],
    indirect=["planted"],
)
@pytest.mark.usefixtures("planted")
def test_a_protocol_that_raises_is_a_finding_with_its_traceback(kind: str, tmp_path: Path) -> None:
    result = sweep(SweepPlan(protocol="planted"), range(3), store=tmp_path, keep=1)
    assert result.done == 3 and result.outcome == "invalid"
    group = next(iter(result.groups.values()))
    assert group.symptom.detector == "crash" and kind in group.symptom.kind
    crashes = json.loads((group.folders[0] / "nodes" / "crashes.json").read_text())
    assert "Traceback" not in crashes[0]["error"] and crashes[0]["traceback"]
    judged = judge_folder(RunFolder.open(group.folders[0]))
    assert judged.outcome == "invalid" and "died of" in judged.reasons[0]
    assert replay_simulated(load(group.folders[0])).reproduced == 1


def test_a_bug_of_the_harness_is_reported_and_is_not_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the harness itself")

    monkeypatch.setattr("harness.search.sweep.simulate_and_judge", broken)
    result = run_seed(SweepPlan(protocol="multi-paxos"), 1)
    assert result.outcome == "unknown" and result.symptoms[0].detector == "harness"


# ------------------------------------------------------------------ folders and the command


def test_only_failing_seeds_leave_folders_and_only_the_first_of_a_group(tmp_path: Path) -> None:
    fixed = SMALL | {"faults": ("power",), "rate": 50.0}
    plan = SweepPlan(protocol="multi-paxos", mutant="B6", fixed=fixed)
    result = sweep(plan, range(40), store=tmp_path, keep=1)
    assert len(list(tmp_path.iterdir())) == len(result.groups) < result.invalid
    folder = RunFolder.open(next(iter(result.groups.values())).folders[0])
    assert folder.read_json("verdict.json")["verdict"] == "invalid"
    assert folder.decided_files()


def invoke(*words: str) -> Any:
    return CliRunner().invoke(sweep_command, list(words), standalone_mode=False)


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    chosen = ("--mutant", "B6", "--faults", "power", "--nodes", "3", "--time", "4s")
    done = invoke("multi-paxos", "--seeds", "20", *chosen, "--json", "--store", str(tmp_path))
    shown = json.loads(done.stdout.strip().splitlines()[-1])
    assert shown["seeds"] == 20 and shown["verdict"] == "invalid" and done.return_value == 1
    assert shown["groups"][0]["replay"][0].startswith("antipaxos replay ")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["no-such"], HarnessError),
        (["multi-paxos", "--mutant", "X9"], HarnessError),
        (["multi-paxos", "--seeds", "0"], click.BadParameter),
        (["multi-paxos", "--jobs", "0"], click.BadParameter),
        (["multi-paxos", "--from", "-1"], click.BadParameter),
        (["multi-paxos", "--faults", "flood"], UnknownChoice),
        (["multi-paxos", "--nodes", "0"], click.BadParameter),
    ],
)
def test_invalid_input_is_refused_before_the_first_seed(
    words: list[str], error: type[Exception]
) -> None:
    assert isinstance(invoke(*words).exception, error)


def test_an_interrupt_reports_what_was_found_so_far() -> None:
    def interrupt(result: Any, _: Any) -> None:
        if result.done == 3:
            raise KeyboardInterrupt

    plan = SweepPlan(protocol="multi-paxos", fixed={"time_us": 1_000_000})
    result = sweep(plan, range(50), watch=interrupt)
    assert result.interrupted and result.done == 3 and result.outcome == "unknown"


@pytest.mark.parametrize("heal", ["all", "quorum"])
def test_liveness_is_judged_with_all_or_only_a_quorum_healed(heal: str) -> None:
    plan = SweepPlan(protocol="multi-paxos", fixed={"heal": heal, "time_us": 3_000_000})
    for seed in range(12):
        run = simulate_and_judge(*draw(plan, seed))
        assert run.stats.not_live is None
        down = [n for n, node in run.runtime.world.nodes.items() if not node.running]
        assert heal == "quorum" or not down
        assert not set(down) & set(run.config.core())


def test_a_sweep_without_a_terminal_prints_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Progress.__init__.__kwdefaults__, "every_s", 0.02)
    told = invoke("multi-paxos", "--seeds", "30", "--time", "1s")
    lines = [line for line in told.stderr.splitlines() if " of 30 seeds, " in line]
    assert lines and all("none failed" in line for line in lines)
    assert " of 30 seeds" not in told.stdout
