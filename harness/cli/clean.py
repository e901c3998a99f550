"""`antipaxos clean`: removes whatever an earlier, killed controller left."""

from __future__ import annotations

import click

from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.pods import remove_labelled


@click.command()
@click.option("--run", "run_id", default=None, help="Only this run's id (default: all runs).")
def clean(run_id: str | None) -> None:
    """Remove containers, networks and volumes that runs left behind.

    Only what carries Antipaxos' own label is touched. A run that is going on at this moment
    belongs to it too: name another with --run. Images and the folders of runs stay.
    """
    removed = remove_labelled(connect(), run_id)
    for name in removed:
        click.echo(f"removed {name}")
    click.echo(f"{len(removed)} things removed" if removed else "nothing was left")
