"""How verdicts look in a terminal, and the summary at the end of a run."""

from __future__ import annotations

from rich.console import Console

from harness.report.run_report import load
from harness.report.text import STYLES, show_run
from histories.folder import RunFolder

__all__ = ["STYLES", "show"]


def show(folder: RunFolder, console: Console) -> None:
    """The summary of a run, from its folder."""
    console.print()
    show_run(load(folder), console)
