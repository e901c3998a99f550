"""How verdicts look in a terminal, and what a run leaves at its end: its page, and the summary."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from harness.report.page import report_after_run
from harness.report.run_report import load
from harness.report.text import STYLES, show_run
from histories.folder import RunFolder
from histories.text import printable

__all__ = ["STYLES", "add_reports", "show"]


def show(folder: RunFolder, console: Console) -> None:
    """The summary of a run, from its folder."""
    console.print()
    show_run(load(folder), console)


def add_reports(folders: Iterable[Path | None], console: Console) -> None:
    """Write report.html into runs' folders; what cannot be written is said, and no more."""
    for path in folders:
        if path is not None and (problem := report_after_run(RunFolder(path))):
            console.print(printable(problem), markup=False)
