"""The end of a night: findings, summary, files, pages, and notifications."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.report.page import write_report
from harness.search.coverage import REACHED
from harness.search.swarm import MIX
from harness.suite.failovers import longer, rows_of
from harness.suite.findings import (
    Finding,
    classify,
    confirm,
    gather,
    shrink_finding,
    unmatched,
)
from harness.suite.index import SUMMARY, Index
from harness.suite.jobs import Job, JobResult
from harness.suite.night import RUNS, Night, add_to_corpus
from harness.suite.outputs import (
    headline,
    post_webhook,
    write_junit,
    write_prometheus,
    write_step_summary,
)
from harness.suite.pages import write_night_page, write_nights_page
from harness.suite.retention import tidy
from histories.errors import HistoryError
from histories.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class FinishedNight:
    """A finished night. `problems`: outputs that could not be written, and accepted failures that
    did not occur, as sentences."""

    findings: list[Finding]
    gone: list[dict[str, Any]]
    problems: list[str]
    summary: dict[str, Any]

    @property
    def outcome(self) -> str:
        return str(self.summary["outcome"])


def finish(night: Night, say: Callable[[str], None]) -> FinishedNight:
    """Confirm and shrink findings, compare them with earlier nights, write all outputs, notify, and
    remove old runs."""
    suite, index = night.suite, Index(night.suite.store)
    findings = [*gather(night.pairs()), *longer(night, index)]
    today = datetime.datetime.now(tz=datetime.UTC).date()
    for finding in findings:
        classify(finding, index.first_seen(finding.signature, night.started), suite.expected, today)
        if not night.interrupted:
            say(f"confirming {finding.signature}")
            try:
                _reproduce(finding, night)
            except KeyboardInterrupt:
                night.interrupted = True
    subjects = {job.subject for job, _ in night.pairs()}
    gone = index.gone(night.started, {f.signature for f in findings}, subjects)
    summary = summary_of(night, findings, gone)
    problems = [*unmatched(suite.expected, findings), *_write_files(night, findings)]
    write_night_page(night, summary, night.folder / "night.html")
    if not night.interrupted:  # else the night can be resumed
        _write_whole(night.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
        index.add(night.folder)
    write_nights_page(index, suite.store / "nights.html")
    problems += _notify(night, findings)
    if not night.interrupted:
        tidy(suite.store, suite.keep, sparing=night.folder)
    return FinishedNight(findings=findings, gone=gone, problems=problems, summary=summary)


def _reproduce(finding: Finding, night: Night) -> None:
    """Confirm and shrink a finding, and keep what is needed to run it again on later nights."""
    suite = night.suite
    confirm(finding, suite.confirm, night.folder / RUNS)
    shrink_finding(finding, suite.shrink_us / 1e6, night.folder / RUNS)
    folder = finding.shrunk or finding.folder
    if folder is not None and finding.detector not in ("harness", "failover"):
        _write_report(Path(folder))
        add_to_corpus(suite.store, Path(folder), finding)


def _write_whole(path: Path, text: str) -> None:
    """A night with a summary has ended, so the file must not be there in part."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def outcome_of(night: Night, findings: list[Finding]) -> str:
    """invalid if there is a finding about a target that is not accepted; unknown if the harness
    failed, the night was interrupted, a planned run was skipped, or not a single seed of a sweep
    was run; else valid."""
    open_ones = [f for f in findings if f.status != "expected"]
    if any(finding.is_failure for finding in open_ones):
        return "invalid"
    if open_ones or night.interrupted or night.skipped or night.sweeps_not_begun:
        return "unknown"
    return "valid" if night.results else "unknown"


def _write_report(folder: Path) -> None:
    """Write the page of a run, to which the night's page links. Errors are ignored."""
    with contextlib.suppress(HarnessError, HistoryError, OSError):
        write_report(RunFolder.open(folder))


def summary_of(night: Night, findings: list[Finding], gone: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of summary.json."""
    pairs = night.pairs()
    outcomes: Counter[str] = Counter()
    for _, result in pairs:
        outcomes[result.outcome] += result.runs
    seeds = sum(result.runs for job, result in pairs if job.on == "sim" and not job.failure)
    seconds = max(night.seconds, 1e-9)
    covered = coverage_of(pairs)
    faults: Counter[str] = Counter()
    for kinds in covered.values():
        faults.update(kinds["fault"])
    by_cell: dict[str, list[JobResult]] = {cell: [] for cell in night.cells}
    for _, result in pairs:
        by_cell[result.cell].append(result)
    planned: Counter[str] = Counter()
    for job in night.jobs:
        planned[job.cell] += job.count
    return {
        "format": 1,
        "suite": night.suite.name,
        "night": night.name,
        "started": night.started,
        "seconds": round(night.seconds, 3),
        "outcome": outcome_of(night, findings),
        "headline": headline(night, findings),
        "runs": sum(outcomes.values()),
        "outcomes": dict(+outcomes),
        "skipped": [job.identity for job in night.skipped],
        "sweeps_not_begun": night.sweeps_not_begun,
        "interrupted": night.interrupted,
        "operations": sum(result.operations for _, result in pairs),
        "faults": dict(sorted(faults.items())),
        "simulated_s": round(sum(result.simulated_s for _, result in pairs), 3),
        "simulated_seeds_per_hour": round(seeds * 3600 / seconds, 1),
        "busy_seconds": round(sum(result.seconds for _, result in pairs), 3),
        "cells": [_cell(cell, results, planned[cell]) for cell, results in by_cell.items()],
        "sweeps": [
            {"cell": cell.label, "done": night.seeds_swept(cell.label), "of": cell.sweep}
            for cell in night.suite.sweeps()
            if cell.label in night.swept
        ],
        "coverage": covered,
        "failovers": rows_of(night),
        "findings": [finding.to_json() for finding in findings],
        "gone": gone,
    }


def coverage_of(pairs: Iterable[tuple[Job, JobResult]]) -> dict[str, dict[str, dict[str, int]]]:
    """How often each kind of fault was injected ("fault"), and each state of simulated runs was
    reached ("state"), by subject. Kinds that were possible but did not occur have count 0."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for job, result in pairs:
        kinds = found.setdefault(job.subject, {"fault": Counter(), "state": Counter()})
        kinds["fault"].update(result.faults)
        if job.on == "sim" and not job.failure:
            kinds["fault"].update(dict.fromkeys(MIX, 0))
            kinds["state"].update(dict.fromkeys(REACHED, 0) | dict(result.reached))
        for kind in job.fixed.get("faults", ()):
            kinds["fault"][kind] += 0
    return {s: {k: dict(c) for k, c in kinds.items()} for s, kinds in sorted(found.items())}


def _cell(label: str, results: list[JobResult], planned: int) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    for result in results:
        outcomes[result.outcome] += result.runs
    longest = [r.unavailable_ms for r in results if r.unavailable_ms]
    return {
        "cell": label,
        "planned": planned,
        "runs": sum(outcomes.values()),
        "outcomes": dict(+outcomes),
        "seconds": round(sum(result.seconds for result in results), 3),
        "operations": sum(result.operations for result in results),
        "unavailable_ms_max": max(longest, default=None),
    }


def _write_files(night: Night, findings: list[Finding]) -> list[str]:
    """The files that `[tell]` asks for; what could not be written, in sentences."""
    tell, problems = night.suite.tell, []
    steps: dict[str, Callable[[Path], None]] = {
        "junit": lambda path: write_junit(night, findings, path),
        "prometheus": lambda path: write_prometheus(night, findings, path),
    }
    for name, write in steps.items():
        if name in tell:
            path = night.folder / tell[name]
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path)
            except OSError as error:
                problems.append(f"{tell[name]} cannot be written: {error.strerror or error}")
    return problems


def _notify(night: Night, findings: list[Finding]) -> list[str]:
    """The step summary and the webhook; what could not be told, in sentences."""
    problems = []
    try:
        write_step_summary(night, findings)
    except OSError as error:
        problems.append(f"the step summary cannot be written: {error.strerror or error}")
    url = night.suite.tell.get("webhook")
    if url is not None and (problem := post_webhook(night, findings, url)):
        problems.append(problem)
    return problems
