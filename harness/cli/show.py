"""`antipaxos show`: the summary of a recorded run, in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import SafeConsole
from harness.report.run_report import load_path
from harness.report.text import show_run


@command(name="show")
@click.argument("folder", type=click.Path(path_type=Path))
def show_command(folder: Path) -> None:
    """Print the run in FOLDER: operations, faults with their evidence, and the verdict."""
    show_run(load_path(folder), SafeConsole(), evidence=True)
