"""What a night comes to: findings, figures, files, pages, and notifications."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.suite.findings import Finding, confirm, gather, make_small, place
from harness.suite.index import SUMMARY, Index
from harness.suite.keep import tidy
from harness.suite.night import RUNS, Night, add_to_corpus
from harness.suite.outputs import (
    headline,
    post_webhook,
    write_junit,
    write_prometheus,
    write_step_summary,
)
from harness.suite.pages import write_night_page, write_nights_page


@dataclass(frozen=True, kw_only=True)
class Morning:
    """A finished night. `problems`: what could not be reported, in sentences."""

    findings: list[Finding]
    gone: list[dict[str, Any]]
    problems: list[str]
    summary: dict[str, Any]

    @property
    def outcome(self) -> str:
        return str(self.summary["outcome"])


def finish(night: Night, say: Callable[[str], None]) -> Morning:
    """Confirm, shrink, compare with earlier nights, write everything, notify, and remove old
    runs."""
    suite, index = night.suite, Index(night.suite.store)
    findings = gather(night.pairs())
    today = datetime.datetime.now(tz=datetime.UTC).date()
    for finding in findings:
        place(finding, index.first_seen(finding.signature, night.name), suite.expected, today)
        if not night.interrupted:
            say(f"confirming {finding.signature}")
            confirm(finding, suite.confirm, night.folder / RUNS)
            make_small(finding, suite.shrink_us / 1e6, night.folder / RUNS)
            folder = finding.shrunk or finding.folder
            if folder is not None and finding.detector != "harness":
                add_to_corpus(suite.store, Path(folder), finding.signature)
    subjects = {job.target + (f"+{job.mutant}" if job.mutant else "") for job, _ in night.pairs()}
    gone = index.gone(night.name, {f.signature for f in findings}, subjects)
    summary = summary_of(night, findings, gone)
    if not night.interrupted:  # else the night can be resumed
        text = json.dumps(summary, indent=1) + "\n"
        (night.folder / SUMMARY).write_text(text, encoding="utf-8")
        index.add(night.folder)
    problems = _tell(night, findings)
    write_night_page(night, summary, night.folder / "night.html")
    write_nights_page(index, suite.store / "nights.html")
    if not night.interrupted:
        tidy(suite.store, suite.keep, sparing=night.folder)
    return Morning(findings=findings, gone=gone, problems=problems, summary=summary)


def outcome_of(night: Night, findings: list[Finding]) -> str:
    """invalid with any finding about a target that is not accepted; unknown where the harness could
    not do something, or the night was interrupted; else valid."""
    open_ones = [f for f in findings if f.status != "expected"]
    if any(f.detector != "harness" and _is_invalid(f) for f in open_ones):
        return "invalid"
    return "unknown" if open_ones or night.interrupted or not night.results else "valid"


def _is_invalid(finding: Finding) -> bool:
    return any(result.outcome == "invalid" for result in finding.results)


def summary_of(night: Night, findings: list[Finding], gone: list[dict[str, Any]]) -> dict[str, Any]:
    """summary.json."""
    outcomes = Counter(result.outcome for result in night.results.values())
    faults: Counter[str] = Counter()
    for result in night.results.values():
        faults.update(result.faults)
    simulated = [r for job, r in night.pairs() if job.on == "sim"]
    seconds = max(night.seconds, 1e-9)
    return {
        "format": 1,
        "suite": night.suite.name,
        "night": night.name,
        "started": datetime.datetime.fromtimestamp(night.started_s, tz=datetime.UTC).isoformat(),
        "seconds": round(night.seconds, 3),
        "outcome": outcome_of(night, findings),
        "headline": headline(night, findings),
        "runs": len(night.results),
        "outcomes": dict(outcomes),
        "skipped": night.skipped,
        "interrupted": night.interrupted,
        "operations": sum(r.operations for r in night.results.values()),
        "faults": dict(sorted(faults.items())),
        "simulated_seeds_per_hour": round(len(simulated) * 3600 / seconds, 1),
        "busy_seconds": round(sum(r.seconds for r in night.results.values()), 3),
        "cells": [_cell(night, cell) for cell in night.cells],
        "findings": [finding.to_json() for finding in findings],
        "gone": gone,
    }


def _cell(night: Night, label: str) -> dict[str, Any]:
    results = [result for job, result in night.pairs() if job.cell == label]
    planned = sum(job.cell == label for job in night.jobs)
    longest = [r.unavailable_ms for r in results if r.unavailable_ms]
    return {
        "cell": label,
        "planned": planned,
        "runs": len(results),
        "outcomes": dict(Counter(result.outcome for result in results)),
        "seconds": round(sum(result.seconds for result in results), 3),
        "operations": sum(result.operations for result in results),
        "unavailable_ms_max": max(longest, default=None),
    }


def _tell(night: Night, findings: list[Finding]) -> list[str]:
    tell, problems = night.suite.tell, []
    steps: dict[str, Callable[[Path], None]] = {
        "junit": lambda path: write_junit(night, findings, path),
        "prometheus": lambda path: write_prometheus(night, findings, path),
    }
    for name, write in steps.items():
        if name in tell:
            try:
                write(night.folder / tell[name])
            except OSError as error:
                problems.append(f"{tell[name]} cannot be written: {error.strerror or error}")
    try:
        write_step_summary(night, findings)
    except OSError as error:
        problems.append(f"the step summary cannot be written: {error.strerror or error}")
    if "webhook" in tell and (problem := post_webhook(night, findings, tell["webhook"])):
        problems.append(problem)
    return problems
