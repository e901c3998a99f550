"""`antipaxos clean`: removes whatever an earlier, killed controller left."""

from __future__ import annotations

import click

from harness.cli.options import command
from harness.cli.output import say
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.removal import remove_labelled


@command()
@click.option("--run", "run_id", default=None, help="Only this run's id (default: all runs).")
@click.option("--all", "everything", is_flag=True, help="Also those of active runs.")
def clean(run_id: str | None, everything: bool) -> None:
    """Remove containers, networks and volumes that runs left behind.

    Removes only what has Antipaxos' label, and, without --all, nothing of a run whose controller is
    still running on this machine. Images and run folders are kept.
    """
    removed = remove_labelled(connect(), run_id, spare_living=not everything)
    for name in removed:
        say(f"removed {name}")
    say(f"{len(removed)} things removed" if removed else "nothing was left")
