"""`antipaxos shrink`: a failing run, made small and explained."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from harness.cli.summary import add_reports
from harness.errors import UsageError
from harness.reproduce.replay import Attempt, load, replay_timings
from harness.reproduce.shrink import Candidate, ShrinkResult, Size, shrink
from harness.reproduce.story import tell
from harness.run.simulation import judge_fully, simulate, write_folder

STORY = "story.txt"
TIMINGS = 50


@click.command(name="shrink")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--limit",
    "limit_s",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds to spend.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the folder of the smallest run goes.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def shrink_command(*, folder: Path, limit_s: float, store: Path, as_json: bool) -> int:
    """Make the failing run in FOLDER small: few faults, few operations, calm timing.

    Works in the simulator; a run from Docker is taken there first, if some timing of the network
    makes it fail in the same way. The result is a run folder of its own, with the story of what
    happens in it: a table of the messages, faults and operations that are left.

    Exit codes: 1 (the smallest run fails, as it should), others when there is nothing to shrink.
    """
    if limit_s <= 0:
        raise UsageError(f"--limit must be above 0 seconds, not {limit_s:g}")
    console = Console(stderr=as_json, highlight=False)
    name = folder.name or folder.resolve().name
    started = time.monotonic()
    start = _starting_point(folder, started + limit_s, console)
    last = [""]

    def watch(what: str, size: Size) -> None:
        line = f"{what:<11} {size.describe()}"
        if line != last[0]:
            last[0] = line
            console.print(Text(line, style="dim"))

    left_s = max(limit_s - (time.monotonic() - started), 0.1)
    result = shrink(start.config, start.schedule, limit_s=left_s, watch=watch)
    run = simulate(*result.smallest, traced=True)
    judge_fully(run)
    written = write_folder(run, store, f"shrunk-{name}")
    story = tell(written.path).text()
    (written.path / STORY).write_text(story, encoding="utf-8")
    add_reports([written.path], console)
    if as_json:
        click.echo(
            json.dumps(
                result.to_json()
                | {"verdict": run.outcome, "folder": str(written.path), "sentence": run.sentence}
            )
        )
    else:
        _show(result, story, written.path, console)
    return 1


def _starting_point(folder: Path, deadline: float, console: Console) -> Candidate:
    """The recorded run, or for one from Docker a timing of the simulator that fails alike, if one
    is found before the deadline."""
    recorded = load(folder)
    if recorded.outcome == "valid":
        raise UsageError(f"{folder} did not fail: there is nothing to shrink")
    if recorded.config.on == "sim":
        return Candidate(recorded.config, recorded.schedule)

    def watch(attempt: Attempt) -> None:
        line = f"timing      {attempt.number}: {'fails alike' if fails(attempt) else 'does not'}"
        console.print(Text(line, style="dim"))

    def fails(attempt: Attempt) -> bool:
        return attempt.same and attempt.outcome == "invalid"

    timings = replay_timings(
        recorded,
        TIMINGS,
        watch=watch,
        enough=lambda attempt: fails(attempt) or time.monotonic() > deadline,
    )
    last = timings.attempts[-1]
    if fails(last):
        config = recorded.config.changed(on="sim", world={"seed": last.world_seed})
        return Candidate(config, recorded.schedule)
    raise UsageError(
        f"none of {last.number} simulated timings of {folder} fails as the run did",
        remedy="look for one: antipaxos replay FOLDER --on sim --times 1000",
    )


def _show(result: ShrinkResult, story: str, path: Path, console: Console) -> None:
    console.print()
    console.print(story, markup=False, soft_wrap=True)
    console.print(f"before   {result.before.describe()}")
    console.print(f"after    {result.after.describe()}")
    complete = "" if result.complete else "; the time was up: there may be less"
    console.print(f"tried    {result.tried} runs in {result.seconds:.1f} s{complete}")
    console.print(f"folder   {path}", markup=False, soft_wrap=True)
    console.print(f"replay   antipaxos replay {path}", markup=False, soft_wrap=True)
