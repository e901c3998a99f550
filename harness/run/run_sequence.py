"""One run from its configuration to its verdict: the sequence that every command uses.

    plan the schedule -> begin the record (run.json, schedule.json) -> open the runtime
    -> drive the conductor, recording every event -> collect the nodes' files
    -> close the runtime -> judge

`perform` is this sequence up to the verdict; `execute` adds a folder and the verdict, and
`harness.run.simulation` does it in memory. The runtime is always closed, and whatever was recorded
can be judged.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from faults.description import BadFault
from faults.planner import Schedule, plan
from faults.schedule_file import ScheduleContext, read_schedule
from harness.errors import UsageError
from harness.run.conductor import Conductor, Stats
from harness.run.config import RunConfig
from harness.run.feasible import check_feasible, prepared_for
from harness.run.interrupts import Interrupts
from harness.run.observer import Observer
from harness.run.online_check import online_check_for, stop_at_violation
from harness.run.record import FolderRecord, Record
from harness.run.verdict import RunVerdict
from harness.runtimes.interface import Runtime
from harness.workloads import WORKLOADS
from histories.errors import in_words
from histories.events import Event
from histories.folder import RunFolder

D = TypeVar("D")


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    config: RunConfig
    folder: RunFolder
    stats: Stats
    verdict: RunVerdict
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The one JSON object of `--json`."""
        return {
            "verdict": self.verdict.outcome,
            "folder": str(self.folder.path),
            "seed": self.config.seed,
            "target": self.config.target,
            "mutant": self.config.cluster.mutant,
            "on": self.config.on,
            "operations": self.stats.outcomes | {"shed": self.stats.shed},
            "faults": self.verdict.faults,
            "availability": self.verdict.availability.to_json(),
            "detectors": self.verdict.detectors(),
            "reasons": self.verdict.reasons,
            "seconds": round(self.seconds, 3),
            "again": again(self.config, store=self.folder.path.parent),
        }


def schedule_for(config: RunConfig) -> Schedule:
    """The schedule that this configuration's seed draws. Raises UsageError, also where faults are
    asked for and none fits: a pass would not be earned."""
    faults = config.faults
    try:
        schedule = plan(
            faults.kinds,
            config.seed,
            config.time_us,
            config.cluster.voter_ids(),
            allow_all=faults.allow_all,
            gap_us=faults.fault_gap_us,
            shapes=faults.shapes,
            messages=config.system.capabilities.messages,
            runtime=config.on,
        )
    except BadFault as error:
        raise UsageError(str(error)) from None
    if faults.kinds and not schedule.faults:
        raise UsageError(
            f"no fault of the kinds {', '.join(faults.kinds)} fits into {duration(config.time_us)}",
            remedy="give more --time, or --faults none",
        )
    return schedule


def with_schedule(config: RunConfig, path: Path) -> tuple[RunConfig, Schedule]:
    """A hand-written schedule, and the configuration adapted to it: its duration, and its kinds of
    faults. Raises UsageError."""
    context = ScheduleContext(
        voters=config.cluster.voter_ids(),
        messages=tuple(config.system.capabilities.messages),
        runtime=config.on,
    )
    try:
        schedule = read_schedule(
            path,
            config.cluster.node_ids(),
            config.seed,
            duration_us=config.time_us,
            context=context,
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {in_words(error)}") from None
    except BadFault as error:
        raise UsageError(str(error)) from None
    kinds = tuple(dict.fromkeys([*schedule.kinds(), *prepared_for(schedule.faults)]))
    config = config.changed(time_us=schedule.duration_us, faults=kinds, schedule_file=str(path))
    return config, schedule


def open_runtime(config: RunConfig, run_id: str, say: Callable[[str], None]) -> Runtime:
    """The runtime that the configuration names, not yet opened."""
    if config.on == "sim":
        from harness.runtimes.sim.runtime import SimRuntime  # noqa: PLC0415

        return SimRuntime(config)
    from harness.runtimes.docker.runtime import DockerRuntime  # noqa: PLC0415

    return DockerRuntime(config, run_id, say)


def execute(
    config: RunConfig,
    store: Path,
    observer: Observer | None = None,
    *,
    schedule: Schedule | None = None,
    record: FolderRecord | None = None,
) -> RunResult:
    """Run once, into a folder under `store`, and judge it.

    Raises HarnessError if the harness failed, and KeyboardInterrupt if it was stopped before the
    cluster was ready, or at once; nothing is left running then.
    """
    started = time.monotonic()
    observer = observer or Observer()
    record = record or FolderRecord(store)
    runtime = open_runtime(config, record.run_id, observer.say)
    try:
        conductor = perform(config, schedule or schedule_for(config), runtime, record, observer)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(record.how_to_judge()) from None
    observer.say("judging the history")
    verdict = record.judge()
    seconds = time.monotonic() - started
    return RunResult(config, record.folder, conductor.stats, verdict, seconds)


def perform(
    config: RunConfig,
    schedule: Schedule,
    runtime: Runtime,
    record: Record,
    observer: Observer,
    *,
    close: bool = True,
) -> Conductor:
    """The sequence at the top of this file, up to the verdict, with a conductor."""

    def drive() -> Conductor:
        return _drive(config, schedule, runtime, record, observer)

    return carry_out(config, schedule, runtime, record, observer, drive, close=close)


def carry_out(
    config: RunConfig,
    schedule: Schedule,
    runtime: Runtime,
    record: Record,
    observer: Observer,
    drive: Callable[[], D],
    *,
    close: bool = True,
) -> D:
    """The same with another `Driven`, which `drive` creates and this returns. With `close` false
    the caller closes the runtime, unless this raises. Raises UsageError, before anything is
    started, for a fault that is not possible in this run."""
    check_feasible(config, schedule)
    done = False
    with Interrupts(active=close) as interrupts:
        try:
            record.begin(config, schedule)
            runtime.open()
            record.opened(runtime.versions())
            with interrupts.forwarded_to(runtime.interrupt):
                driven = drive()
            with interrupts.shielded():
                observer.stop()
                observer.say("collecting the nodes' logs")
                record.collect(runtime)
            done = True
        finally:
            with interrupts.shielded():
                observer.stop()
                try:
                    record.close()
                finally:
                    if close or not done:
                        observer.say("removing what was started")
                        runtime.close()
    return driven


def _drive(
    config: RunConfig, schedule: Schedule, runtime: Runtime, record: Record, observer: Observer
) -> Conductor:
    traffic = config.traffic
    workload = WORKLOADS[traffic.workload](config.seed, traffic.keys, traffic.key_skew)
    online_check = online_check_for(config, wanted=observer.wants_progress)
    with ExitStack() as stack:
        write = record.event
        if online_check is not None:
            stack.callback(online_check.close)
            write = _both(record.event, online_check.feed)
        conductor = Conductor(config, schedule, workload, write)
        stop_at_violation(online_check, conductor)
        observer.watch(conductor, runtime, online_check)
        runtime.drive(conductor)
    return conductor


def _both(first: Callable[[Event], None], second: Callable[[Event], None]) -> Callable[..., None]:
    def record(event: Event) -> None:
        first(event)
        second(event)

    return record


_AGAIN = (
    "nodes",
    "learners",
    "workload",
    "concurrency",
    "rate",
    "keys",
    "on",
    "transport",
    "mutant",
)
"""Options of `antipaxos run` that have the names of fields."""


def duration(us: int) -> str:
    """As options take it: exact, and in seconds where that is short."""
    return f"{us // 1_000_000}s" if us % 1_000_000 == 0 else f"{us}us"


def again(config: RunConfig, *, store: Path | None = None) -> str:
    """The command that runs this configuration again."""
    default = RunConfig.of(target=config.target)
    words = ["antipaxos", "run", config.target, "--seed", str(config.seed)]
    if config.faults.schedule_file:
        words += ["--schedule", config.faults.schedule_file]
    else:
        words += ["--faults", ",".join(config.faults.kinds) or "none"]
    words += ["--time", duration(config.time_us)]
    for option in _AGAIN:
        value = config.option(option)
        if value != default.option(option):
            words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    for flag in ("allow_all", "stop_at_first"):
        if config.option(flag):
            words.append(f"--{flag.replace('_', '-')}")
    if config.faults.shapes != default.faults.shapes:
        words += ["--shapes", ",".join(config.faults.shapes)]
    if config.traffic.attempt_timeout_us != default.traffic.attempt_timeout_us:
        words += ["--attempt-timeout", f"{config.traffic.attempt_timeout_us}us"]
    if config.faults.fault_gap_us is not None:
        words += ["--fault-gap", duration(config.faults.fault_gap_us)]
    for name, value in sorted(config.cluster.settings.items()):
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if store is not None:
        words += ["--store", str(store)]
    return shlex.join(words)
