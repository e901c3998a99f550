"""Replays a recorded run: the same operations, faults and times.

    simulated, in the simulator    bit for bit: the histories are compared line by line
    anything, on Docker            repeated N times; how often it fails in the same way
    from Docker, in the simulator  the same schedule under N timings of network and disks; how many
                                   of them fail in the same way

The folder has everything that is needed: the resolved configuration and the schedule. Planner and
swarm are not used, so changes in them do not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from faults.description import FaultError
from faults.schedule import Schedule, schedule_from_json
from harness.errors import HarnessError, UsageError
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.recorded_verdict import FolderVerdict, verdict_of
from harness.run.simulation import (
    SimulatedRun,
    Symptom,
    TimeIsUp,
    judge_fully,
    simulate,
    symptoms_of,
    write_folder,
)
from harness.run.verdict import RunVerdict, crashes_of
from histories.errors import HistoryError, in_words
from histories.events import NEMESIS
from histories.folder import RunFolder
from histories.formats.native import read
from histories.recorder import event_line


@dataclass(frozen=True)
class Recorded:
    """The configuration and schedule of a recorded run, and its verdict once that is needed."""

    folder: RunFolder
    config: RunConfig
    schedule: Schedule

    @cached_property
    def judgement(self) -> FolderVerdict:
        return verdict_of(self.folder)

    @property
    def verdict(self) -> dict[str, Any]:
        return self.judgement.document

    @property
    def outcome(self) -> str:
        return self.judgement.outcome

    @property
    def changes(self) -> tuple[str, ...]:
        """What in the folder is not as the run left it, in sentences."""
        return self.judgement.changes


class Attempt(NamedTuple):
    """One replay: how it ended, whether in the same way, and its folder, if kept."""

    number: int
    outcome: str
    same: bool
    sentence: str
    folder: Path | None
    world_seed: int = 0


@dataclass
class ReplayResult:
    """The result of replays. `identical`: the histories are the same byte for byte (simulated runs
    only); otherwise `difference` is the first line that differs. `same_until_s`: the recorded run
    was interrupted at this time, and up to there the histories are the same."""

    recorded: Recorded
    on: str
    attempts: list[Attempt] = field(default_factory=list)
    identical: bool | None = None
    difference: str | None = None
    same_until_s: float | None = None

    @property
    def reproduced(self) -> int:
        return sum(attempt.same for attempt in self.attempts)

    @property
    def outcome(self) -> str:
        """The worst outcome of the replays. A replay that is not the recorded run, or of a folder
        that was changed, proves nothing about that run: unknown, unless it is invalid itself."""
        found = self.worst
        is_other = self.identical is False or bool(self.recorded.changes)
        return "unknown" if found == "valid" and is_other else found

    @property
    def worst(self) -> str:
        """The worst outcome of the replays themselves."""
        outcomes = {attempt.outcome for attempt in self.attempts}
        return next((o for o in ("invalid", "unknown") if o in outcomes), "valid")

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.outcome,
            "recorded": self.recorded.outcome,
            "folder": str(self.recorded.folder.path),
            "on": self.on,
            "times": len(self.attempts),
            "reproduced": self.reproduced,
            "identical": self.identical,
            "difference": self.difference,
            "same_until_s": self.same_until_s,
            "changed": list(self.recorded.changes),
            "attempts": [
                {
                    "outcome": a.outcome,
                    "same": a.same,
                    "sentence": a.sentence,
                    "folder": str(a.folder) if a.folder else None,
                    "world_seed": a.world_seed,
                }
                for a in self.attempts
            ],
        }


def load(path: Path | str) -> Recorded:
    """Load the folder of a run. Raises UsageError if it is not one, was written by another version,
    or has invalid content."""
    try:
        folder = RunFolder.open(path)
        run = folder.read_object("run.json")
        config = RunConfig.from_json(run.get("config"))
        schedule = schedule_from_json(folder.read_json("schedule.json"))
    except HarnessError as error:
        raise UsageError(f"{path}: {error.message}", remedy=error.remedy) from None
    except HistoryError as error:  # names the file
        raise UsageError(str(error)) from None
    except FaultError as error:
        raise UsageError(f"{path}/schedule.json: {error}") from None
    return Recorded(folder, config, schedule)


def failing_detectors(verdict: dict[str, Any]) -> set[str]:
    """The detectors that fired according to a verdict.json."""
    detectors = verdict.get("detectors")
    if not isinstance(detectors, dict):
        return set()
    return {name for name, outcome in detectors.items() if outcome == "invalid"}


def fails_alike(recorded: Recorded, verdict: RunVerdict | None, crashed: bool) -> bool:
    """Whether a replay ended like the recorded run: the same detector fired, or none in both."""
    wanted = failing_detectors(recorded.verdict)
    now = verdict.detectors() if verdict is not None else {}
    objects = {name for name, outcome in now.items() if outcome == "invalid"}
    if crashes_of(recorded.folder):
        return crashed
    return bool(wanted & objects) if wanted else not objects and not crashed


# ------------------------------------------------------------------------------- in the simulator


def replay_simulated(recorded: Recorded, *, store: Path | None = None) -> ReplayResult:
    """Replay a simulated run, and compare the history byte for byte."""
    result = ReplayResult(recorded, "sim")
    run = simulate(recorded.config, recorded.schedule, traced=True)
    judge_fully(run)
    result.difference = first_difference(run, recorded.folder.history)
    result.identical = result.difference is None
    if result.difference is not None:
        result.same_until_s = _same_until_s(run, recorded.folder.history)
    result.attempts.append(_attempt(1, run, recorded, store))
    return result


def first_difference(run: SimulatedRun, history: Path) -> str | None:
    """The first line in which a replay differs from the recorded history; None if there is none."""
    try:
        recorded = history.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"{history} cannot be read: {in_words(error)}"
    lines = [event_line(event) for event in run.events]
    for number, (then, now) in enumerate(zip(recorded, lines, strict=False), 1):
        if then != now:
            return f"line {number}: recorded {then}, now {now}"
    if len(recorded) != len(lines):
        return f"recorded {len(recorded)} events, now {len(lines)}"
    return None


def _same_until_s(run: SimulatedRun, history: Path) -> float | None:
    """When the recorded run was interrupted, if the replay is the same until then; None if it was
    not interrupted, or the replay differs before."""
    try:
        recorded = read(history).events
    except HistoryError:
        return None
    told = (event for event in recorded if event.process == NEMESIS and event.f == "phase")
    phases = {str(event.value): event for event in told}
    end = phases.get("done")
    if end is None:  # killed: the history ends anywhere
        common = list(recorded)
    elif (end.extra or {}).get("interrupted") and "heal" in phases:
        common = list(itertools.takewhile(lambda event: event is not phases["heal"], recorded))
    else:
        return None
    lines = [event_line(event) for event in common]
    if not lines or lines != [event_line(event) for event in run.events[: len(lines)]]:
        return None
    return (common[-1] if end is None else phases["heal"]).time / 1e9


def replay_timings(
    recorded: Recorded,
    times: int,
    *,
    store: Path | None = None,
    watch: Callable[[Attempt], None] = lambda _: None,
    enough: Callable[[Attempt], bool] = lambda _: False,
    until_s: float | None = None,
) -> ReplayResult:
    """The schedule of any run in the simulator, under `times` different timings of its world, or
    fewer, when one of them is `enough`, or at `until_s` (a moment of time.monotonic())."""
    result = ReplayResult(recorded, "sim")
    for number in range(1, times + 1):
        world = dict(recorded.config.world) | {"seed": number}
        config = recorded.config.changed(on="sim", world=world)
        try:
            run = simulate(config, recorded.schedule, until_s=until_s)
        except TimeIsUp:
            break
        judge_fully(run)
        keep = store if result.reproduced == 0 else None
        attempt = _attempt(number, run, recorded, keep)
        result.attempts.append(attempt._replace(world_seed=number))
        watch(result.attempts[-1])
        if enough(result.attempts[-1]):
            break
    return result


def _attempt(number: int, run: SimulatedRun, recorded: Recorded, store: Path | None) -> Attempt:
    same = fails_alike(recorded, run.verdict, bool(run.crashes))
    folder = None
    if store is not None and same and run.outcome != "valid":
        if run.runtime.record is None:  # once more, with its messages
            run = simulate(run.config, run.schedule, traced=True)
            judge_fully(run)
        folder = write_folder(run, store, f"replay-{recorded.folder.path.resolve().name}").path
    return Attempt(number, run.outcome, same, run.sentence, folder)


# ------------------------------------------------------------------------------- on Docker


def replay_real(
    recorded: Recorded,
    times: int,
    store: Path,
    observer: Observer,
    *,
    begin: Callable[[int], None] = lambda _: None,
    watch: Callable[[Attempt], None] = lambda _: None,
) -> ReplayResult:
    """Replay any run in containers, `times` times. Raises UnsupportedFault for a fault that is not
    available in containers, HarnessError if the cluster does not start."""
    from harness.run.run_sequence import execute  # noqa: PLC0415 (needs the Docker client)

    result = ReplayResult(recorded, "docker")
    config = recorded.config.changed(on="docker", world={})
    for number in range(1, times + 1):
        begin(number)
        run = execute(config, store, observer, schedule=recorded.schedule)
        same = fails_alike(recorded, run.verdict, False)
        symptoms: tuple[Symptom, ...] = symptoms_of(run.verdict)
        sentence = run.verdict.reasons[0] if run.verdict.reasons else str(symptoms or "")
        result.attempts.append(
            Attempt(number, run.verdict.outcome, same, sentence, run.folder.path)
        )
        watch(result.attempts[-1])
    return result
