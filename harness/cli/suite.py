"""`antipaxos suite`: runs a suite from a file, and prints the result."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.cli.display import Progress
from harness.cli.options import command
from harness.cli.output import SafeConsole, say
from harness.errors import UsageError
from harness.report.text import STYLES
from harness.search.executors import local_executor
from harness.suite.cells import Cell, FailoverCell
from harness.suite.execution import Executors, carry_out, estimate
from harness.suite.finish import FinishedNight, finish
from harness.suite.index import Index
from harness.suite.jobs import JobResult, first_line
from harness.suite.night import (
    Night,
    begin,
    corpus_jobs,
    locked,
    new_name,
    resume,
    seeds_done,
)
from harness.suite.outputs import skipped_by_cell
from harness.suite.plan import Suite, example, read_suite

EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}


@command(name="suite")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--init", is_flag=True, help="Write a commented example to FILE (nightly.toml).")
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it will take.")
@click.option("--resume", "go_on", is_flag=True, help="Continue the interrupted night.")
@click.option("--night", default=None, help="The night's name, such as a commit.  [default: date]")
@click.option("--rebuild", is_flag=True, help="Rebuild the index from the folders of all nights.")
@click.option(
    "--dask",
    "address",
    default=None,
    help="Address of a Dask scheduler whose workers run the jobs.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def suite_command(
    *,
    file: Path | None,
    init: bool,
    dry_run: bool,
    go_on: bool,
    night: str | None,
    rebuild: bool,
    address: str | None,
    as_json: bool,
) -> int:
    """Run the suite in FILE: many runs within a budget, and one summary page.

    Ctrl-C (or SIGTERM) ends the night early; --resume continues it.

    Exit codes: 0 no findings (or only accepted ones), 1 findings, 2 something is undecided, such as
    a planned run for which the budget left no time.
    """
    path = file or Path("nightly.toml")
    if init:
        return _init(path)
    suite = read_suite(path)
    console = SafeConsole(stderr=as_json, highlight=False)
    if dry_run:
        return _dry_run(suite, console)
    if rebuild:
        with locked(suite.store):
            console.print(f"{Index(suite.store).rebuild()} nights in the index")
        return 0
    with locked(suite.store):
        running = resume(suite) if go_on else begin(suite, _name(suite, night))
        errors = SafeConsole(stderr=True, highlight=False)
        with (
            _executors(running, address) as executors,
            _Display(errors, running, live=not as_json) as display,
        ):
            carry_out(running, display.watch, executors=executors, say=display.say)
            finished = finish(running, display.say)
    if as_json:
        say(json.dumps(finished.summary | {"folder": str(running.folder)}))
    else:
        show(running, finished, console)
    return EXIT_CODES[finished.outcome]


@contextmanager
def _executors(night: Night, address: str | None) -> Iterator[Executors]:
    """Where the jobs of a night run: on this machine, or on the workers of a Dask cluster.
    Container runs go to workers that have an engine, or stay here if none has."""
    if address is None:
        yield Executors(simulated=local_executor(night.suite.jobs))
        return
    from harness.search.executors.dask import DaskExecutor  # noqa: PLC0415 (an extra)

    with ExitStack() as closing_them:
        simulated = DaskExecutor(address)
        closing_them.callback(simulated.close)
        engines = None
        if simulated.engines() and any(job.on != "sim" for job in night.left):
            engines = DaskExecutor(address, engines=True)
            closing_them.callback(engines.close)
        yield Executors(simulated=simulated, engines=engines, remote=True)


def _name(suite: Suite, night: str | None) -> str:
    if night is None:
        return new_name(datetime.datetime.now(tz=datetime.UTC), suite.store)
    if not night or "/" in night or night.startswith(".") or not night.isprintable():
        raise UsageError(f"{night!r} cannot name a night: use a plain file name")
    if (suite.store / night).exists():
        raise UsageError(
            f"there was a night {night!r} already",
            remedy="use another name, or continue an interrupted night with --resume",
        )
    return night


def _init(path: Path) -> int:
    if path.exists():
        raise UsageError(f"{path} is there already", remedy="name another file")
    path.write_text(example(), encoding="utf-8")
    say(f"{path} is written; try: antipaxos suite {shlex.quote(str(path))} --dry-run")
    return 0


def _dry_run(suite: Suite, console: Console) -> int:
    again = corpus_jobs(suite.store)
    jobs = [*again, *suite.jobs_of("tonight")]
    planned = Counter(job.cell for job in jobs)
    table = Table(box=None)
    for name in ("cell", "runs", "each", "budget"):
        table.add_column(name, justify="left" if name == "cell" else "right")
    for cell in suite.cells:
        budget = f"{cell.budget_us / 60e6:g} min" if cell.budget_us else "-"
        table.add_row(cell.label, str(planned[cell.label] or "-"), _each(cell), budget)
    console.print(table)
    if again:
        console.print(f"before them, {len(again)} failures of earlier nights")
    found = estimate(suite, jobs)
    limit = f", at most {found['budget_s'] / 60:g} min" if found["budget_s"] else ""
    console.print(f"{found['jobs']} runs, about {found['seconds'] / 60:.1f} min{limit}")
    for cell in suite.sweeps():
        done = seeds_done(suite.store, cell.label)
        console.print(f"then the sweep {cell.label}: {done} of {cell.sweep} seeds are done")
    return 0


def _each(cell: Cell | FailoverCell) -> str:
    if isinstance(cell, FailoverCell):
        return f"{cell.count} failures"
    return f"{cell.time_us / 1e6:g} s"


class _Display:
    """A table that is updated in place on a terminal, or else a line every few seconds."""

    def __init__(self, console: Console, night: Night, *, live: bool) -> None:
        self._night = night
        self._finishing = ""
        self._begun_s = time.monotonic() - night.seconds
        self._planned: Counter[str] = Counter()
        for job in night.jobs:
            self._planned[job.cell] += job.count
        self._done: Counter[tuple[str, str]] = Counter()
        for result in night.results.values():
            self._count(result)
        self._progress = Progress(console, self._draw, self._line, live=live)

    def _count(self, result: JobResult) -> None:
        for part in result.parts:
            self._done[part.cell, part.outcome] += part.runs

    def __enter__(self) -> _Display:
        self._progress.__enter__()
        left = sum(job.count for job in self._night.left)
        self._progress.print(f"{self._night.name}: {left} runs to do in {self._night.folder}")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()

    def watch(self, result: JobResult) -> None:
        self._count(result)
        for part in result.parts:
            if part.outcome != "valid":
                words = f": {first_line(part.sentence)[:150]}" if part.sentence else ""
                line = f"{part.outcome} {part.cell} seed {part.seed}{words}"
                self._progress.print(line, STYLES.get(part.outcome, "bold yellow"))

    def say(self, text: str) -> None:
        """Show a step that follows the runs, such as shrinking."""
        self._finishing = text
        self._progress.print(f"{text} ...")

    def _line(self) -> str:
        if self._finishing:
            return f"{self._finishing} ..."
        outcomes: Counter[str] = Counter()
        for (_, outcome), count in list(self._done.items()):
            outcomes[outcome] += count
        found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        done, planned = sum(outcomes.values()), sum(self._planned.values())
        return f"{done} of {planned} runs done{self._time()}" + (f": {found}" if found else "")

    def _time(self) -> str:
        """How long the night has taken, of its budget."""
        budget_us = self._night.suite.budget_us
        minutes = (time.monotonic() - self._begun_s) / 60
        limit = f" of at most {budget_us / 60e6:.3g}" if budget_us else ""
        return f" in {minutes:.1f}{limit} min"

    def _draw(self) -> RenderableType:
        if self._finishing:
            return Text(self._line(), style="dim")
        table = Table(box=None)
        for name in ("cell", "done", "of", "valid", "invalid", "unknown", "error"):
            if name == "cell":
                table.add_column(name, overflow="fold")
            else:
                table.add_column(name, justify="right", no_wrap=True)
        for cell in self._night.cells:  # where they do not all fit on the screen, the last are cut
            counts = [self._done[cell, o] for o in ("valid", "invalid", "unknown", "error")]
            numbers = [sum(counts), self._planned[cell], *counts]
            table.add_row(cell, *(str(n) if n else "-" for n in numbers))
        return Group(Text(self._line()), table)


def show(night: Night, finished: FinishedNight, console: Console) -> None:
    """Print the summary of a finished night."""
    for finding in finished.findings:
        since = f" since {finding.since}" if finding.since else ""
        style = "dim" if finding.status == "expected" else STYLES["invalid"]
        console.print(Text(f"{finding.status}{since}: {finding.signature}", style=style))
        told = (finding.sentence, finding.location, finding.reason, finding.confirmed)
        for words in (*told, finding.shrunk_words):
            if words:
                console.print(Text(f"  {words.splitlines()[0][:300]}"), soft_wrap=True)
        if finding.again:
            console.print(Text(f"  {finding.again}"), soft_wrap=True)
    for gone in finished.gone:
        console.print(Text(f"gone: {gone['signature']} (last in {gone['last']})"))
    for cell, words in skipped_by_cell(night).items():
        console.print(Text(f"{cell}: {words}", style=STYLES["unknown"]))
    for problem in finished.problems:
        console.print(Text(f"note: {problem}"))
    console.print(Text(finished.summary["headline"], style=STYLES[finished.outcome]))
    if night.interrupted:
        console.print("interrupted; antipaxos suite --resume continues it")
    console.print(Text(f"page: {night.folder / 'night.html'}"), soft_wrap=True)
    console.print(Text(f"all nights: {night.suite.store / 'nights.html'}"), soft_wrap=True)
