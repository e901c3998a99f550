"""The failover benchmark: windows, quantiles and intervals, whole plans."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from harness.bench.failover import regress
from harness.bench.failover.failures import FAILURES
from harness.bench.failover.files import finite
from harness.bench.failover.measure import measure, not_measured
from harness.bench.failover.plan import HEALTHY, Block, FailoverPlan, Sweep
from harness.bench.failover.probe import Failure, Sample
from harness.bench.failover.regress import Baseline, regressions
from harness.bench.failover.result import Cell, FailoverResult, Observation
from harness.bench.failover.windows import (
    CLASSES,
    NodeEvent,
    Phases,
    elections_in,
    phases_of,
    rate_back_us,
    windows_of,
)
from harness.bench.stats import bootstrap, carries, quantile, summarise
from harness.cli.failover import _windows, failover_command, median_in_words
from harness.cli.files import exclusive
from harness.errors import HarnessError, UnknownChoice, UsageError
from harness.run.observer import Observer
from histories.events import NEMESIS
from histories.folder import RunFolder
from histories.formats.native import read


def samples(*rows: tuple[int, int, bool], f: str = "read", group: str = "leader") -> list[Sample]:
    return [Sample(intended, end, f, group, ok, indefinite=not ok) for intended, end, ok in rows]


def failed(at_us: int = 1_000) -> Failure:
    return Failure(1, leader=1, asked_us=at_us - 10, applied_us=at_us, ended_us=100_000)


def test_a_window_ends_where_success_is_sustained_not_at_the_first_answer() -> None:
    seen = samples(
        (500, 600, True),
        (1_500, 9_000, False),
        (3_000, 3_100, True),  # a single success
        (4_000, 9_000, False),
        (5_000, 5_100, True),
        (6_000, 6_050, True),
    )
    assert windows_of(failed(), seen, 200, 100_000)["read/leader"] == 5_100 - 1_000


def test_a_slow_answer_counts_as_unavailable() -> None:
    seen = samples((1_500, 8_000, True), (7_900, 8_000, True), (8_100, 8_150, True))
    assert windows_of(failed(), seen, 200, 100_000)["read/leader"] == 8_000 - 1_000


def test_without_disturbance_the_window_is_zero_and_without_recovery_there_is_none() -> None:
    good = samples((500, 600, True), (1_500, 1_600, True))
    assert windows_of(failed(), good, 200, 100_000)["read/leader"] == 0
    bad = samples((1_500, 9_000, False), (2_500, 9_500, False))
    assert windows_of(failed(), bad, 200, 100_000)["read/leader"] is None
    unproven = Failure(1, leader=1, asked_us=1)
    assert set(windows_of(unproven, good, 200, 100_000).values()) == {None}


def test_an_operation_under_way_at_the_fault_belongs_to_the_window() -> None:
    seen = samples((900, 5_000, True), (5_100, 5_150, True))
    assert windows_of(failed(), seen, 200, 100_000)["read/leader"] == 5_150 - 1_000


def test_what_was_still_under_way_when_healing_began_says_nothing() -> None:
    """It could not have been in time by then, and was late because of the healing."""
    seen = samples((500, 600, True), (99_900, 101_500, True), (50_000, 50_100, True))
    assert windows_of(failed(), seen, 200, 100_000)["read/leader"] == 0
    waiting = samples((500, 600, True), (50_000, 101_500, False))
    assert windows_of(failed(), waiting, 200, 100_000)["read/leader"] is None


def test_phases_of_a_target_that_shows_no_decisions_leave_out_the_commit() -> None:
    events = [NodeEvent(1_400, 3, "election"), NodeEvent(1_500, 3, "leading")]
    assert phases_of(failed(), events, 900, 800) == (400, 100, None, 400, 800)


def test_elections_of_a_period_are_counted() -> None:
    events = [NodeEvent(at, 1, "election") for at in (5, 10, 15, 20)]
    events += [NodeEvent(11, 1, "leading"), NodeEvent(21, 1, "leading")]
    assert elections_in(events, 10, 20) == (3, 1)


def test_phases_follow_one_another_and_ignore_the_old_leader() -> None:
    events = [
        NodeEvent(900, 2, "election"),
        NodeEvent(1_100, 1, "election"),
        NodeEvent(1_400, 3, "election"),
        NodeEvent(1_500, 3, "leading"),
        NodeEvent(1_450, 2, "decided"),
        NodeEvent(1_600, 3, "decided"),
    ]
    phases = phases_of(failed(), sorted(events), 900, 800)
    assert phases == (400, 100, 100, 300, 800)
    assert phases_of(failed(), [], 900, None)[:3] == (None, None, None)


def test_the_rate_is_back_only_where_it_stays() -> None:
    failure = Failure(1, leader=1, asked_us=0, applied_us=0, ended_us=1_000_000)
    early = samples(*((at, at + 10, True) for at in range(100_000, 140_000, 2_000)))
    late = samples(*((at, at + 10, True) for at in range(600_000, 1_000_000, 2_000)))
    back = rate_back_us(failure, early + late, 2_000)
    assert back is not None and 580_000 <= back <= 620_000
    assert rate_back_us(failure, early, 2_000) is None


def test_a_quantile_is_given_only_where_the_sample_is_large_enough() -> None:
    assert carries(1, 50) and not carries(99, 90) and carries(100, 90)
    assert not carries(100, 99) and carries(1_000, 99)
    summary = summarise([float(n) for n in range(100)])
    assert set(summary.quantiles) == {50, 90}
    assert summary.quantiles[50].value == 49.5
    assert summary.quantiles[50].low < 49.5 < summary.quantiles[50].high


def test_a_window_without_recovery_is_infinite_and_counted() -> None:
    summary = summarise([1.0, 2.0, None, None, None])
    assert summary.missing == 3 and math.isinf(summary.quantiles[50].value)
    assert summary.least == 1.0 and summary.most is None
    assert summarise([]).quantiles == {}


def test_intervals_cover_the_true_value_at_about_their_nominal_rate() -> None:
    """Of 200 samples from a known distribution, the 95 % interval of the median misses its true
    value in about ten."""
    random = Random(7)
    missed = 0
    for _ in range(200):
        drawn = sorted(random.expovariate(1.0) for _ in range(60))
        low, high = bootstrap(drawn, 50, random)
        missed += not low <= math.log(2) <= high
    assert missed <= 24
    assert quantile([1.0, 3.0], 50) == 2.0


def simulated(tmp_path: Path, **options: Any) -> FailoverResult:
    settings: dict[str, Any] = {"on": "sim", "count": 3, "nodes": 3, "election_us": 300_000}
    return measure(FailoverPlan(**(settings | options)), tmp_path, Observer())


def test_a_simulated_plan_alternates_and_every_history_is_judged(tmp_path: Path) -> None:
    result = simulated(tmp_path, targets=("raft", "multi-paxos"), failures=("pause",), block=2)
    assert result.outcome == "valid"
    assert [len(cell.verdicts) for cell in result.cells.values()] == [2, 2]
    for cell in result.cells.values():
        windows = cell.worst_ms()
        assert len(windows) == 3 and all(w is not None and 300 <= w <= 900 for w in windows)
        detection = cell.phase_summary("detection_us")
        assert detection is not None and detection.quantiles[50].value >= 250
    names = [Path(folder).name for cell in result.cells.values() for folder in cell.folders]
    assert len(set(names)) == 4


def test_a_killed_leader_is_detected_at_once(tmp_path: Path) -> None:
    """Its connections are closed, and no node waits for a timeout."""
    result = simulated(tmp_path, targets=("raft", "multi-paxos"), failures=("kill",), nodes=5)
    for cell in result.cells.values():
        detection = cell.phase_summary("detection_us")
        assert detection is not None and detection.quantiles[50].value < 30
        assert all(w is not None and w < 100 for w in cell.worst_ms())


def test_killing_a_follower_disturbs_clients_little(tmp_path: Path) -> None:
    result = simulated(tmp_path, targets=("multi-paxos",), failures=("follower-kill",), nodes=5)
    (cell,) = result.cells.values()
    assert all(value == 0 for value in cell.windows_ms("write/leader"))


@pytest.mark.parametrize("failure", ["quorum-loss", "constrained", "chained", "hub"])
def test_partial_connectivity_lasts_until_service_is_back_or_the_time_is_up(
    failure: str, tmp_path: Path
) -> None:
    result = simulated(tmp_path, targets=("multi-paxos",), failures=(failure,), nodes=5, count=1)
    (cell,) = result.cells.values()
    (observed,) = cell.proven
    folder = RunFolder.open(cell.folders[0])
    faults = [e for e in read(folder.history).events if e.process == NEMESIS and e.f == "inject"]
    shapes = [e.value["shape"] for e in faults if e.type == "invoke"]
    assert shapes[-1] == failure and cell.outcome == "valid"
    assert observed.applied_us is not None


def test_a_healthy_period_counts_elections(tmp_path: Path) -> None:
    result = simulated(
        tmp_path, targets=("raft", "multi-paxos"), count=0, healthy_us=70_000_000, rate=100.0
    )
    assert [cell.failure for cell in result.cells.values()] == [HEALTHY, HEALTHY]
    for cell in result.cells.values():
        first, second = cell.healthy
        assert (first.us, second.us) == (60_000_000, 10_000_000)
        assert (first.candidacies, first.elections, first.late) == (0, 0, 0)
        assert first.operations > 5_500


def test_a_swept_setting_has_a_cell_for_each_value(tmp_path: Path) -> None:
    values = (("300ms", 300_000), ("900ms", 900_000))
    sweep = Sweep("election-timeout", values)
    result = simulated(tmp_path, targets=("multi-paxos",), failures=("pause",), sweep=sweep)
    short, long = result.cells.values()
    assert (short.point, long.point) == ("300ms", "900ms")
    assert short.summary().quantiles[50].value < 700
    assert long.summary().quantiles[50].value > 800
    plan = FailoverPlan(
        targets=("multi-paxos",), on="sim", sweep=Sweep("reads", (("lease", "lease"),))
    )
    assert plan.at("lease").settings == {"reads": "lease"}


def test_a_graceful_transfer_costs_less_than_a_pause(tmp_path: Path) -> None:
    result = simulated(
        tmp_path, targets=("raft", "multi-paxos"), failures=("transfer", "pause"), count=4
    )
    for target in ("raft", "multi-paxos"):
        asked, paused = (result.cells[target, name, ""] for name in ("transfer", "pause"))
        assert len(asked.proven) == 4 and asked.outcome == "valid"
        assert all(o.recovered for o in asked.proven)
        assert asked.summary().quantiles[50].value < 100 < paused.summary().quantiles[50].value
    with pytest.raises(UsageError, match="cannot be asked to hand over"):
        FailoverPlan(targets=("epaxos",), failures=("transfer",), on="sim")


def test_without_a_leader_failures_hit_any_node(tmp_path: Path) -> None:
    result = simulated(tmp_path, targets=("epaxos", "basic-paxos"), count=6, rate=100.0)
    for cell in result.cells.values():
        assert len(cell.proven) == 6 and cell.outcome == "valid"
        assert len({o.leader for o in cell.proven}) > 1


def test_the_time_that_a_protocol_blocks_is_measured(tmp_path: Path) -> None:
    result = simulated(tmp_path, targets=("two-phase-commit",), count=2)
    (cell,) = result.cells.values()
    held_ms = 20 * 300
    for observed in cell.proven:
        assert not observed.recovered
        assert observed.blocked_us is not None and observed.blocked_us / 1000 > held_ms
    assert all(ms is not None for ms in cell.blocked_ms())


def test_what_is_measured_is_named_once() -> None:
    for words, problem in (
        (["raft", "--fault", "none"], "at least one failure must be named"),
        (["raft", "--fault", "kill,kill"], "the failure kill is named twice"),
        (["raft", "raft"], "the target raft is named twice"),
        (["raft", "--fault", "hub,partial"], "the failure hub is named twice"),
    ):
        done = CliRunner().invoke(failover_command, [*words, "--on", "sim"])
        assert isinstance(done.exception, UsageError) and problem in str(done.exception)
    done = CliRunner().invoke(failover_command, ["raft", "--fault", ",", "--on", "sim"])
    assert done.exit_code == 2 and "',': give names, separated by commas" in done.output


def test_invalid_input_is_refused() -> None:
    with pytest.raises(UnknownChoice, match="'flood'"):
        FailoverPlan(targets=("raft",), failures=("flood",))
    with pytest.raises(UnknownChoice, match="'nothing'"):
        FailoverPlan(targets=("nothing",))
    wrong: list[dict[str, Any]] = [
        {"count": 0},
        {"rate": 0.0},
        {"election_us": 1},
        {"busy": 100},
        {"busy": 1, "on": "sim"},
        {"sweep": Sweep("nodes", (("0", 0),))},
        {"sweep": Sweep("no_such", (("0", 0),))},
    ]
    for options in wrong:
        with pytest.raises(UsageError):
            FailoverPlan(targets=("raft",), **options)
    assert all(failure.summary for failure in FAILURES.values())


def cell_with(windows_ms: list[float]) -> FailoverResult:
    plan = FailoverPlan(targets=("raft",), on="sim")
    result = FailoverResult(plan=plan)
    result.cells["raft", "kill", ""] = Fixed(windows_ms)
    return result


class Fixed(Cell):
    def __init__(self, windows_ms: list[float]) -> None:
        super().__init__(target="raft", failure="kill", election_us=1_000_000)
        self._fixed = windows_ms

    def worst_ms(self) -> list[float | None]:
        return list(self._fixed)


def test_a_regression_is_one_beyond_both_intervals() -> None:
    base = Baseline.of(cell_with([100.0 + n % 10 for n in range(50)]).to_json())
    slower = cell_with([200.0 + n % 10 for n in range(50)])
    noisy = cell_with([100.0 + 3 * (n % 10) for n in range(50)])
    (found,) = regressions(slower, base, 0.2)
    assert "raft kill" in found.sentence and "more than 20% longer" in found.sentence
    assert not regressions(noisy, base, 0.2)


def test_a_baseline_that_cannot_be_compared_is_refused_before_anything_is_measured() -> None:
    result = cell_with([100.0 + n % 10 for n in range(50)])
    document = finite(result.to_json())
    assert Baseline.of(document).missing(result) == []
    Baseline.of(document).require_comparable(result.plan)
    wrong: list[Any] = [[], {}, {**document, "cells": [{}]}, {**document, "cells": [None]}]
    for limit in ("NaN", -1.0, "soon", {}):
        changed = json.loads(json.dumps(document))
        changed["cells"][0]["window_ms"]["quantiles"]["p50"]["low"] = limit
        wrong.append(changed)
    for each in wrong:
        with pytest.raises(UsageError, match="not a result of failover"):
            Baseline.of(each)
    with pytest.raises(UsageError, match="format 2, not 3"):
        Baseline.of({**document, "format": 2})
    with pytest.raises(UsageError, match="measured with nodes 3, not 5"):
        Baseline.of({**document, "nodes": 3}).require_comparable(result.plan)
    none = Baseline.of({**document, "cells": []})
    with pytest.raises(UsageError, match="a median of none of these"):
        none.require_comparable(result.plan)
    assert [cell.name for cell in none.missing(result)] == ["raft kill"]


def test_the_command_writes_the_files_it_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["raft", "--on", "sim", "--failures", "2", "--nodes", "3", "--out", str(out)]
    done = CliRunner().invoke(failover_command, words, standalone_mode=False)
    assert done.return_value == 0, done.output
    document = json.loads((out / "failover.json").read_text())
    assert document["cells"][0]["proven"] == 2
    assert len((out / "windows.csv").read_text().splitlines()) == 3
    assert "<script" in (out / "failover.html").read_text()
    baseline = shutil.copy(out / "failover.json", tmp_path / "baseline.json")
    swept = [*words, "--sweep", "nodes=3,5", "--healthy", "2s", "--rate", "100", "--markdown"]
    table = CliRunner().invoke(failover_command, swept, standalone_mode=False)
    assert table.return_value == 0, table.output
    assert "| <100 | <100 to <100 | - | <100 | <0.10 |" in table.output  # followers notice at once
    assert table.output.count("| raft kill 3 |") == 2 and "| raft 5 | 2 |" in table.output
    again = CliRunner().invoke(
        failover_command,
        [*words, "--baseline", str(baseline)],
        standalone_mode=False,
    )
    assert again.return_value == 0, again.output


def test_where_service_does_not_return_the_median_is_no_number() -> None:
    """The display, the table, and the comparison with a baseline."""
    windows = dict.fromkeys(CLASSES)
    gone = Observation(
        number=1,
        leader=1,
        applied_us=1_000,
        recovered=False,
        problem=None,
        windows=windows,
        phases=Phases(None, None, None, None, None),
        indefinite=0,
    )
    cell = Cell(target="raft", failure="kill", election_us=1_000_000, observations=[gone] * 9)
    words = "no median window: after most of them service did not return"
    assert median_in_words(cell) == words
    assert _windows(cell)[3:5] == ["never", "never"]
    never = {"value": None, "low": None, "high": None}
    before = {"value": 200.0, "low": 100.0, "high": 300.0}
    assert regress.longer("raft kill", before, never, 0.2) == (
        "raft kill: the median window is never, in the baseline 200 ms (100 ms to 300 ms): "
        "more than 20% longer"
    )


def test_a_full_disk_names_the_option_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    plan = FailoverPlan(targets=("raft",), failures=("kill",), count=1, nodes=3, on="sim")
    with pytest.raises(HarnessError, match="cannot be recorded") as caught:
        measure(plan, tmp_path / "runs", Observer())
    assert caught.value.remedy == "choose a folder that can be written: --out FOLDER"


def test_two_results_are_not_written_into_one_folder(tmp_path: Path) -> None:
    words = ["raft", "--on", "sim", "--failures", "1", "--nodes", "3", "--out", str(tmp_path)]
    with exclusive(tmp_path, "--out"):
        done = CliRunner().invoke(failover_command, words)
    assert isinstance(done.exception, UsageError)
    assert "another command writes into --out" in str(done.exception)
    assert CliRunner().invoke(failover_command, words, standalone_mode=False).return_value == 0


def test_what_a_block_could_not_show_is_said() -> None:
    kill = Block("raft", "kill", "", number=2, count=10)
    healthy = Block("raft", HEALTHY, "", number=3, count=0, healthy_us=60_000_000)
    probe: Any = SimpleNamespace(failures=[None] * 10, measurements=SimpleNamespace(healthy=None))
    assert not_measured(probe, kill) == ""
    assert not_measured(probe, healthy).startswith("block 4 is not counted")
    probe.failures.pop()
    assert not_measured(probe, kill).startswith("block 3 has 9 of 10 failures")
    probe.measurements.healthy = (0, 1)
    assert not_measured(probe, healthy) == ""
