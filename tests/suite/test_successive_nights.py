"""What goes on from night to night: sweeps, failover medians, coverage, the index."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.bench.failover import regress
from harness.errors import HarnessError
from harness.suite import cells
from harness.suite.cells import FailoverCell
from harness.suite.execution import carry_out, estimate
from harness.suite.failovers import longer
from harness.suite.findings import gather
from harness.suite.finish import FinishedNight, coverage_of, finish
from harness.suite.index import INDEX, Index
from harness.suite.jobs import JobResult
from harness.suite.night import Night, add_to_corpus, begin, resume, seeds_done
from harness.suite.plan import Suite
from harness.suite.run_job import run_job
from tests.suite.jobs import job
from tests.suite.plans import FAILOVER, SWEEP, suite

LABEL = "all / multi-paxos / kv / swarm / sim / mutant B6"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "BLOCK", 5)


def stopped_after(night: Night, count: int) -> Any:
    def stop(_: JobResult) -> None:
        if len(night.results) == count:
            raise KeyboardInterrupt

    return stop


def done(night: Night) -> FinishedNight:
    return finish(night, lambda _: None)


def test_a_sweep_goes_on_from_night_to_night(tmp_path: Path, small_blocks: None) -> None:
    one = suite(tmp_path, SWEEP)
    first = begin(one, "2026-01-01")
    assert [job.identity for job in first.jobs] == [f"{LABEL}#{n}+5" for n in (0, 5, 10, 15, 20)]
    carry_out(first, stopped_after(first, 2))
    assert first.interrupted and not first.skipped
    assert seeds_done(one.store, LABEL) == 10  # though the night was never finished
    second = begin(one, "2026-01-02")
    assert [job.seed for job in second.jobs] == [10, 15, 20]
    again = resume(one)
    assert (again.name, len(again.left)) == ("2026-01-02", 3)
    carry_out(second)
    summary = done(second).summary
    assert summary["sweeps"] == [{"cell": LABEL, "done": 25, "of": 25}]
    assert summary["runs"] == 15 and sum(summary["outcomes"].values()) == 15
    (one.store / "index.sqlite").unlink()
    assert not [job for job in begin(one, "2026-01-03").jobs if job.recorded is None]


def test_a_sweep_may_be_cut_short_by_the_budget_but_must_begin(
    tmp_path: Path, small_blocks: None
) -> None:
    """Its seeds are not planned runs, unlike the fixed seeds of the same row."""
    one = suite(tmp_path, SWEEP.replace('mutants = ["B6"]\n', "seeds = [3]\n"))
    night = begin(one, "2026-01-01")
    fixed, first = night.jobs[:2]
    assert (fixed.open_ended, first.open_ended) == (False, True)
    label = fixed.cell
    night.results[first.identity] = run_job(first, night.folder / "runs")
    assert (night.skipped, night.sweeps_not_begun) == ([fixed], [])
    assert done(night).outcome == "unknown"
    night.results[fixed.identity] = run_job(fixed, night.folder / "runs")
    assert len(night.left) == 4 and done(night).outcome == "valid"
    night = begin(suite(tmp_path, SWEEP.replace('mutants = ["B6"]\n', "")), "2026-01-02")
    other = job(cell="other")
    night.jobs.append(other)
    night.results[other.identity] = run_job(other, night.folder / "runs")
    finished = done(night)
    assert (night.skipped, finished.summary["sweeps_not_begun"]) == ([], [label])
    assert finished.outcome == "unknown" and "1 sweeps not begun" in finished.summary["headline"]


def test_a_block_comes_to_what_its_seeds_do(tmp_path: Path, small_blocks: None) -> None:
    one = suite(tmp_path, SWEEP)
    night = begin(one, "a")
    carry_out(night)
    failing = {result.seed: result for _, result in night.pairs() if result.outcome != "valid"}
    single = suite(tmp_path, SWEEP.replace("sweep = 25", f"seeds = {list(range(25))}"))
    other = begin(single, "b")
    carry_out(other)
    expected = {result.seed: result for _, result in other.pairs() if result.outcome != "valid"}
    assert failing and {s: r.symptoms for s, r in failing.items()} == {
        s: r.symptoms for s, r in expected.items()
    }
    assert sum(r.runs for _, r in night.pairs()) == 25
    assert all(
        (job.seed, job.count) == (result.seed, 1) for job, result in night.pairs() if job.count == 1
    )
    summary = done(night).summary
    (cell,) = summary["cells"]
    assert cell["runs"] == cell["planned"] == 25
    rows = Index(one.store).nights()
    assert (rows[0]["runs"], rows[0]["invalid"]) == (25, summary["outcomes"].get("invalid"))
    assert Index(one.store).seeds_swept(LABEL) == 25
    text = (night.folder / "results.jsonl").read_text().splitlines()
    assert [JobResult.from_json(json.loads(line)) for line in text] == list(night.results.values())


def interval(value: float | None, low: float, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Night, FinishedNight]:
    one = suite(tmp_path_factory.mktemp("failover"), FAILOVER)
    night = begin(one, "2026-01-01")
    carry_out(night)
    return one, night, done(night)


def test_earlier_failures_run_first_and_failover_alone_after_them(tmp_path: Path) -> None:
    one = suite(tmp_path, FAILOVER.replace("count = 4", "count = 1"))
    planted = job(target="multi-paxos", mutant="M3", swarm=True, fixed={"time_us": 4_000_000})
    results = (run_job(planted.single(seed), tmp_path / "runs") for seed in range(24))
    run = next(result for result in results if result.folder is not None)
    (finding,) = gather([(planted, run)])
    add_to_corpus(one.store, Path(str(run.folder)), finding)
    night = begin(one, "2026-01-01")
    carry_out(night)
    rows = [identity.partition(" / ")[0] for identity in night.results]
    assert rows[:2] == ["corpus", "failover"] and not night.left


def test_failover_is_measured_first_and_kept(measured: tuple[Suite, Night, FinishedNight]) -> None:
    one, night, finished = measured
    assert next(iter(night.results)).startswith("failover / multi-paxos / pause / sim / 3 nodes#")
    (row,) = finished.summary["failovers"]
    assert row["proven"] == row["recovered"] == 4 and Path(row["page"]).is_file()
    median = row["median_ms"]
    assert 0 < median["low"] <= median["value"] <= median["high"]
    (kept,) = Index(one.store).failovers()
    assert (kept["night"], kept["median"]) == ("2026-01-01", median["value"])
    assert "failovers" in (one.store / "nights.html").read_text()
    assert finished.outcome == "valid"
    assert estimate(one, night.jobs)["seconds"] > 0


@pytest.mark.parametrize(
    ("factor", "found"),
    [(1.1, 0), (2.0, 1), (None, 1)],
)
def test_a_median_that_became_longer_is_a_finding(
    measured: tuple[Suite, Night, FinishedNight], factor: float | None, found: int
) -> None:
    one, night, _ = measured
    later = Night(one, "2026-01-02", night.folder, night.jobs, results=dict(night.results))
    identity = next(iter(later.results))
    result = later.results[identity]
    before = result.failover
    assert before is not None
    median = {k: None if factor is None else v * factor for k, v in before["median_ms"].items()}
    if factor == 1.1:
        median["low"] = before["median_ms"]["low"]
    changed = JobResult.from_json(
        result.to_json() | {"failover": dict(before) | {"median_ms": median}}
    )
    later.results[identity] = changed
    findings = list(longer(later, Index(one.store)))
    assert len(findings) == found
    for finding in findings:
        assert finding.is_failure and finding.detector == "failover"
        assert "the baseline is the night 2026-01-01" in finding.sentence
        assert "more than 20% longer" in finding.sentence


def test_a_window_too_short_to_be_seen_may_have_been_as_long_as_one_that_is_seen() -> None:
    unseen = {"value": 0.0, "low": 0.0, "high": 0.0}
    seen = {"value": 105.0, "low": 101.0, "high": 110.0}
    assert regress.longer("raft kill", unseen, seen, 0.2, seen_ms=100.0) is None
    clearly = {"value": 130.0, "low": 125.0, "high": 140.0}
    sentence = regress.longer("raft kill", unseen, clearly, 0.2, seen_ms=100.0)
    assert sentence is not None and "in the baseline less than 100 ms" in sentence


def test_measurements_with_other_parameters_are_not_compared(
    measured: tuple[Suite, Night, FinishedNight],
) -> None:
    one, night, _ = measured
    (cell,) = [c for c in one.cells if isinstance(c, FailoverCell)]
    index = Index(one.store)
    later = "9999"
    (row,) = index.failovers()
    assert index.failover_baseline(cell.label, row["parameters"], later, None) is not None
    assert index.failover_baseline(cell.label, "{}", later, None) is None
    assert index.failover_baseline(cell.label, row["parameters"], later, "other") is None
    assert index.failover_baseline(cell.label, row["parameters"], night.started, None) is None


def test_what_never_happened_is_said(measured: tuple[Suite, Night, FinishedNight]) -> None:
    _, night, finished = measured
    covered = coverage_of(night.pairs())
    assert covered == finished.summary["coverage"]
    assert covered["multi-paxos"]["fault"] == {"pause": 4}
    assert covered["raft"]["state"]["values decided"] > 0
    assert 0 in covered["raft"]["fault"].values() and 0 in covered["raft"]["state"].values()


def test_an_index_of_other_tables_is_made_again(tmp_path: Path) -> None:
    one = suite(tmp_path, FAILOVER.replace("count = 4", "count = 1"))
    night = begin(one, "2026-01-01")
    carry_out(night)
    done(night)
    before = Index(one.store).nights()
    path = one.store / INDEX
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE results")
        db.execute("CREATE TABLE results (night TEXT)")
        db.execute("PRAGMA user_version = 1")
    assert Index(one.store).nights() == before
    path.write_text("no database\n" * 1000)
    assert Index(one.store).nights() == before
    assert Index(tmp_path / "no store").rebuild() == 0
    with pytest.raises(HarnessError, match="cannot be used"):
        Index(tmp_path / "no store").nights()


def test_nights_follow_each_other_in_time_whatever_they_are_called(tmp_path: Path) -> None:
    one = suite(tmp_path, FAILOVER.replace("count = 4", "count = 1"))
    for name in ("zebra", "adder"):
        night = begin(one, name)
        carry_out(night)
        done(night)
    assert [row["night"] for row in Index(one.store).nights()] == ["adder", "zebra"]
