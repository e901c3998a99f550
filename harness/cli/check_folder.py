"""`antipaxos check` on the folder of a run: every detector, and what it comes to."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from harness.cli.check import Judged, Request
from harness.cli.evidence import show_agreement, show_verdict
from harness.run.verdict import RunVerdict, judge_folder
from histories.folder import RunFolder
from histories.text import printable


def judged_folder(path: Path, request: Request) -> Judged:
    run = judge_folder(RunFolder.open(path), model=request.model, checker=request.judge)

    def show(console: Console) -> None:
        _show_run(console, run)

    document = run.linearizability.to_json() | run.to_json()
    sentence = run.reasons[0] if run.reasons else run.linearizability.sentence
    return Judged(path, run.outcome, sentence, document, show)


def _show_run(console: Console, run: RunVerdict) -> None:
    first = run.reasons[0] if run.reasons else run.linearizability.sentence
    show_verdict(console, run.linearizability, outcome=run.outcome, reason=first)
    if run.agreement is not None:
        show_agreement(console, run.agreement)
    detectors = ", ".join(f"{name} {outcome}" for name, outcome in run.detectors().items())
    console.print(f"detectors: {detectors}", highlight=False)
    for reason in run.reasons:
        if reason not in (first, run.linearizability.sentence):
            console.print(printable(f"  {reason}"), highlight=False, markup=False)
