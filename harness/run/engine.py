"""One run from its configuration to its verdict, and the folder that holds all of it.

    plan the schedule -> write run.json and schedule.json -> open the runtime
    -> drive the conductor, recording every event -> collect the nodes' files
    -> close the runtime -> judge

Whatever happens, the runtime is closed; whatever was recorded, is judged.
"""

from __future__ import annotations

import json
import platform
import secrets
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from faults.description import BadFault
from faults.planner import Schedule, plan
from harness import __version__
from harness.errors import HarnessError, UsageError
from harness.run.conductor import Conductor, Stats
from harness.run.config import RunConfig
from harness.run.observer import Observer
from harness.run.online_check import online_check_for, stop_at_violation
from harness.run.verdict import RunVerdict, judge_folder
from harness.runtimes.docker.runtime import DockerRuntime
from harness.runtimes.interface import Runtime
from harness.search.swarm import messages_of
from harness.workloads import WORKLOADS
from histories.errors import HistoryError
from histories.events import Event
from histories.folder import RunFolder
from histories.recorder import HistoryWriter


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

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
            "protocol": self.config.protocol,
            "mutant": self.config.mutant,
            "on": self.config.on,
            "operations": self.stats.outcomes | {"shed": self.stats.shed},
            "faults": self.verdict.faults,
            "availability": self.verdict.availability.to_json(),
            "detectors": self.verdict.detectors(),
            "reasons": self.verdict.reasons,
            "seconds": round(self.seconds, 3),
            "again": again(self.config),
        }


def schedule_for(config: RunConfig) -> Schedule:
    """The schedule that this configuration's seed draws. Raises UsageError."""
    try:
        return plan(
            config.faults,
            config.seed,
            config.time_us,
            config.voter_ids(),
            allow_all=config.allow_all,
            gap_us=config.fault_gap_us,
            shapes=config.shapes,
            messages=messages_of(config.protocol) if config.on == "sim" else (),
        )
    except BadFault as error:
        raise UsageError(str(error)) from None


def open_runtime(config: RunConfig, run_id: str, say: Callable[[str], None]) -> Runtime:
    """The runtime that the configuration names, not yet opened."""
    if config.on == "sim":
        from harness.runtimes.sim.runtime import SimRuntime  # noqa: PLC0415

        return SimRuntime(config)
    return DockerRuntime(config, run_id, say)


def execute(
    config: RunConfig, store: Path, observer: Observer, *, schedule: Schedule | None = None
) -> RunResult:
    """Run once. Raises HarnessError when the harness could not do its work, KeyboardInterrupt when
    it was stopped before the cluster was up; nothing is left running then."""
    started = time.monotonic()
    run_id = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"
    schedule = schedule or schedule_for(config)
    runtime = open_runtime(config, run_id, observer.say)
    try:
        folder = _folder(store, f"{run_id[:15]}-{config.protocol}-seed{config.seed}")
        folder.write_json("schedule.json", schedule.to_json())
        _write_run(folder, config, run_id, {})
        runtime.open()
        _write_run(folder, config, run_id, runtime.versions())
        conductor = _drive(config, schedule, runtime, folder, observer)
        observer.say("collecting the nodes' logs")
        runtime.collect(folder.nodes)
    finally:
        observer.stop()
        runtime.close()
    observer.say("judging the history")
    verdict = judge_folder(folder, time_limit_s=config.check_limit_s)
    folder.write_json("verdict.json", verdict.to_json())
    return RunResult(config, folder, conductor.stats, verdict, time.monotonic() - started)


def again(config: RunConfig) -> str:
    """The command that runs this configuration again."""
    default = RunConfig(protocol=config.protocol)
    words = ["antipaxos", "run", config.protocol, "--seed", str(config.seed)]
    words += ["--faults", ",".join(config.faults) or "none", "--time", f"{config.time_us / 1e6:g}s"]
    for option in (
        "nodes",
        "learners",
        "workload",
        "concurrency",
        "rate",
        "keys",
        "on",
        "transport",
        "mutant",
    ):
        value = getattr(config, option)
        if value != getattr(default, option):
            words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    for flag in ("allow_all", "stop_at_first"):
        if getattr(config, flag):
            words.append(f"--{flag.replace('_', '-')}")
    if config.shapes != default.shapes:
        words += ["--shapes", ",".join(config.shapes)]
    if config.attempt_timeout_us != default.attempt_timeout_us:
        words += ["--attempt-timeout", f"{config.attempt_timeout_us}us"]
    if config.fault_gap_us is not None:
        words += ["--fault-gap", f"{config.fault_gap_us / 1e6:g}s"]
    for name, value in sorted(config.cluster.items()):
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _folder(store: Path, name: str) -> RunFolder:
    try:
        return RunFolder.create(store, name)
    except HistoryError as error:
        raise HarnessError(
            str(error), remedy="choose a folder that can be written: --store"
        ) from None


def _write_run(folder: RunFolder, config: RunConfig, run_id: str, versions: dict[str, str]) -> None:
    folder.write_run(
        {
            "id": run_id,
            "seed": config.seed,
            "model": WORKLOADS[config.workload].model,
            "config": config.to_json(),
            "versions": {
                "antipaxos": __version__,
                "python": platform.python_version(),
                "docker-py": metadata.version("docker"),
            }
            | versions,
        }
    )


def _drive(
    config: RunConfig,
    schedule: Schedule,
    runtime: Runtime,
    folder: RunFolder,
    observer: Observer,
) -> Conductor:
    workload = WORKLOADS[config.workload](config.seed, config.keys, config.key_skew)
    online_check = online_check_for(config, wanted=observer.wants_progress)
    with HistoryWriter(folder.history) as writer, ExitStack() as stack:
        if online_check is not None:
            stack.callback(online_check.close)

        def record(event: Event) -> None:
            try:
                writer.append(event)
            except OSError as error:
                raise HarnessError(
                    f"the history cannot be written: {error}",
                    remedy=f"free the disk of {folder.path}; what was written can be judged",
                ) from error
            if online_check is not None:
                online_check.feed(event)

        conductor = Conductor(config, schedule, workload, record)
        stop_at_violation(online_check, conductor)
        observer.watch(conductor, runtime, online_check)
        runtime.drive(conductor)
    return conductor
