"""`antipaxos failover`: how long clusters are unavailable when their leader fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.bench.failover import Cell, FailoverPlan, FailoverResult, measure
from harness.bench.faults import FAILURES
from harness.bench.files import write_files
from harness.bench.regress import Regression, regressions
from harness.cli.display import Silent
from harness.cli.options import Duration, Names, Setting
from harness.report.text import STYLES
from harness.runtimes import RUNTIMES

EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}
REGRESSED = 65
"""sysexits calls it EX_DATAERR: the data are not what they should be."""


@click.command(name="failover")
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--fault",
    "faults",
    type=Names(),
    default="kill",
    show_default=True,
    help=f"Failures, comma-separated: {', '.join(FAILURES)}.",
)
@click.option("--failures", type=int, default=100, show_default=True, help="Of each kind.")
@click.option("--nodes", type=int, default=5, show_default=True, help="Size of each cluster.")
@click.option(
    "--rate", type=float, default=500.0, show_default=True, help="Operations a second of the probe."
)
@click.option(
    "--election-timeout",
    "election_us",
    type=Duration(),
    default="1s",
    show_default=True,
    help="The election time-out of every target; the heartbeat is a tenth of it.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the targets; repeatable.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws moments and keys.")
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def failover_command(
    *,
    targets: tuple[str, ...],
    faults: tuple[str, ...],
    failures: int,
    nodes: int,
    rate: float,
    election_us: int,
    settings: tuple[tuple[str, Any], ...],
    seed: int,
    on: str,
    out: Path,
    baseline: Path | None,
    regress: str,
    as_json: bool,
) -> int:
    """Fail the leader of each of TARGETS again and again, and measure the unavailability.

    The probe is open-loop: operations are sent at their appointed times, and latencies count from
    there. A window begins at the verified moment of the fault, and ends at the first answer from
    which success is sustained. Every history is judged.

    Exit codes: the worst verdict of the histories (0, 1, 2); 65 where a window regressed.
    """
    plan = FailoverPlan(
        targets=targets,
        failures=faults,
        count=failures,
        nodes=nodes,
        rate=rate,
        election_us=election_us,
        settings=dict(settings),
        seed=seed,
        on=on,
    )
    allowed = _percent(regress)
    errors = Console(stderr=True, highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    result = measure(plan, out / "runs", Silent(errors), watch=lambda cell: _progress(cell, errors))
    write_files(result, out)
    found = regressions(result, json.loads(baseline.read_text()), allowed) if baseline else []
    if as_json:
        click.echo(json.dumps(result.to_json() | {"regressions": [r.sentence for r in found]}))
    else:
        show(result, found, out, Console(highlight=False))
    code = EXIT_CODES[result.outcome]
    return code or (REGRESSED if found else 0)


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1
    if not 0 <= value <= 10_000:
        raise click.BadParameter(f"{text!r} is no percentage from 0", param_hint="--regress")
    return value / 100


def _progress(cell: Cell, console: Console) -> None:
    p50 = cell.summary().quantiles.get(50)
    shown = "-" if p50 is None else f"{p50.value:.0f} ms"
    console.print(
        f"{cell.target} {cell.failure}: {len(cell.observations)} failures, median window {shown}",
        style="dim",
    )


def show(result: FailoverResult, found: list[Regression], out: Path, console: Console) -> None:
    """The table, and where the rest is."""
    plan = result.plan
    probe = plan.probe(plan.config(plan.targets[0], plan.failures[0], 0), plan.failures[0], 1)
    console.print(
        f"{plan.nodes} nodes, election time-out {plan.election_us / 1000:g} ms, an operation every "
        f"{probe.interval_us / 1000:g} ms, clients wait {probe.attempt_timeout_us / 1000:g} ms for "
        f"a node, in time is {probe.in_time_us / 1000:g} ms"
    )
    wrong = [cell for cell in result.cells.values() if cell.outcome != "valid"]
    for cell in wrong:
        words = Text(f"{cell.target} {cell.failure}: {cell.outcome}", style=STYLES[cell.outcome])
        console.print(words, f"- {cell.reasons[0] if cell.reasons else ''}", markup=False)
    table = Table(title="unavailability, ms (worst of the four classes)", box=None)
    for name in ("target", "failure", "n", "back", "min", "p50", "95 %", "p90", "max", "in T"):
        table.add_column(name, justify="left" if name in ("target", "failure") else "right")
    for cell in result.cells.values():
        table.add_row(*_row(cell))
    console.print(table)
    _show_phases(result, console)
    for regression in found:
        console.print(regression.sentence, style="bold red")
    console.print(f"written: {out}/failover.json, windows.csv, *.hlog, failover.html")


def _row(cell: Cell) -> list[str]:
    summary = cell.summary()
    p50, p90 = summary.quantiles.get(50), summary.quantiles.get(90)
    return [
        cell.target,
        cell.failure,
        str(summary.count),
        f"{summary.count - summary.missing}",
        _ms(summary.least),
        _ms(p50.value if p50 else None),
        f"{_ms(p50.low)} to {_ms(p50.high)}" if p50 else "-",
        _ms(p90.value if p90 else None),
        _ms(summary.most),
        f"{p50.value * 1000 / cell.election_us:.2f}" if p50 and p50.value != float("inf") else "-",
    ]


def _show_phases(result: FailoverResult, console: Console) -> None:
    table = Table(title="phases, median ms; unknown outcomes; elections while healthy", box=None)
    names = ("detection_us", "election_us", "commit_us", "clients_us", "rate_us")
    for name in (
        "target",
        "failure",
        *(n.removesuffix("_us") for n in names),
        "unknown",
        "elections",
    ):
        table.add_column(name, justify="left" if name in ("target", "failure") else "right")
    for cell in result.cells.values():
        medians = []
        for name in names:
            summary = cell.phase_summary(name)
            medians.append(_ms(summary.quantiles[50].value if summary else None))
        lost = str(sum(o.indefinite for o in cell.observations))
        calm = f"{cell.calm_elections}/{cell.calm_us / 1e6:.0f}s"
        table.add_row(cell.target, cell.failure, *medians, lost, calm)
    console.print(table)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value == float("inf") else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
