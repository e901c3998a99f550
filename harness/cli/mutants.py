"""`antipaxos mutants`: the mutation score, planted bug by detector."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.errors import UnknownChoice, UsageError
from harness.runtimes import RUNTIMES
from harness.search.executors import executor_for
from harness.search.mutation import (
    DETECTORS,
    STARTS,
    DockerTrials,
    Score,
    Trial,
    by_mutant,
    run_trials,
    tasks,
    try_seeds,
)
from node_image.mutants import MUTANTS


@click.command()
@click.argument("protocols", nargs=-1)
@click.option(
    "--seeds", type=int, default=1000, show_default=True, help="At most so many seeds a start."
)
@click.option("--starts", type=int, default=STARTS, show_default=True, help="Starting points.")
@click.option("--from", "first", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--mutant", "only", multiple=True, help="Only this planted bug; repeatable.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes (simulator only).")
@click.option("--dask", "address", default=None, help="A Dask scheduler, for the trials.")
@click.option("--on", default="sim", show_default=True, help=f"{' or '.join(RUNTIMES)}.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the folders of runs on Docker go.",
)
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def mutants(
    *,
    protocols: tuple[str, ...],
    seeds: int,
    starts: int,
    first: int,
    only: tuple[str, ...],
    jobs: int,
    address: str | None,
    on: str,
    store: Path,
    markdown: bool,
    as_json: bool,
) -> int:
    """Plant every known bug of PROTOCOLS (default: all), and count the runs until each is seen.

    Beside them the correct protocols go through as many seeds, where nothing may be seen. Exits
    with 0 when every bug was found from every start and nothing else was, with 1 otherwise.
    """
    if seeds < 1 or starts < 1 or jobs < 1:
        raise UsageError("--seeds, --starts and --jobs must be at least 1")
    for name, choices in ((on, RUNTIMES), *((mutant, tuple(MUTANTS)) for mutant in only)):
        if name not in choices:
            raise UnknownChoice("runtime or mutant", name, choices)
    work = tasks(protocols, seeds, starts=starts, first=first, on=on)
    work = [task for task in work if not only or task.mutant in only]
    progress = Console(stderr=True, highlight=False)
    trial = (
        try_seeds
        if on == "sim"
        else DockerTrials(store, lambda text: progress.print(text, style="dim"))
    )
    if address is not None and on != "sim":
        raise UsageError("--dask is for simulated trials", remedy="leave out --on docker")
    done: list[Trial] = []
    started = time.monotonic()
    with executor_for(jobs if on == "sim" else 1, address) as executor:
        try:
            for one in run_trials(work, executor=executor, trial=trial):
                done.append(one)
                progress.print(_line(one, len(done), len(work)), markup=False)
        except KeyboardInterrupt:
            progress.print("interrupted: what was found so far", style="yellow")
    scores = by_mutant(done)
    if as_json:
        click.echo(json.dumps({"seeds": seeds, "scores": [score.to_json() for score in scores]}))
    elif markdown:
        click.echo(markdown_table(scores))
    else:
        Console(highlight=False).print(table_of(scores, time.monotonic() - started))
    return 0 if scores and all(score.is_right for score in scores) else 1


def _line(trial: Trial, number: int, total: int) -> str:
    name = f"{trial.task.protocol} {trial.task.mutant or '(correct)'}"
    if trial.problem:
        said = f"not done, {trial.problem}"
    elif trial.seed is None:
        said = f"silent over {trial.runs} seeds"
    else:
        said = f"seed {trial.seed}, run {trial.runs}: {', '.join(trial.detectors)}"
    return f"[{number}/{total}] {name}: {said} ({trial.seconds:.1f} s)"


HEAD = ("protocol", "bug", "found", "runs", "s", *DETECTORS, "needs", "again")


def _row(score: Score) -> tuple[str, ...]:
    data = score.to_json()
    detectors = [str(data["detectors"][d] or "-") for d in DETECTORS]
    needed = ", ".join(f"{kind} {count}" for kind, count in data["needed"].items())
    total = sum(trial.runs for trial in score.trials)
    runs = f"{total:,} silent" if not score.found else f"{data['runs_median']:g}"
    return (
        score.protocol,
        score.mutant or "(correct)",
        f"{data['found']}/{data['starts']}",
        runs,
        f"{data['seconds_median']:.1f}",
        *detectors,
        needed or "-",
        data["again"] or "-",
    )


def table_of(scores: list[Score], seconds: float) -> Table:
    """For a terminal."""
    table = Table(*HEAD, box=None, title=f"mutation score, {seconds:.0f} s", title_justify="left")
    for score in scores:
        style = "" if score.is_right else "bold red"
        table.add_row(*(Text(cell, style=style) for cell in _row(score)))
    return table


def markdown_table(scores: list[Score]) -> str:
    """For docs/mutants.md."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for score in scores:
        *cells, again = _row(score)
        lines.append("| " + " | ".join([*cells, f"`{again}`" if again != "-" else again]) + " |")
    return "\n".join(lines)
