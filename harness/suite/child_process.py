"""Runs a job in a child process, so that a failing container run cannot affect other jobs.

    python -m harness.suite.child_process     reads a job from its input, prints the result

The child ends when its parent has ended for whatever reason, and removes its containers. The job is
run again when the night is resumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from harness.suite.jobs import Job, JobResult, failed
from harness.suite.run_job import run_job

OVERHEAD_S: Final = 300.0
"""How long a container run may take besides the chaos phase: start, final round, checking."""
GRACE_S: Final = 120.0
"""How long an interrupted run may take to remove its containers before it is killed."""
FAILURE_TIMEOUTS: Final = 50
"""How many election timeouts one leader failure may take, with what precedes and follows it."""
LOOK_EVERY_S: Final = 1.0


def run_in_child(job: Job, store: Path, within_s: float | None = None) -> JobResult:
    """Run a job in a child process, for at most `within_s` seconds (by default the limit for its
    length). After that it is interrupted, so that it removes its containers, and finally killed, in
    which case the reaper removes them."""
    started = time.monotonic()
    allowed_s, is_late = within_s or limit_s(job), False
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.suite.child_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is handled by the suite
    )
    question = json.dumps({"job": job.to_json(), "store": str(store)})
    try:
        out, err = process.communicate(question, timeout=allowed_s)
    except subprocess.TimeoutExpired:
        is_late = True
        process.terminate()
        try:
            out, err = process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    lines = out.strip().splitlines()
    try:
        return JobResult.from_json(json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError, KeyError):
        words = err.strip().splitlines()[-1:] or [f"its process ended with {process.returncode}"]
        told = f"the run's process gave no result: {words[0]}"
        if is_late:
            told = f"the run took longer than {allowed_s:g} s, and was interrupted"
        return failed(job, told, time.monotonic() - started)


def limit_s(job: Job) -> float:
    """The time limit of a container run, or of a failover measurement, in seconds."""
    if job.failure is not None:
        plan = job.failover()
        blocks = sum(1 for _ in plan.blocks())
        return blocks * OVERHEAD_S + plan.count * FAILURE_TIMEOUTS * plan.election_us / 1e6
    return float(job.fixed.get("time_us", 30_000_000)) / 1e6 + OVERHEAD_S


def _end_with(parent: int) -> None:
    """Interrupt this process once its parent has ended."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    question = json.load(sys.stdin)
    result = run_job(Job.from_json(question["job"]), Path(question["store"]))
    print(json.dumps(result.to_json()))


if __name__ == "__main__":
    main()
