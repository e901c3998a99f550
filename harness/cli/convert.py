"""`antipaxos convert`: a recorded history in another format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from harness.cli.check import CheckFailed, guarded, independent_option
from harness.cli.options import command
from harness.cli.output import say
from histories.checker.verdict import counted
from histories.formats import jepsen, native
from histories.formats.conversion import as_native
from histories.reader import FORMATS, read_history


@command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source_format",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="The format of SOURCE.",
)
@click.option(
    "--to",
    "target_format",
    type=click.Choice(["native", "jepsen"]),
    help="The format of TARGET.  [default: jepsen if it ends in .edn, else native]",
)
@click.option(
    "--failed-cas",
    type=click.Choice(jepsen.FAILED_CAS),
    help="What a failed cas means in Jepsen's formats.",
)
@independent_option
def convert(
    source: Path,
    target: Path,
    source_format: str,
    target_format: str | None,
    failed_cas: str | None,
    independent: bool | None,
) -> None:
    """Write the history in SOURCE (a file or a folder) to TARGET in another format."""
    history = guarded(read_history, source, source_format, failed_cas, independent)
    as_edn = target_format == "jepsen" or (target_format is None and target.suffix == ".edn")
    if not as_edn:
        history = as_native(history)
    guarded(_write, history, target, jepsen.write_edn if as_edn else native.write)
    say(f"{target}: {counted(len(history.events), 'event')}")
    for note in history.notes:
        say(f"note: {note}")


def _write(history: native.History, target: Path, write: Callable[..., None]) -> None:
    if target.exists():
        raise CheckFailed(f"{target} is there already: choose another name, or remove it")
    write(target, history.events)
