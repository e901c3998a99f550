"""`antipaxos shrink`: a failing run, made small and explained."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

import click
from rich.console import Console

from harness.cli.display import Ticker
from harness.cli.files import require_writable
from harness.cli.options import Seconds, command
from harness.cli.output import SafeConsole, say
from harness.cli.summary import add_reports
from harness.errors import UsageError
from harness.reproduce.replay import Attempt, Recorded, load, replay_timings
from harness.reproduce.shrink import Candidate, DoesNotFail, ShrinkResult, Size, shrink
from harness.reproduce.story import tell
from harness.run.simulation import judge_fully, simulate, write_folder
from histories.text import printable

STORY = "story.txt"
TIMINGS = 50
TIMINGS_SHARE = 0.5
"""So much of the limit may go into the search for a simulated timing of a run from Docker."""


@command(name="shrink")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--limit",
    "limit_s",
    type=Seconds(0.1, 7 * 24 * 3600),
    default=60.0,
    show_default=True,
    help="Time limit.",
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
    """Reduce the failing run in FOLDER to few faults, few operations and simple timing.

    Works in the simulator. A run from Docker is first moved there, if some timing of the network
    makes it fail in the same way. The result is a new run folder, with a story: a table of the
    remaining messages, faults and operations.

    Exit codes: 1 (the smallest run fails, as expected), others if there is nothing to shrink.
    """
    require_writable(store, "--store")
    errors = SafeConsole(stderr=True, highlight=False)
    started = time.monotonic()
    with Ticker(errors, "shrinking", live=not as_json) as ticker:
        recorded = load(folder)
        for remark in dict.fromkeys([*recorded.changes, *recorded.judgement.problems]):
            ticker.print(f"note: {printable(remark)}")
        start = _starting_point(recorded, started + limit_s * TIMINGS_SHARE, ticker)
        try:
            result = _shrink(start, limit_s - (time.monotonic() - started), ticker)
        except DoesNotFail as error:
            raise _with_remedy(error, recorded.folder.path) from None
        ticker.text = "writing the smallest run"
        run = simulate(*result.smallest, traced=True)
        judge_fully(run)
        written = write_folder(run, store, f"shrunk-{recorded.folder.path.resolve().name}")
        story = tell(written.path).text()
        (written.path / STORY).write_text(story, encoding="utf-8")
        add_reports([written.path], errors)
    if as_json:
        say(
            json.dumps(
                result.to_json()
                | {"verdict": run.outcome, "folder": str(written.path), "sentence": run.sentence}
            )
        )
    else:
        _show(result, story, written.path, SafeConsole(highlight=False))
    return 1


def _shrink(start: Candidate, limit_s: float, ticker: Ticker) -> ShrinkResult:
    best = [""]

    def watch(what: str, size: Size) -> None:
        if size.describe() != best[0]:
            best[0] = size.describe()
            ticker.print(f"{what:<11} {best[0]}")

    def tell_tried(number: int) -> None:
        smallest = f"; smallest so far: {best[0]}" if best[0] else ""
        ticker.text = f"run {number}{smallest}"

    return shrink(start.config, start.schedule, limit_s=limit_s, watch=watch, tell=tell_tried)


def _with_remedy(error: DoesNotFail, folder: Path) -> UsageError:
    path = shlex.quote(str(folder))
    look = f"look for a timing in which it does: antipaxos replay {path} --on sim --times {TIMINGS}"
    return UsageError(error.message, remedy=look)


def _starting_point(recorded: Recorded, until_s: float, ticker: Ticker) -> Candidate:
    """The recorded run, or for one from Docker a timing of the simulator that fails alike, if one
    is found before `until_s` (a moment of time.monotonic())."""
    if recorded.outcome == "valid":
        raise UsageError(f"{recorded.folder.path} did not fail: there is nothing to shrink")
    if recorded.config.on == "sim":
        return Candidate(recorded.config, recorded.schedule)
    if not recorded.config.system.capabilities.simulated:
        raise UsageError(
            f"{recorded.config.target} cannot be simulated, and runs are shrunk in the simulator",
            remedy="run it again with fewer faults or less --time, and the same --seed",
        )
    ticker.text = f"looking for a simulated timing that fails alike: 1 of {TIMINGS}"

    def watch(attempt: Attempt) -> None:
        number = attempt.number + 1
        ticker.text = f"looking for a simulated timing that fails alike: {number} of {TIMINGS}"

    def fails(attempt: Attempt) -> bool:
        return attempt.same and attempt.outcome == "invalid"

    timings = replay_timings(recorded, TIMINGS, watch=watch, enough=fails, until_s=until_s)
    tried = timings.attempts
    if tried and fails(tried[-1]):
        ticker.print(f"timing {tried[-1].number} fails alike")
        config = recorded.config.changed(on="sim", world={"seed": tried[-1].world_seed})
        return Candidate(config, recorded.schedule)
    path = shlex.quote(str(recorded.folder.path))
    if len(tried) < TIMINGS:
        whole = f"{len(tried)} whole simulations" if tried else "not one whole simulation"
        raise UsageError(
            f"the limit is too short: {whole} of {path} fitted into it, and none failed as the "
            "run did",
            remedy="give it more: --limit SECONDS",
        )
    raise UsageError(
        f"none of {TIMINGS} simulated timings of {path} fails as the run did",
        remedy=f"look for one: antipaxos replay {path} --on sim --times 1000",
    )


def _show(result: ShrinkResult, story: str, path: Path, console: Console) -> None:
    console.print()
    console.print(story, markup=False, soft_wrap=True)
    console.print(f"before   {result.before.describe()}")
    console.print(f"after    {result.after.describe()}")
    complete = "" if result.complete else "; the time was up: there may be less"
    console.print(f"tried    {result.tried} runs in {result.seconds:.1f} s{complete}")
    quoted = shlex.quote(str(path))
    console.print(f"folder   {quoted}", markup=False, soft_wrap=True)
    console.print(f"replay   antipaxos replay {quoted}", markup=False, soft_wrap=True)
