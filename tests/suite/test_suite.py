"""Nights of suites that are run, resumed, reported and pruned, all simulated."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli.suite import suite_command
from harness.errors import UsageError
from harness.suite.child_process import run_in_child
from harness.suite.execution import carry_out
from harness.suite.findings import Finding, classify, gather
from harness.suite.finish import finish
from harness.suite.index import Index
from harness.suite.jobs import Job, JobResult
from harness.suite.night import (
    add_to_corpus,
    begin,
    corpus_jobs,
    locked,
    new_name,
    resume,
)
from harness.suite.outputs import plain
from harness.suite.plan import Expected, Keep, read_suite
from harness.suite.retention import compress, tidy
from harness.suite.run_job import run_job
from histories.folder import RunFolder
from tests.suite.jobs import job
from tests.suite.plans import MANY, SMALL, run_night, suite


def test_two_planted_bugs_are_found_shrunk_distinguished_and_known_on_the_second_night(
    tmp_path: Path,
) -> None:
    one = suite(tmp_path)
    _, first = run_night(one, "2026-01-01")
    assert first.outcome == "invalid"
    assert {f.subject for f in first.findings} >= {"multi-paxos+M3", "multi-paxos+B6"}
    for finding in first.findings:
        assert finding.status == "new" and finding.confirmed == "replayed: invalid, identical"
        assert finding.shrunk and (Path(finding.shrunk) / "verdict.json").is_file()
        assert re.match(r"node \d .* on \w+\(.*\) from node \d", finding.location)
    night, second = run_night(one, "2026-01-02")
    assert {(f.signature, f.status, f.since) for f in second.findings} >= {
        (f.signature, "known", "2026-01-01") for f in first.findings
    }
    assert night.jobs[0].cell.startswith("corpus / ")  # earlier failures run first
    assert (night.folder / "night.html").is_file() and (one.store / "nights.html").is_file()
    cases = list(ET.parse(night.folder / "junit.xml").iter("testcase"))
    assert len(cases) == len(night.cells)
    failed = [case for case in cases if case.find("failure") is not None]
    assert failed and "antipaxos replay" in str(failed[0].find("failure").text)  # type: ignore[union-attr]
    metrics = (night.folder / "metrics.prom").read_text()
    assert 'antipaxos_findings{status="known"}' in metrics


def test_a_finding_is_gone_only_where_its_target_was_tested(tmp_path: Path) -> None:
    one = suite(tmp_path)
    run_night(one, "2026-01-01")
    quiet = SMALL.replace(MANY, "fresh = 1").replace("4s", "100ms")
    less = suite(tmp_path, quiet)
    for path in (one.store / "corpus").glob("*/*"):
        path.unlink()
    _, second = run_night(less, "2026-01-02")
    assert {g["signature"].split(":")[0] for g in second.gone} == {
        "multi-paxos+M3",
        "multi-paxos+B6",
    }


def test_an_interrupted_night_is_resumed(tmp_path: Path) -> None:
    one = suite(tmp_path)
    night = begin(one, "2026-01-01")

    def stop(_: JobResult) -> None:
        if len(night.results) == 4:
            raise KeyboardInterrupt

    carry_out(night, stop)
    assert night.interrupted and finish(night, lambda _: None).outcome != "valid"
    again = resume(one)
    assert again.name == "2026-01-01" and len(again.results) >= 4
    before = set(again.results)
    carry_out(again)
    assert not again.left and before < set(again.results)
    finish(again, lambda _: None)
    with pytest.raises(UsageError, match="no night"):
        resume(one)


def test_an_interrupted_night_finishes_container_runs_that_have_begun_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = '[[cells]]\non = "docker"\ntargets = ["raft"]\nfaults = ["kill"]\nseeds = [1, 2]\n'
    night = begin(suite(tmp_path, SMALL.replace("[findings]", cell + "[findings]")), "a")
    begun, said = threading.Event(), threading.Event()

    def real(one: Job, store: Path) -> JobResult:
        begun.set()
        assert said.wait(60)
        return run_job(dataclasses.replace(one, on="sim"), store)

    def stop(_: JobResult) -> None:
        assert begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.suite.execution.run_in_child", real)
    carry_out(night, stop, say=lambda words: said.set() if "waiting" in words else None)
    assert night.interrupted
    assert [j.identity.partition("#")[2] for j in night.jobs if j.on == "docker"] == ["1", "2"]
    done = [j.seed for j in night.jobs if j.on == "docker" and j.identity in night.results]
    assert done == [1]


def test_ctrl_c_while_findings_are_confirmed_leaves_a_night_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = suite(tmp_path)
    night = begin(one, "2026-01-01")
    carry_out(night)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("harness.suite.finish.shrink_finding", interrupted)
        finished = finish(night, lambda _: None)
    assert finished.findings and night.interrupted
    assert (night.folder / "night.html").is_file() and (night.folder / "junit.xml").is_file()
    again = resume(one)
    assert not again.left
    assert all(finding.shrunk for finding in finish(again, lambda _: None).findings)


def test_what_the_harness_could_not_do_is_run_again_when_a_night_is_resumed(tmp_path: Path) -> None:
    one = suite(tmp_path)
    night = begin(one, "2026-01-01")
    carry_out(night)
    failing = dataclasses.replace(next(iter(night.results.values())), outcome="error")
    with (night.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(failing.to_json()) + "\n")
    assert [job.identity for job in resume(one).left] == [failing.identity]


def test_a_torn_last_result_is_run_again(tmp_path: Path) -> None:
    one = suite(tmp_path)
    night = begin(one, "2026-01-01")
    carry_out(night)
    path = night.folder / "results.jsonl"
    text = path.read_text()
    path.write_text(text[:-20])
    assert len(resume(one).left) == 1


def test_a_failure_of_earlier_nights_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "nights" / "corpus" / "raft-liveness"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text('{"format": 99}')
    night = begin(suite(tmp_path, SMALL), "2026-01-01")
    result = run_job(night.jobs[0], night.folder / "runs")
    assert (night.jobs[0].cell, result.outcome) == ("corpus / raft-liveness", "error")
    assert "says format 99" in result.sentence


def test_two_suites_do_not_share_a_store(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(UsageError, match="another suite works in"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        """The lock is free again."""


def finding(signature: str = "raft:liveness:x") -> Finding:
    return Finding(signature=signature, subject="raft", detector="liveness", kind="x")


def test_accepted_failures_have_a_date_at_which_that_ends() -> None:
    accepted = [Expected(signature="raft:liveness:x", reason="r", until=datetime.date(2026, 1, 2))]
    for day, status in ((2, "expected"), (3, "overdue")):
        one = finding()
        classify(one, "2025-12-01", accepted, datetime.date(2026, 1, day))
        assert one.status == status and "until 2026-01-02" in one.reason
    other = finding("raft:agreement:y")
    classify(other, None, accepted, datetime.date(2026, 1, 1))
    assert other.status == "new"


def test_a_job_may_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    here, apart = run_job(job(), tmp_path), run_in_child(job(), tmp_path, 60)
    assert here.outcome == apart.outcome == "valid"
    assert (here.operations, here.simulated_s) == (apart.operations, apart.simulated_s)
    assert Job.from_json(json.loads(json.dumps(job().to_json()))) == job()


def test_a_shrunk_failure_that_shows_another_anomaly_keeps_its_signature(tmp_path: Path) -> None:
    planted = job(target="multi-paxos", mutant="M3", swarm=True, fixed={"time_us": 4_000_000})
    results = (run_job(planted.single(seed), tmp_path / "runs") for seed in range(24))
    run = next(result for result in results if result.folder is not None)
    found = Finding(
        signature="multi-paxos+M3:linearizability:stale-read",
        subject="multi-paxos+M3",
        detector="linearizability",
        kind="stale-read",
    )
    add_to_corpus(tmp_path, Path(str(run.folder)), found)
    (again,) = corpus_jobs(tmp_path)
    assert Job.from_json(json.loads(json.dumps(again.to_json()))) == again
    shown = JobResult(
        identity=again.identity,
        cell=again.cell,
        seed=again.seed,
        outcome="invalid",
        seconds=1.0,
        symptoms=(("linearizability", "lost-update"),),
    )
    assert [f.signature for f in gather([(again, shown)])] == [found.signature]
    other = dataclasses.replace(shown, symptoms=(("agreement", "two-values"),))
    assert [f.kind for f in gather([(again, other)])] == ["two-values"]
    (tmp_path / "corpus" / Path(str(again.recorded)).name / "finding.json").unlink()  # an older one
    (older,) = corpus_jobs(tmp_path)
    assert [f.kind for f in gather([(older, shown)])] == ["lost-update"]


def test_a_failure_of_the_harness_is_an_error_and_not_a_verdict(tmp_path: Path) -> None:
    missing = job(recorded=str(tmp_path / "nothing"))
    result = run_job(missing, tmp_path)
    assert result.outcome == "error" and result.symptoms[0][0] == "harness"
    (found,) = gather([(missing, result)])
    assert found.detector == "harness"
    late = run_in_child(job(), tmp_path, 0.01)
    assert late.outcome == "error" and "took longer than 0.01 s" in late.sentence
    broken = run_in_child(job(target="no-such-target"), tmp_path, 60)
    assert broken.outcome == "error" and "no-such-target" in broken.sentence


def test_the_index_can_be_rebuilt(tmp_path: Path) -> None:
    one = suite(tmp_path)
    run_night(one, "2026-01-01")
    index = Index(one.store)
    before = (index.nights(), index.findings())
    (one.store / "index.sqlite").unlink()
    assert index.rebuild() == 1
    assert (index.nights(), index.findings()) == before


def test_an_index_that_was_lost_is_made_again_unasked(tmp_path: Path) -> None:
    one = suite(tmp_path)
    run_night(one, "2026-01-01")
    seconds = Index(one.store).seconds_by_cell()
    (one.store / "index.sqlite").unlink()
    assert seconds and Index(one.store).seconds_by_cell() == seconds
    (one.store / "index.sqlite").unlink()
    _, finished = run_night(one, "2026-01-02")
    assert {(f.status, f.since) for f in finished.findings} == {("known", "2026-01-01")}
    assert [night["night"] for night in Index(one.store).nights()] == ["2026-01-02", "2026-01-01"]


def test_histories_are_compressed_and_opened_again(tmp_path: Path) -> None:
    one = suite(tmp_path)
    night, _ = run_night(one, "2026-01-01")
    folder = next(p for p in (night.folder / "runs").iterdir() if p.name.startswith("shrunk"))
    text = (folder / "history.jsonl").read_bytes()
    assert compress(folder) and not (folder / "history.jsonl").exists()
    assert RunFolder.open(folder).history.read_bytes() == text


def test_retention_removes_valid_runs_first_and_failures_last(tmp_path: Path) -> None:
    night = tmp_path / "2026-01-01"
    lines = []
    for name, outcome in (("good", "valid"), ("bad", "invalid")):
        folder = night / "runs" / name
        folder.mkdir(parents=True)
        (folder / "history.jsonl").write_bytes(b"x" * 1000)
        lines.append(json.dumps({"folder": str(folder), "outcome": outcome}))
    (night / "results.jsonl").write_text("\n".join(lines) + "\n")
    assert tidy(tmp_path, Keep(size_bytes=1500, compress=False)) == (0, 1)
    assert [p.name for p in (night / "runs").iterdir()] == ["bad"]
    old = time.time() - 40 * 86_400
    os.utime(night / "runs" / "bad", (old, old))
    assert tidy(tmp_path, Keep(compress=False)) == (0, 0)
    assert tidy(tmp_path, Keep(failures_days=39, compress=False)) == (0, 1)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on loopback that records what is posted to it."""
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posted.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_outputs_and_webhook_are_written(
    tmp_path: Path,
    hook: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, posted = hook
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    text = SMALL.replace('"metrics.prom"', '"out/metrics.prom"') + f'webhook = "{url}"\n'
    night, finished = run_night(suite(tmp_path, text), "2026-01-01")
    assert not finished.problems and len(posted) == 1
    assert {f.signature for f in finished.findings} == set(posted[0]["new"])
    assert "| finding | status | runs |" in step.read_text()
    metrics = (night.folder / "out" / "metrics.prom").read_text()
    new = len(finished.findings)
    assert f'antipaxos_findings{{status="new"}} {new}' in metrics
    assert 'antipaxos_findings{status="overdue"} 0' in metrics
    nobody = suite(tmp_path, SMALL + 'webhook = "http://127.0.0.1:9/"\n')
    _, second = run_night(nobody, "2026-01-02")
    assert any("webhook failed" in problem for problem in second.problems)


def test_texts_from_histories_are_data() -> None:
    assert plain("a\x1b[31m\x00b") == "a?[31m?b" and len(plain("x" * 10_000)) == 4_000


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "nightly.toml"
    done = CliRunner().invoke(suite_command, [str(path), "--init"], standalone_mode=False)
    assert done.return_value == 0 and path.is_file()
    planned = CliRunner().invoke(suite_command, [str(path), "--dry-run"], standalone_mode=False)
    assert planned.return_value == 0 and "about" in planned.output
    path.write_text(SMALL)
    done = CliRunner().invoke(
        suite_command, [str(path), "--night", "one", "--json"], standalone_mode=False
    )
    assert done.return_value == 1, done.output
    assert json.loads(done.stdout.splitlines()[-1])["runs"] == 50


def test_names_of_nights(tmp_path: Path) -> None:
    day = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    assert new_name(day, tmp_path) == "2026-01-02"
    (tmp_path / "2026-01-02").mkdir()
    assert new_name(day, tmp_path) == "2026-01-02-2"


LONG = SMALL.replace(MANY, f"seeds = {list(range(400))}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_night_whose_process_ends_goes_on_where_it_was(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "nightly.toml"
    path.write_text(LONG.replace("[findings]", "[findings]\nconfirm = 0"))
    program = "from harness.cli import main; main()"
    command = [sys.executable, "-c", program, "suite", str(path), "--night", "one"]
    results = tmp_path / "nights" / "one" / "results.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not (results.exists() and results.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert "interrupted; antipaxos suite --resume continues it" in output
    again = resume(read_suite(path))
    assert 3 <= len(again.results) < len(again.jobs)
    assert set(again.results) <= {job.identity for job in again.jobs}
