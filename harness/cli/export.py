"""`antipaxos export`: a run for other people's viewers."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import say
from harness.errors import UsageError
from harness.report.latency_log import write_latency_log
from harness.report.perfetto import write_trace
from harness.report.run_report import RunData, load
from histories.folder import RunFolder

SUFFIXES = {"perfetto": ".trace.json", "hdr": ".hlog"}


@command(name="export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(sorted(SUFFIXES)), required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The file; default: the folder's name in this directory.",
)
def export_command(folder: Path, kind: str, out: Path | None) -> None:
    """Write the run in FOLDER in the format of another program.

    perfetto: a trace with clients, nodes, faults and messages, for Perfetto's viewer. hdr: an
    HdrHistogram log of latencies, by second and kind of operation.
    """
    data = load(RunFolder.open(folder), judge=False)
    path = out or Path(f"{RunFolder(folder.resolve()).name}{SUFFIXES[kind]}")
    say(f"{path}: {_write(data, kind, path)}")


def _write(data: RunData, kind: str, path: Path) -> str:
    try:
        if kind == "perfetto":
            with path.open("w", encoding="utf-8") as file:
                return f"{write_trace(data, file)} entries"
        return f"latencies of {write_latency_log(data, path)} operations"
    except ImportError as error:
        raise UsageError(
            f"this needs the extra 'hdr' ({error})", remedy="pip install 'antipaxos[hdr]'"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
