"""`antipaxos report`: the page of a run, made again from its folder."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import say
from harness.report.page import write_report
from histories.folder import RunFolder


@command(name="report")
@click.argument("folders", type=click.Path(path_type=Path), nargs=-1, required=True)
def report_command(folders: tuple[Path, ...]) -> None:
    """Write report.html into each of FOLDERS, which are run folders.

    The page is one file that needs no network, with the verdict, timeline, plots, cluster,
    messages, logs, and what was not tested. It is made from the folder alone, also for an
    interrupted run.
    """
    for folder in folders:
        say(write_report(RunFolder.open(folder)))
