"""`antipaxos mutants`: the mutation score, planted bug by detector."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

from harness.cli.display import Ticker
from harness.cli.files import require_writable
from harness.cli.names import complete_mutants, complete_names
from harness.cli.options import FIRST_SEED, JOBS, SEEDS, Whole, command
from harness.cli.output import SafeConsole, say
from harness.errors import UnknownChoice, UsageError
from harness.runtimes import RUNTIMES
from harness.search.executors import executor_for
from harness.search.mutation import (
    DETECTORS,
    STARTS,
    DockerTrials,
    Score,
    Task,
    Trial,
    by_mutant,
    run_trials,
    tasks,
    try_seeds,
)
from harness.targets import targets
from node_image.mutants import MUTANTS

NOT_RIGHT = 65
"""A planted bug was not found, or a correct protocol was flagged. No verdict on a history, so not
below 64; sysexits calls it EX_DATAERR."""


@command()
@click.argument("protocols", nargs=-1, shell_complete=complete_names(targets))
@click.option(
    "--seeds",
    type=SEEDS,
    default=1000,
    show_default=True,
    help="Maximum number of seeds per start.",
)
@click.option(
    "--starts",
    type=Whole(1, 1000),
    default=STARTS,
    show_default=True,
    help="Number of starting points.",
)
@click.option(
    "--from", "first", type=FIRST_SEED, default=0, show_default=True, help="The first seed."
)
@click.option(
    "--mutant",
    "only",
    multiple=True,
    shell_complete=complete_mutants,
    help="Only this planted bug; repeatable.",
)
@click.option(
    "--jobs", type=JOBS, default=1, show_default=True, help="Number of processes (simulator only)."
)
@click.option("--dask", "address", default=None, help="Address of a Dask scheduler for the trials.")
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
    """Plant all known bugs of PROTOCOLS (default: all), and count the runs until each is found.

    The correct protocols run through the same number of seeds, and must not fail. Exits with 0 if
    every bug was found from every start, and no correct protocol failed, otherwise with 65.
    """
    if on not in RUNTIMES:
        raise UnknownChoice("runtime", on, RUNTIMES)
    work = tasks(protocols, seeds, starts=starts, first=first, on=on)
    _require_mutants(only, work)
    work = [task for task in work if not only or task.mutant in only]
    errors = SafeConsole(stderr=True, highlight=False)
    ticker = Ticker(errors, "planting bugs", live=not as_json)
    ticker.text = f"0 of {len(work)} trials"
    trial = try_seeds if on == "sim" else DockerTrials(store, ticker.print)
    if address is not None and on != "sim":
        raise UsageError(
            "--dask is for simulated trials: the folder of a run in containers stays where it ran",
            remedy="leave out --on docker, or use `antipaxos suite`, which fetches the folders",
        )
    if on != "sim":
        require_writable(store, "--store")
    done: list[Trial] = []
    started = time.monotonic()
    with executor_for(jobs if on == "sim" else 1, address) as executor, ticker:
        try:
            for one in run_trials(work, executor=executor, trial=trial):
                done.append(one)
                ticker.text = f"{len(done)} of {len(work)} trials"
                ticker.print(_line(one, len(done), len(work)), style="")
        except KeyboardInterrupt:
            ticker.print("interrupted: what was found so far", style="yellow")
    scores = by_mutant(done)
    if as_json:
        say(json.dumps({"seeds": seeds, "scores": [score.to_json() for score in scores]}))
    elif markdown:
        say(markdown_table(scores))
    else:
        console = SafeConsole(highlight=False)
        for line in lines_of(scores, time.monotonic() - started):
            console.print(line, soft_wrap=True)
    return 0 if scores and all(score.is_right for score in scores) else NOT_RIGHT


def _require_mutants(only: tuple[str, ...], work: list[Task]) -> None:
    """Raises UsageError for a planted bug that none of the protocols has."""
    having = {task.mutant for task in work if task.mutant is not None}
    protocols = ", ".join(dict.fromkeys(task.protocol for task in work))
    for name in only:
        if name not in MUTANTS:
            raise UnknownChoice("mutant", name, having)
        if name not in having:
            raise UsageError(
                f"{protocols}: no mutant {name!r}",
                remedy=f"choose one of: {', '.join(sorted(having))}",
            )


def _line(trial: Trial, number: int, total: int) -> str:
    name = f"{trial.task.protocol} {trial.task.mutant or '(correct)'}"
    if trial.problem:
        said = f"not done, {trial.problem}"
    elif trial.seed is None:
        said = f"not found in {trial.runs} seeds"
    else:
        said = f"seed {trial.seed}, run {trial.runs}: {', '.join(trial.detectors)}"
    return f"[{number}/{total}] {name}: {said} ({trial.seconds:.1f} s)"


HEAD = ("protocol", "bug", "found", "runs", "s", *DETECTORS, "needs", "again")


def _row(score: Score) -> tuple[str, ...]:
    data = score.to_json()
    detectors = [str(data["detectors"][d] or "-") for d in DETECTORS]
    needed = ", ".join(f"{kind} {count}" for kind, count in data["needed"].items())
    total = sum(trial.runs for trial in score.trials)
    runs = f"{total:,} not found" if not score.found else f"{data['runs_median']:g}"
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


def lines_of(scores: list[Score], seconds: float) -> Iterator[Text]:
    """For a terminal of 80 columns. Commands have lines of their own, to be copied."""
    yield Text(f"mutation score, {seconds:.0f} s", style="bold")
    protocol = ""
    for score in scores:
        if score.protocol != protocol:
            protocol = score.protocol
            yield Text(f"\n{protocol}", style="bold")
            yield Text(f"  {'bug':<10}{'found':>7}{'runs':>14}{'s':>8}  by", style="dim")
        _, bug, found, runs, seconds_each, *detectors, needs, again = _row(score)
        by = ", ".join(
            f"{name} {count}"
            for name, count in zip(DETECTORS, detectors, strict=True)
            if count != "-"
        )
        style = "" if score.is_right else "bold red"
        line = f"  {bug:<10}{found:>7}{runs:>14}{seconds_each:>8}  {by or '-'}"
        yield Text(line, style=style)
        if needs != "-":
            yield Text(f"    needs {needs}", style="dim")
        if again != "-":
            yield Text(f"    {again}")


def markdown_table(scores: list[Score]) -> str:
    """For docs/mutants.md."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for score in scores:
        *cells, again = _row(score)
        lines.append("| " + " | ".join([*cells, f"`{again}`" if again != "-" else again]) + " |")
    return "\n".join(lines)
