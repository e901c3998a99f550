"""What a night has time for: its budget, the blocks of sweeps, and what it skips."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.suite import show
from harness.suite.execution import Budget, carry_out
from harness.suite.finish import finish
from harness.suite.jobs import JobResult
from harness.suite.night import begin
from harness.suite.run_job import run_job
from tests.suite.jobs import job
from tests.suite.plans import FAILOVER, SMALL, SWEEP, TELL, suite


def test_a_job_that_would_outlast_the_budget_does_not_begin(tmp_path: Path) -> None:
    """By how long the longest of its cell has taken."""
    text = SMALL.replace("[suite]", '[suite]\nbudget = "100s"', 1)
    budget = Budget(begin(suite(tmp_path, text), "one"))
    quick, slow = job(cell="quick"), job(cell="slow")
    assert budget.allows(quick) and budget.allows(slow)
    budget.spend(JobResult(identity="q", cell="quick", seed=1, outcome="valid", seconds=1.0))
    budget.spend(JobResult(identity="s", cell="slow", seed=1, outcome="valid", seconds=150.0))
    assert budget.allows(quick) and not budget.allows(slow)


def test_the_budget_skips_what_does_not_fit(tmp_path: Path) -> None:
    one = suite(tmp_path, SMALL.replace('name = "small"', 'name = "small"\nbudget = "1us"'))
    night = begin(one, "2026-01-01")
    carry_out(night)
    finished = finish(night, lambda _: None)
    assert len(night.skipped) == len(night.jobs) and finished.outcome == "unknown"
    assert "skipped" in (night.folder / "junit.xml").read_text()


def test_a_night_without_time_for_a_planned_run_is_undecided(tmp_path: Path) -> None:
    """Though what was run is valid; and every output says so."""
    one = suite(tmp_path, SMALL.partition('[[cells]]\nname = "planted"')[0] + TELL)
    night = begin(one, "2026-01-01")
    first, second = night.jobs
    night.results[first.identity] = run_job(first, night.folder / "runs")
    finished = finish(night, lambda _: None)
    assert (finished.outcome, finished.findings) == ("unknown", [])
    assert finished.summary["headline"] == "1 runs: 1 valid; 1 skipped; findings: none"
    assert finished.summary["skipped"] == [second.identity]
    (case,) = ET.parse(night.folder / "junit.xml").iter("testcase")
    (result,) = case
    words = f"{first.cell}: 1 of 2 runs skipped: the budget was used up"
    assert (result.tag, result.get("message")) == ("skipped", words)
    assert "antipaxos_skipped_runs 1\n" in (night.folder / "metrics.prom").read_text()
    console = Console(record=True, width=200, file=io.StringIO())
    show(night, finished, console)
    assert words in console.export_text()
    night.results[second.identity] = run_job(second, night.folder / "runs")
    assert finish(night, lambda _: None).outcome == "valid"
    (case,) = ET.parse(night.folder / "junit.xml").iter("testcase")
    assert not list(case)


def test_the_first_block_of_a_night_is_small(tmp_path: Path) -> None:
    one = suite(tmp_path, SWEEP.replace("sweep = 25", "sweep = 250"))
    assert [(job.seed, job.count) for job in begin(one, "a").jobs] == [
        (0, 10), (10, 100), (110, 100), (210, 40),
    ]  # fmt: skip


def test_no_block_has_a_single_seed(tmp_path: Path) -> None:
    """That would be a run of its own, and not count as one of the sweep."""
    for seeds, counts in ((11, [11]), (12, [10, 2]), (111, [10, 101]), (112, [10, 100, 2])):
        (tmp_path / str(seeds)).mkdir()
        one = suite(tmp_path / str(seeds), SWEEP.replace("sweep = 25", f"sweep = {seeds}"))
        assert [job.count for job in begin(one, "a").jobs] == counts


def test_a_block_begins_where_all_its_seeds_have_time(tmp_path: Path) -> None:
    """Before any result: by earlier nights, or a hundredth of the simulated seconds."""
    text = SWEEP.replace("[suite]", '[suite]\nbudget = "100s"').replace("sweep = 25", "sweep = 999")
    one = suite(tmp_path, text)
    (cell,) = one.sweeps()
    budget = Budget(begin(one, "a"))
    estimate_s = budget.seconds_for(cell.job(0, 100))
    assert estimate_s == pytest.approx(100 * cell.time_us / 1e6 / 100)
    spent = JobResult(
        identity="x", cell=cell.label, seed=0, outcome="valid", seconds=20.0, block=10
    )
    budget.spend(spent)
    assert budget.seconds_for(cell.job(10, 100)) == 200.0
    assert not budget.allows(cell.job(10, 100)) and budget.allows(cell.job(10, 40))


def test_what_was_used_of_a_budget_stays_used_when_a_night_is_resumed(tmp_path: Path) -> None:
    text = FAILOVER.replace("[suite]", '[suite]\nbudget = "100s"')
    one = suite(tmp_path, text)
    night = begin(one, "a")
    carry_out(night)
    assert all(Budget(night).allows(job) for job in night.jobs)
    night.seconds = 100.0
    assert not any(Budget(night).allows(job) for job in night.jobs)
