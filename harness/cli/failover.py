"""`antipaxos failover`: how long clusters are unavailable when their leader fails."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.bench.failover.failures import FAILURES, GROUPS
from harness.bench.failover.files import write_files
from harness.bench.failover.measure import measure
from harness.bench.failover.plan import HEALTHY, SWEPT_FIELDS, FailoverPlan, Sweep
from harness.bench.failover.regress import Baseline, Regression, regressions
from harness.bench.failover.result import Cell, FailoverResult
from harness.bench.stats import Quantile, summarise
from harness.cli.display import RunDisplay
from harness.cli.files import exclusive
from harness.cli.names import complete_names, complete_settings
from harness.cli.options import NODES, RATE, SEED, Duration, Names, Setting, Whole, command
from harness.cli.output import SafeConsole, say
from harness.report.text import STYLES
from harness.runtimes import RUNTIMES
from harness.targets import targets as known_targets

EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}
REGRESSED = 65
"""sysexits calls it EX_DATAERR: the data are not what they should be."""


class SweptSetting(click.ParamType):  # type: ignore[type-arg]
    """NAME=V1,V2,...: a setting and the values that it takes in turn."""

    name = "name=values"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Sweep:
        if isinstance(value, Sweep):
            return value
        name, equals, text = str(value).partition("=")
        words = [word.strip() for word in text.split(",")]
        if not name or not equals or not all(words) or len(set(words)) < len(words):
            self.fail(f"{value!r} is not NAME=V1,V2 with different values", param, ctx)
        kinds: dict[str, click.ParamType] = {  # type: ignore[type-arg]
            "election-timeout": Duration(),
            "nodes": click.INT,
            "rate": click.FLOAT,
        }
        if name in kinds:
            return Sweep(
                name, tuple((word, kinds[name].convert(word, param, ctx)) for word in words)
            )
        settings = [Setting().convert(f"{name}={word}", param, ctx) for word in words]
        return Sweep(name, tuple(zip(words, (found for _, found in settings), strict=True)))


@command(name="failover")
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_names(known_targets))
@click.option(
    "--fault",
    "faults",
    type=Names(),
    shell_complete=complete_names(lambda: (*FAILURES, *GROUPS)),
    default="kill",
    show_default=True,
    help=f"Failures, comma-separated: {', '.join((*FAILURES, *GROUPS))}.",
)
@click.option(
    "--failures",
    type=Whole(0, 100_000),
    default=100,
    show_default=True,
    help="Of each kind; 0 with --healthy: none.",
)
@click.option("--nodes", type=NODES, default=5, show_default=True, help="Size of each cluster.")
@click.option(
    "--rate", type=RATE, default=500.0, show_default=True, help="Operations a second of the probe."
)
@click.option(
    "--election-timeout",
    "election_us",
    type=Duration(),
    default="1s",
    show_default=True,
    help="The election timeout of every target; the heartbeat is a tenth of it.",
)
@click.option(
    "--sweep",
    type=SweptSetting(),
    metavar="NAME=V1,V2",
    help=f"Measure at each value: of {', '.join(SWEPT_FIELDS)}, or of a setting of the targets.",
)
@click.option(
    "--healthy",
    "healthy_us",
    type=Duration(),
    help="Watch each target for this long without failures, and count elections.",
)
@click.option(
    "--busy",
    type=int,
    default=0,
    show_default=True,
    help="Keep this many processors of this machine busy meanwhile.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    shell_complete=complete_settings,
    metavar="NAME=VALUE",
    help="A setting of the targets; repeatable.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed for failure times and keys."
)
@click.option("--on", default="docker", show_default=True, help=f"{' or '.join(RUNTIMES)}.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("failover"),
    show_default=True,
    help="Where the result goes: JSON, CSV, HdrHistogram logs, a page, and the run folders.",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An earlier failover.json to compare with.",
)
@click.option(
    "--regress",
    default="20%",
    show_default=True,
    metavar="PERCENT",
    help="How much longer than the baseline's a median window may be.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def failover_command(
    *,
    targets: tuple[str, ...],
    faults: tuple[str, ...],
    failures: int,
    nodes: int,
    rate: float,
    election_us: int,
    sweep: Sweep | None,
    healthy_us: int | None,
    busy: int,
    settings: tuple[tuple[str, Any], ...],
    seed: int,
    on: str,
    out: Path,
    baseline: Path | None,
    regress: str,
    as_markdown: bool,
    as_json: bool,
) -> int:
    """Fail the leader of each of TARGETS repeatedly, and measure the unavailability.

    The probe is open-loop: operations are sent at their scheduled times, and latencies count from
    there. A window begins when the fault has verifiably taken effect, and ends at the first answer
    from which success is sustained. Every history is checked.

    Exit codes: the worst verdict of the histories (0, 1, 2); 65 where a window regressed.
    """
    plan = FailoverPlan(
        targets=targets,
        failures=tuple(name for given in faults for name in GROUPS.get(given, (given,))),
        count=failures,
        nodes=nodes,
        rate=rate,
        election_us=election_us,
        healthy_us=healthy_us or 0,
        busy=busy,
        sweep=sweep,
        settings=dict(settings),
        seed=seed,
        on=on,
    )
    allowed = _percent(regress)
    earlier = None if baseline is None else _baseline(baseline, plan)
    with exclusive(out, "--out"):
        result = _measure(plan, out, live=not as_json)
    found = [] if earlier is None else _compared(result, earlier, allowed)
    if as_json:
        say(json.dumps(result.to_json() | {"regressions": [r.sentence for r in found]}))
    elif as_markdown:
        say(markdown(result))
    else:
        show(result, found, out, SafeConsole(highlight=False))
    code = EXIT_CODES[result.outcome]
    return code or (REGRESSED if found else 0)


def _measure(plan: FailoverPlan, out: Path, *, live: bool) -> FailoverResult:
    with RunDisplay(SafeConsole(stderr=True, highlight=False), live=live) as display:
        watch = _Watch(plan, display)
        result = measure(plan, out / "runs", display, begin=watch.begin, watch=watch.done)
        write_files(result, out)
    return result


def _baseline(path: Path, plan: FailoverPlan) -> Baseline:
    """An earlier result that this plan's can be compared with. Raises UsageError."""
    earlier = Baseline.read(path)
    earlier.require_comparable(plan)
    return earlier


def _compared(result: FailoverResult, earlier: Baseline, allowed: float) -> list[Regression]:
    """What has regressed. A cell that cannot be compared gets a note."""
    for cell in earlier.missing(result):
        cell.notes.append("the baseline has no median of it: not compared")
    return regressions(result, earlier, allowed)


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1
    if not 0 <= value <= 10_000:
        raise click.BadParameter(f"{text!r} is not a percentage from 0", param_hint="--regress")
    return value / 100


class _Watch:
    """Reports each block before and after it runs."""

    def __init__(self, plan: FailoverPlan, display: RunDisplay) -> None:
        self._display = display
        self._blocks = len(list(plan.blocks()))
        self._begun = 0

    def begin(self, cell: Cell) -> None:
        self._begun += 1
        self._display.title = f"block {self._begun} of {self._blocks}, {cell.name}"

    def done(self, cell: Cell) -> None:
        if cell.failure == HEALTHY:
            healthy_s = sum(h.us for h in cell.healthy) / 1e6
            elections = sum(h.elections for h in cell.healthy)
            self._display.keep(f"{cell.name}: {healthy_s:.0f} s, {elections} elections")
            return
        count = len(cell.observations)
        failures = "1 failure" if count == 1 else f"{count} failures"
        self._display.keep(f"{cell.name}: {failures}, {median_in_words(cell)}")


def median_in_words(cell: Cell) -> str:
    """The median of a cell's windows so far."""
    p50 = cell.summary().quantiles.get(50)
    if p50 is None:
        return "median window -"
    if math.isinf(p50.value):
        return "no median window: after most of them service did not return"
    return f"median window {_window(cell, p50.value)} ms"


def show(result: FailoverResult, found: list[Regression], out: Path, console: Console) -> None:
    """Print the tables, and where the files are."""
    for point, plan in result.plan.points():
        console.print(_settings(plan, result.plan.sweep_name, point), style="dim")
    wrong = [cell for cell in result.cells.values() if cell.outcome != "valid"]
    for cell in wrong:
        words = Text(f"{cell.name}: {cell.outcome}", style=STYLES[cell.outcome])
        console.print(words, f"- {cell.reasons[0] if cell.reasons else ''}", markup=False)
    for cell in result.cells.values():
        for note in cell.notes:
            console.print(f"{cell.name}: {note}", markup=False, style="yellow")
    for heads, rows, title in tables(result):
        console.print(_table(title, heads, rows))
    for regression in found:
        console.print(regression.sentence, style="bold red")
    console.print(
        Text(
            f"written: {shlex.quote(str(out))}/ failover.json, windows.csv, *.hlog, failover.html"
        ),
        soft_wrap=True,
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """For 80 columns: only the names of cells are folded."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in heads:
        if name == heads[0]:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def markdown(result: FailoverResult) -> str:
    """The same tables, for a page of documentation."""
    parts = []
    for heads, rows, title in tables(result):
        lines = [f"*{title}*", "", _row(heads), _row(["---"] + ["---:"] * (len(heads) - 1))]
        parts.append("\n".join(lines + [_row(row) for row in rows]))
    return "\n\n".join(parts)


def _row(words: list[str]) -> str:
    return f"| {' | '.join(words)} |"


def _settings(plan: FailoverPlan, name: str, point: str) -> str:
    block = next(iter(plan.blocks()))
    probe = plan.probe(plan.config(block.target, block.failure, 0), block)
    head = f"{name} {point}: " if point else ""
    return (
        f"{head}{plan.nodes} nodes, election timeout {plan.election_us / 1000:g} ms, an operation "
        f"every {probe.interval_us / 1000:g} ms, clients wait {probe.attempt_timeout_us / 1000:g} "
        f"ms for a node, in time is {probe.in_time_us / 1000:g} ms"
    )


def tables(result: FailoverResult) -> list[tuple[list[str], list[list[str]], str]]:
    """(heads, rows, title) of each table that has rows."""
    failed = [cell for cell in result.cells.values() if cell.failure != HEALTHY]
    calm = [cell for cell in result.cells.values() if cell.failure == HEALTHY]
    found = [
        (WINDOW_HEADS, [_windows(cell) for cell in failed], WINDOW_TITLE),
        (PHASE_HEADS, [_phases(cell) for cell in failed], "phases, median ms"),
        (HEALTHY_HEADS, [_healthy(cell) for cell in calm], "nothing fails: elections"),
    ]
    return [table for table in found if table[1]]


WINDOW_HEADS = ["", "n", "back", "p50", "95 %", "p90", "max", "in T", "blocked"]
WINDOW_TITLE = (
    "unavailability, ms: worst of the four classes; in T: median in election timeouts; "
    "blocked: median until service was back, healing included, where it was not before"
)
PHASE_NAMES = ("detection_us", "election_us", "commit_us", "clients_us", "rate_us")
PHASE_HEADS = ["", *(name.removesuffix("_us") for name in PHASE_NAMES), "unknown"]
HEALTHY_HEADS = ["", "s", "busy", "candidacies", "elections", "operations", "late"]


def _windows(cell: Cell) -> list[str]:
    summary = cell.summary()
    p50, p90 = summary.quantiles.get(50), summary.quantiles.get(90)
    blocked = cell.blocked_ms()
    return [
        cell.name,
        str(summary.count),
        f"{summary.count - summary.missing}",
        _window(cell, p50.value if p50 else None),
        _interval(cell, p50) if p50 else "-",
        _window(cell, p90.value if p90 else None),
        _window(cell, summary.most),
        _in_timeouts(cell, p50.value if p50 else None),
        _ms(summarise(blocked).quantiles[50].value) if blocked else "-",
    ]


def _window(cell: Cell, value: float | None) -> str:
    """A window below the limit of "in time" is shown as an upper bound."""
    return f"<{cell.in_time_us / 1000:g}" if value == 0 else _ms(value)


def _interval(cell: Cell, found: Quantile) -> str:
    """The confidence interval of a quantile; "never" where service did not return at either
    limit."""
    low, high = _window(cell, found.low), _window(cell, found.high)
    return low if math.isinf(found.low) else f"{low} to {high}"


def _in_timeouts(cell: Cell, value: float | None) -> str:
    if value is None or value == float("inf"):
        return "-"
    if value == 0:
        return f"<{cell.in_time_us / cell.election_us:.2f}"
    return f"{value * 1000 / cell.election_us:.2f}"


def _phases(cell: Cell) -> list[str]:
    summaries = [cell.phase_summary(name) for name in PHASE_NAMES]
    medians = [_ms(summary.quantiles[50].value if summary else None) for summary in summaries]
    return [cell.name, *medians, str(sum(o.indefinite for o in cell.observations))]


def _healthy(cell: Cell) -> list[str]:
    seen = cell.healthy
    return [
        " ".join(part for part in (cell.target, cell.point) if part),
        f"{sum(h.us for h in seen) / 1e6:.0f}",
        str(max((h.busy for h in seen), default=0)),
        str(sum(h.candidacies for h in seen)),
        str(sum(h.elections for h in seen)),
        str(sum(h.operations for h in seen)),
        str(sum(h.late for h in seen)),
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value == float("inf") else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
