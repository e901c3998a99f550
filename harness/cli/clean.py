"""`antipaxos clean`: removes whatever an earlier, killed controller left."""

from __future__ import annotations

import click

from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.pods import remove_labelled


@click.command()
@click.option("--run", "run_id", default=None, help="Only this run's id (default: all runs).")
@click.option("--all", "everything", is_flag=True, help="Also what runs that go on now are using.")
def clean(run_id: str | None, everything: bool) -> None:
    """Remove containers, networks and volumes that runs left behind.

    Only what carries Antipaxos' own label is touched, and nothing of a run whose controller still
    works on this machine, unless --all says so. Images and the folders of runs stay.
    """
    removed = remove_labelled(connect(), run_id, spare_living=not everything)
    for name in removed:
        click.echo(f"removed {name}")
    click.echo(f"{len(removed)} things removed" if removed else "nothing was left")
