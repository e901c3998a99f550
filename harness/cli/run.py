"""`antipaxos run`: one chaos run, shown live, summed up, judged."""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from faults.kinds import KINDS
from faults.schedule import Schedule
from faults.shapes import DRAWN_SHAPES, NAMED_SHAPES
from harness.cli.display import RunDisplay
from harness.cli.files import require_writable
from harness.cli.names import complete_mutants, complete_names, complete_settings, faults_help
from harness.cli.options import (
    CONCURRENCY,
    KEYS,
    LEARNERS,
    NODES,
    RATE,
    SEED,
    Duration,
    Names,
    Setting,
    command,
)
from harness.cli.output import SafeConsole, say
from harness.cli.summary import add_reports, show
from harness.errors import UnknownChoice, UsageError
from harness.run.config import RunConfig, default_of
from harness.run.run_sequence import duration, execute, schedule_for, with_schedule
from harness.runtimes import RUNTIMES
from harness.runtimes.docker.engine import is_available
from harness.targets import settings_of, targets
from harness.workloads import WORKLOADS


@command()
@click.argument("target", shell_complete=complete_names(targets))
@click.option(
    "--nodes",
    type=NODES,
    default=default_of("nodes"),
    show_default=True,
    help="Size of the cluster.",
)
@click.option(
    "--learners",
    type=LEARNERS,
    default=0,
    show_default=True,
    help="How many of the nodes are learners, which do not vote.",
)
@click.option(
    "--workload",
    shell_complete=complete_names(lambda: WORKLOADS),
    default=default_of("workload"),
    show_default=True,
    help=f"The workload of the clients: {', '.join(WORKLOADS)}.",
)
@click.option(
    "--faults",
    type=Names(),
    default="partition,kill,pause,clock",
    show_default=True,
    shell_complete=complete_names(lambda: KINDS),
    help=f"Kinds of faults, comma-separated, or none: {faults_help()}.",
)
@click.option(
    "--schedule",
    "schedule_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="A TOML file with the faults and their times, instead of --faults.",
)
@click.option(
    "--allow-all",
    is_flag=True,
    help="Kills and pauses may affect the whole cluster at once.",
)
@click.option(
    "--shapes",
    type=Names(),
    shell_complete=complete_names(lambda: NAMED_SHAPES),
    default=",".join(DRAWN_SHAPES),
    show_default=True,
    help="Shapes of partitions that may be drawn.",
)
@click.option(
    "--fault-gap",
    "fault_gap_us",
    type=Duration(),
    default=None,
    help="Mean time from one fault to the next; default: the seed draws 2 to 4 s.",
)
@click.option(
    "--time",
    "time_us",
    type=Duration(),
    default="30s",
    show_default=True,
    help="How long faults are injected.",
)
@click.option(
    "--concurrency",
    type=CONCURRENCY,
    default=default_of("concurrency"),
    show_default=True,
    help="Clients that may wait for an answer at once.",
)
@click.option(
    "--rate",
    type=RATE,
    default=default_of("rate"),
    show_default=True,
    help="Operations per second of all clients together (open loop).",
)
@click.option(
    "--keys",
    type=KEYS,
    default=default_of("keys"),
    show_default=True,
    help="Number of keys that the operations access.",
)
@click.option(
    "--seed", type=SEED, default=None, help="Determines faults and operations; default: random."
)
@click.option(
    "--mutant",
    default=None,
    shell_complete=complete_mutants,
    help="Plant this bug in every node; antipaxos list mutants TARGET.",
)
@click.option(
    "--transport",
    default="tcp",
    show_default=True,
    help="Between nodes: tcp or udp; with udp duplicates and reordering reach the protocol.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    shell_complete=complete_settings,
    metavar="NAME=VALUE",
    help="A setting of the target, such as reads=quorum or snapshot_every=500; repeatable; "
    "antipaxos list settings TARGET.",
)
@click.option(
    "--attempt-timeout",
    "attempt_timeout_us",
    type=Duration(),
    default="500ms",
    show_default=True,
    help="How long a client waits for a node before it asks another.",
)
@click.option(
    "--stop-at-first",
    is_flag=True,
    help="End the run at the first violation that the checker finds.",
)
@click.option(
    "--on",
    default=None,
    help=f"Where: {' or '.join(RUNTIMES)}; default: docker, or sim without an engine.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the run's folder goes.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="No live display; one JSON object on standard output at the end.",
)
def run(
    store: Path,
    as_json: bool,
    schedule_file: Path | None,
    settings: tuple[tuple[str, Any], ...],
    seed: int | None,
    on: str | None,
    **options: Any,
) -> int:
    """Start a cluster of TARGET, inject faults, and check what the clients saw.

    Starts the nodes, runs clients against them, injects the faults that the seed determines,
    records every operation and every fault, heals everything, requires that the cluster answers
    again, and checks that what the clients saw was possible. Everything is written to a folder
    under --store.

    Ctrl-C ends the run early: faults are healed, containers removed, and the recorded part is
    checked: invalid or unknown. A second one ends it at once.

    Exit codes: 0 valid, 1 invalid, 2 unknown; 64 and above: a usage error, or a failure of the
    harness.
    """
    errors = SafeConsole(stderr=True)
    _refuse_contradictions(schedule_file, options["faults"])
    with RunDisplay(errors, live=not as_json) as display:
        if on is None and not is_available():
            display.say("note: no Docker engine answers: running in the simulator (--on sim)")
            on = "sim"
        config = RunConfig.of(
            **options,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            on=on or "docker",
            settings=settings_of(options["target"], dict(settings)),
        )
        config, schedule = _planned(config, schedule_file, display)
        require_writable(store, "--store")
        for remark in config.remarks():
            display.say(f"note: {remark}")
        result = execute(config, store, display, schedule=schedule)
        display.say("writing the page")
        add_reports([result.folder.path], errors)
    if as_json:
        say(json.dumps(result.to_json()))
    else:
        show(result.folder, SafeConsole())
    return result.verdict.exit_code


def _refuse_contradictions(schedule_file: Path | None, kinds: tuple[str, ...]) -> None:
    """Raises UsageError for options of which one would be ignored."""
    if schedule_file is not None and _was_given("faults"):
        raise UsageError("--faults and --schedule both say which faults come: give one of them")
    for name in ("fault_gap_us", "shapes", "allow_all") if schedule_file is not None else ():
        if _was_given(name):
            option = f"--{name.removesuffix('_us').replace('_', '-')}"
            raise UsageError(f"{option} is for faults that are drawn, not for --schedule")
    if _was_given("shapes") and not _with_shapes().intersection(kinds):
        raise UsageError("--shapes is for partitions, and there are none among --faults")
    for shape in click.get_current_context().params["shapes"]:
        if shape not in NAMED_SHAPES:
            raise UnknownChoice("shape of partition", shape, NAMED_SHAPES)


def _planned(
    config: RunConfig, schedule_file: Path | None, display: RunDisplay
) -> tuple[RunConfig, Schedule]:
    """The faults that are drawn or written, and the configuration that is prepared for them."""
    if schedule_file is None:
        schedule = schedule_for(config)
        if absent := [kind for kind in config.faults.kinds if kind not in schedule.kinds()]:
            display.say(f"note: this seed draws no {', no '.join(absent)}")
        return config, schedule
    planned, schedule = with_schedule(config, schedule_file)
    if _was_given("time_us") and planned.time_us != config.time_us:
        raise UsageError(
            f"{schedule_file} lasts {duration(planned.time_us)}, and --time is "
            f"{duration(config.time_us)}",
            remedy="leave one of them out",
        )
    return planned, schedule


def _with_shapes() -> set[str]:
    """The kinds of faults that have a shape."""
    return {
        kind
        for kind, known in KINDS.items()
        if any(field.name == "shape" for field in dataclasses.fields(known.fault))
    }


def _was_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
