"""`antipaxos sweep`: many seeds in the simulator, failures grouped by what went wrong."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from faults.kinds import KINDS
from harness.cli.display import Ticker
from harness.cli.files import require_writable
from harness.cli.names import complete_mutants, complete_names, complete_settings
from harness.cli.options import (
    CONCURRENCY,
    FIRST_SEED,
    JOBS,
    KEYS,
    LEARNERS,
    NODES,
    RATE,
    SEEDS,
    Duration,
    Names,
    Setting,
    Whole,
    command,
)
from harness.cli.output import SafeConsole, say
from harness.cli.summary import STYLES, add_reports
from harness.run.config import HEALS
from harness.search.coverage import REACHED
from harness.search.executors import executor_for
from harness.search.swarm import MIX, SweepPlan
from harness.search.sweep import SeedResult, SweepResult, sweep
from harness.targets import settings_of, targets

EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}
SEEDS_SHOWN = 8


@command(name="sweep")
@click.argument("protocol", shell_complete=complete_names(targets))
@click.option("--seeds", type=SEEDS, default=1000, show_default=True, help="Number of seeds.")
@click.option(
    "--from", "first", type=FIRST_SEED, default=0, show_default=True, help="The first seed."
)
@click.option("--jobs", type=JOBS, default=1, show_default=True, help="Number of processes.")
@click.option(
    "--dask",
    "address",
    default=None,
    help="Address of a Dask scheduler whose workers run the seeds.",
)
@click.option(
    "--mutant",
    default=None,
    shell_complete=complete_mutants,
    help="Plant this bug in every node.",
)
@click.option(
    "--time",
    "time_us",
    type=Duration(),
    default="10s",
    show_default=True,
    help="How long faults are injected in each seed, in virtual time.",
)
@click.option("--stop-at-first", is_flag=True, help="Stop at the first seed that fails.")
@click.option("--nodes", type=NODES, default=None, help="Size of the cluster; default: drawn.")
@click.option(
    "--learners",
    type=LEARNERS,
    default=None,
    help="How many of the nodes are learners; default: drawn.",
)
@click.option(
    "--concurrency", type=CONCURRENCY, default=None, help="Concurrent clients; default: drawn."
)
@click.option("--rate", type=RATE, default=None, help="Operations per second; default: drawn.")
@click.option("--keys", type=KEYS, default=None, help="Number of keys; default: drawn.")
@click.option(
    "--faults",
    type=Names(),
    shell_complete=complete_names(lambda: KINDS),
    default=None,
    help=f"Kinds of faults, comma-separated, or none; default: drawn from {', '.join(MIX)}.",
)
@click.option("--transport", default=None, help="tcp or udp; default: drawn.")
@click.option(
    "--heal", default=None, help=f"{' or '.join(HEALS)}; what is healed at the end; default: drawn."
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    shell_complete=complete_settings,
    metavar="NAME=VALUE",
    help="A setting of the cluster, such as reads=quorum; repeatable.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the folders of failing runs go.",
)
@click.option(
    "--keep",
    type=Whole(0, 10_000),
    default=3,
    show_default=True,
    help="How many folders to keep of each group.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print what every seed draws.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def sweep_command(
    *,
    protocol: str,
    seeds: int,
    first: int,
    jobs: int,
    address: str | None,
    mutant: str | None,
    stop_at_first: bool,
    settings: tuple[tuple[str, Any], ...],
    store: Path,
    keep: int,
    verbose: bool,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Simulate PROTOCOL with many seeds, and group the failures.

    Every seed determines a run: the faults and their strength, the number of nodes and clients, the
    speed of links and disks. An option fixes its value for all seeds. A failing run is written to a
    folder under --store, for `antipaxos replay`, `shrink` and `check`.

    Ctrl-C stops early and reports what was found so far.

    Exit codes: 0 no seed failed, 1 some failed, 2 something is undecided.
    """
    if keep:
        require_writable(store, "--store")
    fixed = {name: value for name, value in chosen.items() if value is not None}
    if settings:
        fixed["settings"] = settings_of(protocol, dict(settings))
    plan = SweepPlan(protocol=protocol, mutant=mutant, fixed=fixed)
    console = SafeConsole(stderr=as_json, highlight=False)
    errors = SafeConsole(stderr=True, highlight=False)
    ticker = Ticker(errors, f"sweeping {protocol}", live=not as_json)
    watch = _Watch(ticker, console, verbose=verbose)
    with executor_for(jobs, address) as executor, ticker:
        result = sweep(
            plan,
            range(first, first + seeds),
            executor=executor,
            stop_at_first=stop_at_first,
            store=store if keep else None,
            keep=keep,
            watch=watch,
        )
    add_reports((path for group in result.groups.values() for path in group.folders), console)
    if as_json:
        say(json.dumps(result.to_json()))
    else:
        show(result, console)
    return EXIT_CODES[result.outcome]


class _Watch:
    """Shows progress while the seeds run, and each failure when it is found."""

    def __init__(self, ticker: Ticker, console: Console, *, verbose: bool) -> None:
        self._ticker, self._console, self._verbose = ticker, console, verbose
        self._groups = 0

    def __call__(self, result: SweepResult, one: SeedResult) -> None:
        rate = result.done / max(result.seconds, 1e-9)
        failed = result.invalid + result.unknown
        left_s = (result.asked - result.done) / rate
        self._ticker.text = (
            f"{result.done:,} of {result.asked:,} seeds, {rate:.1f} seeds/s, "
            f"{failed or 'none'} failed, {left_s:.0f} s left"
        )
        if self._verbose:
            self._console.print(f"seed {one.seed}: {one.outcome}; {one.mix}", markup=False)
        if len(result.groups) > self._groups:
            self._groups = len(result.groups)
            line = f"seed {one.seed}: {one.symptoms[0]}"
            self._console.print(Text(line, style="red"))


def show(result: SweepResult, console: Console) -> None:
    """The groups, each with its first seed and one replay command; then the sum."""
    for group in sorted(result.groups.values(), key=lambda g: -len(g.seeds)):
        seeds = ", ".join(str(seed) for seed in group.seeds[:SEEDS_SHOWN])
        more = f", … ({len(group.seeds)})" if len(group.seeds) > SEEDS_SHOWN else ""
        console.print()
        console.print(Text(f"{group.symptom}", style="bold red"))
        console.print(Text(f"  {group.sentence.rstrip()}"), soft_wrap=True)
        if group.also:
            also = ", ".join(f"{name} ({count})" for name, count in group.also.items())
            console.print(Text(f"  with it   {also}", style="dim"), soft_wrap=True)
        console.print(Text(f"  seeds     {seeds}{more}"), soft_wrap=True)
        console.print(Text(f"  drawn     {group.mix}", style="dim"), soft_wrap=True)
        for path in group.folders[:1]:
            quoted = shlex.quote(str(path))
            console.print(f"  replay    antipaxos replay {quoted}", markup=False, soft_wrap=True)
            console.print(f"  shrink    antipaxos shrink {quoted}", markup=False, soft_wrap=True)
    console.print()
    data = result.to_json()
    mutant = f" with {result.plan.mutant}" if result.plan.mutant else ""
    console.print(
        f"{result.plan.protocol}{mutant}: {result.done} seeds from {result.first}, "
        f"{result.operations:,} operations, {result.faults:,} faults, "
        f"{data['simulated_s']:,.0f} simulated s in {result.seconds:.1f} s "
        f"({data['seeds_per_s']:g} seeds/s, {data['simulated_s_per_s']:g} simulated s/s)",
        soft_wrap=True,
    )
    for line in reached_lines(result):
        console.print(Text(line, style="dim"), soft_wrap=True)
    if result.store_problem is not None:
        console.print(Text(f"not all folders were written: {result.store_problem}", style="red"))
    if result.interrupted:
        console.print(f"interrupted after {result.done} of {result.asked} seeds", style="yellow")
    words = f"{result.invalid} failed, {result.unknown} undecided"
    console.print(Text.assemble((result.outcome, STYLES[result.outcome]), f"  {words}"))


def reached_lines(result: SweepResult) -> list[str]:
    """What the seeds reached, how often and in how many of them; and what none did."""
    often = [
        f"{name} {result.reached[name]:,} ({result.seeds_reaching[name]})"
        for name in REACHED
        if result.reached[name]
    ]
    never = [name for name in REACHED if not result.reached[name]]
    lines = [f"reached (in so many seeds): {', '.join(often)}"] if often else []
    return lines + ([f"never reached: {', '.join(never)}"] if often and never else [])


__all__ = ["sweep_command"]
