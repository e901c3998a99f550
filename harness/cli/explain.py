"""`antipaxos explain`: why a run is not valid, in the terminal."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.report.explanation import explain_run
from harness.report.run_report import load_path


@click.command(name="explain")
@click.argument("folder", type=click.Path(path_type=Path))
def explain_command(folder: Path) -> None:
    """Tell why the run in FOLDER is not valid.

    Shows the few operations that contradict one another and how far an order of them gets, what
    replicas decided differently, and, where the run was shrunk, its story. Of a valid run, what it
    did not test.
    """
    explain_run(load_path(folder), Console())
