"""`antipaxos replay`: a recorded run again."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from harness.cli.display import RunDisplay, Ticker
from harness.cli.files import require_writable
from harness.cli.options import Whole, command
from harness.cli.output import SafeConsole, say
from harness.cli.summary import STYLES, add_reports
from harness.errors import UnknownChoice
from harness.reproduce.replay import (
    Attempt,
    Recorded,
    ReplayResult,
    load,
    replay_real,
    replay_simulated,
    replay_timings,
)
from harness.runtimes import RUNTIMES
from histories.text import printable

EXIT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}
TIMINGS = 50
CHANGES_MAX = 5


@command(name="replay")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--on", default=None, help=f"{' or '.join(RUNTIMES)}; default: where it was recorded."
)
@click.option(
    "--times",
    type=Whole(1, 1_000_000),
    default=None,
    help=f"How often (Docker: 1), or how many timings to try in the simulator ({TIMINGS}).",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the folders of replays go.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def replay_command(
    *, folder: Path, on: str | None, times: int | None, store: Path, as_json: bool
) -> int:
    """Run the recorded run in FOLDER again: the same operations, faults and times.

    The replay of a simulated run is bit for bit the same, and the two histories are compared. On
    Docker a run is repeated --times times, and the rate of reproduction is reported. With --on sim
    a Docker run is simulated: the same schedule with --times different timings of the network.

    Exit codes: those of the worst verdict among the replays; 2 also where the replay of a simulated
    run is not the run that was recorded, or the folder was changed since.
    """
    if on is not None and on not in RUNTIMES:
        raise UnknownChoice("runtime", on, RUNTIMES)
    require_writable(store, "--store")
    recorded = load(folder)
    console = SafeConsole(stderr=as_json, highlight=False)
    result = _replay(recorded, on or recorded.config.on, times, store, live=not as_json)
    add_reports((attempt.folder for attempt in result.attempts), console)
    if as_json:
        say(json.dumps(result.to_json()))
    else:
        show(result, console)
    return EXIT_CODES[result.outcome]


def _replay(
    recorded: Recorded, on: str, times: int | None, store: Path, *, live: bool
) -> ReplayResult:
    errors = SafeConsole(stderr=True, highlight=False)
    if on == "docker":
        return _replay_real(recorded, times or 1, store, RunDisplay(errors, live=live))
    with Ticker(errors, "simulating the run again", live=live) as ticker:
        if recorded.config.on == "sim" and times is None:
            return replay_simulated(recorded, store=store)
        asked = times or TIMINGS
        alike = 0

        def watch(attempt: Attempt) -> None:
            nonlocal alike
            alike += attempt.same
            ticker.text = f"{attempt.number} of {asked} timings, {alike} ended as recorded"

        return replay_timings(recorded, asked, store=store, watch=watch)


def _replay_real(recorded: Recorded, times: int, store: Path, display: RunDisplay) -> ReplayResult:
    def begin(number: int) -> None:
        display.title = f"replay {number} of {times}" if times > 1 else ""

    def watch(attempt: Attempt) -> None:
        same = "as recorded" if attempt.same else "not as recorded"
        display.keep(f"replay {attempt.number}: {attempt.outcome}, {same}")

    with display:
        return replay_real(recorded, times, store, display, begin=begin, watch=watch)


def _why_not_the_same(result: ReplayResult) -> str:
    if result.same_until_s is not None:
        return "the recorded run ended before"
    return "it is another run" if result.identical is False else "the folder was changed"


def show(result: ReplayResult, console: Console) -> None:
    """How the replays ended, and whether as the recorded run did."""
    recorded = result.recorded
    if result.identical:
        what = "history" if recorded.changes else "run"
        console.print(f"the same {what}, byte for byte", style="green")
    elif result.same_until_s is not None:
        console.print(
            f"the recorded run was interrupted at {result.same_until_s:.2f} s; until then the "
            "replay is the same, and it continues beyond that point",
            style="green",
            soft_wrap=True,
        )
    elif result.identical is False:
        console.print(Text(f"not the same: {result.difference}", style="yellow"), soft_wrap=True)
        console.print("the code has changed since it was recorded, or the folder was edited")
    else:
        console.print(
            f"{result.reproduced} of {len(result.attempts)} ended as recorded ({recorded.outcome})"
        )
    for change in recorded.changes[:CHANGES_MAX]:
        console.print(Text(f"the folder: {printable(change)}", style="yellow"), soft_wrap=True)
    if len(recorded.changes) > CHANGES_MAX:
        console.print(f"and {len(recorded.changes) - CHANGES_MAX} more of its files")
    for problem in recorded.judgement.problems:
        if problem not in recorded.changes:
            console.print(Text(f"note: {printable(problem)}"), soft_wrap=True)
    for attempt in result.attempts:
        if attempt.same and attempt.outcome != "valid":
            console.print(Text(attempt.sentence.rstrip()), soft_wrap=True)
            if attempt.folder is not None:
                console.print(f"folder   {attempt.folder}", markup=False, soft_wrap=True)
            break
    if result.outcome != result.worst:
        console.print(f"the replay itself is {result.worst}, but {_why_not_the_same(result)}")
    console.print(Text(result.outcome, style=STYLES[result.outcome]))
