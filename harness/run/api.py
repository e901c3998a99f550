"""`antipaxos.run`: one run, started by a program, with the options of the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.run.config import RunConfig
from harness.run.run_sequence import RunResult, execute
from harness.targets import settings_of


def run(target: str, *, store: str | os.PathLike[str] = "runs", **options: Any) -> RunResult:
    """Run `target` once, into a folder under `store`; the result has the verdict.

    `options` are fields of RunConfig and its parts by their own names, such as `nodes=3`,
    `faults=("kill", "partition")`, `time_us=10_000_000`, `rate=100.0`, `seed=7`, `on="sim"`,
    `settings={"reads": "quorum"}`. Raises UsageError for invalid options, and HarnessError if the
    run failed in the harness; a verdict is never an exception.
    """
    settings = settings_of(target, options.pop("settings", {}))
    return execute(RunConfig.of(target=target, settings=settings, **options), Path(store))
