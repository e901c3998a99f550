"""Output for other programs: JUnit XML, Prometheus text, GitHub's step summary, a webhook.

Texts from histories are untrusted: control characters are removed before they are written.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.suite.failovers import rows_of
from harness.suite.findings import Finding
from harness.suite.jobs import JobResult
from harness.suite.night import Night

STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
WEBHOOK_TIMEOUT_S: Final = 10.0
UNPRINTABLE: Final = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TEXT_MAX: Final = 4_000
STATUSES: Final = ("new", "known", "expected", "overdue")


def plain(text: str) -> str:
    """The text without characters that XML 1.0 forbids, or that control a terminal."""
    return UNPRINTABLE.sub("?", text)[:TEXT_MAX]


def write_junit(night: Night, findings: list[Finding], path: Path) -> None:
    """Write one case per cell. A cell fails if it has a finding that is not expected; the text has
    the evidence, and the command that replays it. Without one it counts as skipped if a planned
    run of it was."""
    suite = TestSuite(f"antipaxos {night.suite.name} {night.name}")
    by_cell: dict[str, list[JobResult]] = {cell: [] for cell in night.cells}
    for job, result in night.pairs():
        by_cell[job.cell].append(result)
    for cell in night.cells:
        results = by_cell[cell]
        case = TestCase(plain(cell), classname=f"antipaxos.{night.suite.name}")
        case.time = round(sum(r.seconds for r in results), 3)
        case.result = _case_result(cell, results, findings) or not_run(night, cell)
        suite.add_testcase(case)
    suite.add_property("night", night.name)
    document = JUnitXml()
    document.add_testsuite(suite)
    document.write(str(path), pretty=True)


def _case_result(cell: str, results: list[JobResult], findings: list[Finding]) -> list[Any]:
    found: list[Any] = []
    runs = sum(result.runs for result in results)
    for finding in findings:
        mine = [r for r in finding.results if r.cell == cell]
        if not mine or finding.status == "expected":
            continue
        made = Error if finding.detector == "harness" else Failure
        item = made(plain(f"{finding.signature} ({finding.status}, {len(mine)} of {runs})"))
        item.text = plain(_words(finding))
        found.append(item)
    return found


def not_run(night: Night, cell: str) -> list[Any]:
    """The element for a cell with planned runs that were skipped, in a list; else none."""
    words = skipped_by_cell(night).get(cell)
    return [Skipped(plain(f"{cell}: {words}"))] if words else []


def skipped_by_cell(night: Night) -> dict[str, str]:
    """For each cell with planned runs that were skipped: how many, and why."""
    why = "the night was interrupted" if night.interrupted else "the budget was used up"
    planned = Counter(job.cell for job in night.jobs if not job.open_ended)
    skipped = Counter(job.cell for job in night.skipped)
    words = {
        cell: f"{count} of {planned[cell]} runs skipped: {why}" for cell, count in skipped.items()
    }
    for cell in night.sweeps_not_begun:
        words.setdefault(cell, f"not a single seed was run: {why}")
    return words


def _words(finding: Finding) -> str:
    seeds = ", ".join(str(r.seed) for r in finding.results[:10])
    lines = [finding.sentence, finding.location, f"seeds: {seeds}"]
    lines += [finding.confirmed, finding.shrunk_words]
    lines += [f"folder: {finding.folder}" if finding.folder else "", finding.again]
    return "\n".join(line for line in lines if line)


def write_prometheus(night: Night, findings: list[Finding], path: Path) -> None:
    """Write metrics for the text-file collector of a Prometheus node exporter."""
    counts: Counter[tuple[str, str]] = Counter()
    for job, result in night.pairs():
        counts[job.cell, result.outcome] += result.runs
    lines = ["# TYPE antipaxos_runs gauge", "# HELP antipaxos_runs Runs of the last night."]
    for (cell, outcome), count in sorted((+counts).items()):
        lines.append(f'antipaxos_runs{{cell="{_label(cell)}",outcome="{outcome}"}} {count}')
    lines += ["# TYPE antipaxos_findings gauge", "# HELP antipaxos_findings Findings by status."]
    found = Counter(finding.status for finding in findings)
    lines += [f'antipaxos_findings{{status="{status}"}} {found[status]}' for status in STATUSES]
    rows = [row for row in rows_of(night) if row["median_ms"]]
    medians = [row for row in rows if row["median_ms"]["value"] is not None]
    if medians:
        lines += [
            "# TYPE antipaxos_failover_median_seconds gauge",
            "# HELP antipaxos_failover_median_seconds Median window; 0 is too short to be seen.",
        ]
    for row in medians:
        value = row["median_ms"]["value"] / 1000
        lines.append(f'antipaxos_failover_median_seconds{{cell="{_label(row["cell"])}"}} {value}')
    lines += ["# TYPE antipaxos_skipped_runs gauge"]
    lines.append(f"antipaxos_skipped_runs {len(night.skipped)}")
    lines += ["# TYPE antipaxos_night_seconds gauge"]
    lines.append(f"antipaxos_night_seconds {night.seconds:.3f}")
    lines += ["# TYPE antipaxos_night_started_seconds gauge"]
    lines.append(f"antipaxos_night_started_seconds {night.started_s:.0f}")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def _label(text: str) -> str:
    return plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def write_step_summary(night: Night, findings: list[Finding]) -> bool:
    """Append Markdown to the file that GitHub Actions names. Returns whether there is one."""
    name = os.environ.get(STEP_SUMMARY)
    if not name:
        return False
    lines = [f"## antipaxos {night.suite.name}: {night.name}", "", headline(night, findings), ""]
    if findings:
        lines += ["| finding | status | runs | |", "|---|---|---|---|"]
    for finding in findings:
        cells = (finding.signature, finding.status, str(len(finding.results)), finding.sentence)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    with Path(name).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return True


def _cell(text: str) -> str:
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return escaped.replace("\n", " ").replace("`", "'")[:300]


def headline(night: Night, findings: list[Finding]) -> str:
    """A summary of the night in one sentence."""
    outcomes: Counter[str] = Counter()
    for _, result in night.pairs():
        outcomes[result.outcome] += result.runs
    counts = ", ".join(
        f"{outcomes[o]} {o}" for o in ("valid", "invalid", "unknown", "error") if outcomes[o]
    )
    statuses = Counter(f.status for f in findings)
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    skipped = f"; {len(night.skipped)} skipped" if night.skipped else ""
    if night.sweeps_not_begun:
        skipped += f"; {len(night.sweeps_not_begun)} sweeps not begun"
    return f"{sum(outcomes.values())} runs: {counts or 'none'}{skipped}; findings: {told or 'none'}"


def post_webhook(night: Night, findings: list[Finding], url: str) -> str | None:
    """Post a short JSON text. Returns None, or why it failed."""
    new = [f.signature for f in findings if f.status in ("new", "overdue")]
    text = f"antipaxos {night.suite.name} {night.name}: {headline(night, findings)}"
    document = {"text": text, "night": night.name, "new": new}
    request = urllib.request.Request(
        url,
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S):
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"the webhook failed: {error}"
