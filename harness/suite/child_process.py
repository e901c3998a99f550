"""A job in a process of its own: one in containers that goes wrong takes nothing with it.

    python -m harness.suite.child_process     a job on its input, its result on its output

The process ends when the one that started it has ended, however that was: it then removes its
containers, and the same run may begin again when the night is resumed.
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
from harness.suite.work import run_job

OVERHEAD_S: Final = 300.0
"""Beyond the chaos, a run in containers may take this long: starting, the last round, judging."""
GRACE_S: Final = 120.0
"""How long a run that is interrupted has to remove its containers before it is killed."""
FAILURE_TIMEOUTS: Final = 50
"""One failure of a leader, and what is before and after it, may take so many election time-outs."""
LOOK_EVERY_S: Final = 1.0


def run_in_child(job: Job, store: Path, within_s: float | None = None) -> JobResult:
    """Run a job in a process of its own, for at most `within_s` seconds (by default what a run of
    its length may take); then it is interrupted (it removes its containers), and at last killed
    (the reaper does)."""
    started = time.monotonic()
    allowed_s, is_late = within_s or limit_s(job), False
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.suite.child_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is answered by the suite
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
    """How long a job in containers, or a measurement of failover, may take, in seconds."""
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
