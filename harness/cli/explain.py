"""`antipaxos explain`: why a run is not valid, in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import SafeConsole
from harness.report.explanation import explain_run
from harness.report.run_report import load_path


@command(name="explain")
@click.argument("folder", type=click.Path(path_type=Path))
def explain_command(folder: Path) -> None:
    """Explain why the run in FOLDER is not valid.

    Shows the few operations that contradict each other and the longest partial order of them, what
    replicas decided differently, and the story of a shrunk run. For an unknown run it says what to
    do. For a valid run it shows what was not tested.
    """
    explain_run(load_path(folder), SafeConsole())
