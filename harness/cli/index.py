"""`antipaxos index`: the list of runs as a file."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import say
from harness.errors import UsageError
from harness.report.index import run_folders, write_index
from harness.report.page import REPORT, write_report
from histories.errors import HistoryError
from histories.folder import RunFolder


@command(name="index")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("runs"))
def index_command(directory: Path) -> None:
    """Write index.html into DIRECTORY (runs/): a table of its runs, linked to their pages.

    Runs without a report.html get one. The folder can then be published unchanged.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", remedy="name the folder of your runs")
    for folder in run_folders(directory):
        if (folder / REPORT).exists():
            continue
        try:
            write_report(RunFolder.open(folder))
        except HistoryError as error:
            say(f"{folder}: no page: {error}", err=True)
    say(write_index(directory))
