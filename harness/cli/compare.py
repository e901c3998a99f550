"""`antipaxos compare`: the protocols' trade-offs, each measured beside what theory says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import click
from click.core import ParameterSource

from harness.bench.compare.columns import COLUMNS
from harness.bench.compare.files import write_files
from harness.bench.compare.markdown import markdown
from harness.bench.compare.settings import Settings
from harness.bench.compare.table import CELLS, cells_named, compare
from harness.bench.compare.text import lines_of
from harness.cli.files import exclusive
from harness.cli.options import Duration, Names, command
from harness.cli.output import say
from harness.errors import UsageError
from harness.runtimes import RUNTIMES


@command(name="compare")
@click.option("--nodes", type=int, default=5, show_default=True, help="Size of each cluster.")
@click.option(
    "--delay",
    "delay_us",
    type=Duration(),
    default="20ms",
    show_default=True,
    help="One-way delay of every link, including those of clients.",
)
@click.option(
    "--protocols",
    type=Names(),
    default=(),
    help=f"Only these, comma-separated: {', '.join(c.target for c in COLUMNS)}.",
)
@click.option("--cells", type=Names(), default=(), help=f"Only these, of: {', '.join(CELLS)}.")
@click.option("--on", default="sim", show_default=True, help=f"{' or '.join(RUNTIMES)}.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random choices.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write compare.json, compare.csv and compare.html into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the documentation page.")
def compare_command(
    *,
    nodes: int,
    delay_us: int,
    protocols: tuple[str, ...],
    cells: tuple[str, ...],
    on: str,
    seed: int,
    out: Path | None,
    as_json: bool,
    as_markdown: bool,
) -> int:
    """Measure the trade-offs between the protocols, and compare them with theory.

    Measures latency, messages, fsyncs and more, and marks where measurement and theory disagree.
    Runs in the simulator, or (all but livelock) in containers, which takes an hour. The exit code
    is 0 whatever is measured.
    """
    for name, names in (("protocols", protocols), ("cells", cells)):
        given = click.get_current_context().get_parameter_source(name)
        if given is ParameterSource.COMMANDLINE and not names:
            raise UsageError(f"--{name} none: then there is nothing to measure")
    if as_json and as_markdown:
        raise UsageError("--json and --markdown both say what is printed: give one of them")
    settings = Settings(nodes=nodes, delay_us=delay_us, protocols=protocols, on=on, seed=seed)
    cells_named(cells, on)
    with nullcontext() if out is None else exclusive(out, "--out"):
        result = compare(settings, cells, lambda name: say(f"measuring {name}", err=True))
        if out is not None:
            write_files(result, out)
    document = result.to_json()
    if as_json:
        say(json.dumps(document, ensure_ascii=False))
    elif as_markdown:
        say(markdown(document, command_of(settings, cells)), end="")
    else:
        say("\n".join(lines_of(document)))
        if out is not None:
            say(f"\nwritten: {out}/compare.json, compare.csv, compare.html")
    return 0


def command_of(settings: Settings, cells: tuple[str, ...]) -> str:
    """The command that measures this again."""
    default, words = Settings(), ["antipaxos", "compare"]
    if settings.nodes != default.nodes:
        words += ["--nodes", str(settings.nodes)]
    if settings.delay_us != default.delay_us:
        words += ["--delay", f"{settings.delay_us}us"]
    if settings.protocols:
        words += ["--protocols", ",".join(settings.protocols)]
    if cells:
        words += ["--cells", ",".join(cells)]
    if settings.on != default.on:
        words += ["--on", settings.on]
    if settings.seed:
        words += ["--seed", str(settings.seed)]
    return " ".join([*words, "--markdown"])
