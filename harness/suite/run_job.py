"""Runs one job of a suite in this process.

Simulated runs write a folder only if they fail. Container runs always write one, and are started in
child processes (`harness.suite.child_process`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from faults.description import FaultError
from harness.bench.failover.failures import failure_named
from harness.bench.failover.files import write_files
from harness.bench.failover.measure import measure
from harness.errors import EngineError, HarnessError, StartError
from harness.run.observer import Observer
from harness.run.recorded_faults import faults_of
from harness.run.run_sequence import execute
from harness.run.simulation import Symptom, simulate_and_judge, symptoms_of, write_folder
from harness.search.bounded import time_limit, without_collector
from harness.search.coverage import reached
from harness.suite.failovers import measured
from harness.suite.jobs import Job, JobResult, failed
from histories.errors import HistoryError
from histories.events import NEMESIS, Event

WAIT_S: Final = 5.0
"""Before the second try, and four times as long before the third: an engine may restart."""
TRIES: Final = 3
"""How often a job is tried if its cluster does not start. A finding is never retried."""


def run_job(job: Job, store: Path) -> JobResult:
    """Run a job. All errors become results, except KeyboardInterrupt."""
    started = time.monotonic()
    tries = 0
    try:
        retrying = Retrying(
            retry=retry_if_exception_type((EngineError, StartError)),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=WAIT_S, exp_base=4),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                tries += 1
                result = _run(job, store, started)
        return result
    except (HarnessError, FaultError, HistoryError, OSError) as error:
        return failed(job, str(error), time.monotonic() - started, tries)
    except Exception as error:  # a bug of the harness must not end the night
        words = f"{type(error).__name__}: {error}"
        return failed(job, words, time.monotonic() - started, tries)


def _run(job: Job, store: Path, started: float) -> JobResult:
    if job.failure is not None:
        return _failover(job, store, started)
    if job.on != "sim":
        return _in_containers(job, store, started)
    return _block(job, store) if job.count > 1 else _simulated(job, store)


def _simulated(job: Job, store: Path, *, keep: bool = True) -> JobResult:
    started = time.monotonic()
    config, schedule = job.run()
    with without_collector(job.seed), time_limit():
        run = simulate_and_judge(config, schedule)
    folder = None
    if run.outcome != "valid" and keep:
        mutant = f"-{job.mutant}" if job.mutant else ""
        name = f"{job.target}{mutant}-seed{job.seed}"
        folder = str(write_folder(run, store, name).path)
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome=run.outcome,
        seconds=time.monotonic() - started,
        symptoms=tuple((s.detector, s.kind) for s in run.symptoms),
        sentence=run.sentence if run.outcome != "valid" else "",
        folder=folder,
        operations=sum(run.stats.outcomes.values()),
        faults=_injected(run.events),
        reached={name: n for name, n in reached(run.runtime.world).items() if n},
        simulated_s=run.simulated_us / 1e6,
    )


def _injected(events: Sequence[Event]) -> dict[str, int]:
    return _proven(faults_of([event for event in events if event.process == NEMESIS]))


def _proven(faults: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How often each kind of fault was injected, with evidence."""
    return dict(Counter(f["kind"] for f in faults if (f["inject"] or {}).get("verified")))


def _block(job: Job, store: Path) -> JobResult:
    """Run all seeds of a block. Of those that fail in the same way, the first writes a folder."""
    faults, states = Counter[str](), Counter[str]()
    failures: list[JobResult] = []
    valid = operations = 0
    seconds = simulated_s = 0.0
    for seed in range(job.seed, job.seed + job.count):
        single = job.single(seed)
        started = time.monotonic()
        try:
            result = _simulated(single, store, keep=False)
            if result.outcome != "valid" and all(f.symptoms != result.symptoms for f in failures):
                result = _simulated(single, store)
        except Exception as error:  # of one seed; the others continue
            words = f"{type(error).__name__}: {error}"
            result = failed(single, words, time.monotonic() - started)
        faults.update(result.faults)
        states.update(result.reached)
        seconds += result.seconds
        if result.outcome == "valid":
            valid += 1
            operations += result.operations
            simulated_s += result.simulated_s
        else:
            failures.append(result)
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome="valid",
        seconds=seconds - sum(f.seconds for f in failures),
        operations=operations,
        faults=dict(faults),
        reached=dict(states),
        simulated_s=simulated_s,
        runs=valid,
        block=job.count,
        failures=tuple(failures),
    )


def _in_containers(job: Job, store: Path, started: float) -> JobResult:
    config, schedule = job.run()
    result = execute(config, store, schedule=schedule)
    verdict = result.verdict
    symptoms = symptoms_of(verdict) if verdict.outcome != "valid" else ()
    if verdict.crashes:
        symptoms = (Symptom("crash", "a node ended by itself"), *symptoms)
    longest = verdict.availability.longest
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome=verdict.outcome,
        seconds=time.monotonic() - started,
        symptoms=tuple((s.detector, s.kind) for s in symptoms),
        sentence=verdict.reasons[0] if verdict.reasons else "",
        folder=str(result.folder.path),
        operations=sum(result.stats.outcomes.values()),
        faults=_proven(verdict.faults),
        unavailable_ms=0.0 if longest is None else longest.duration_ns / 1e6,
    )


def _failover(job: Job, store: Path, started: float) -> JobResult:
    """Measure failover. The folder is that of the measurement, or of its first failed run."""
    plan = job.failover()
    out = store / f"failover-{Path(job.target).stem}-{job.failure}"
    result = measure(plan, out / "runs", Observer())
    write_files(result, out)
    (cell,) = result.cells.values()
    failing = next((i for i, v in enumerate(cell.verdicts) if v != "valid"), None)
    symptoms = () if failing is None else (("failover", f"a history is {cell.outcome}"),)
    return JobResult(
        identity=job.identity,
        cell=job.cell,
        seed=job.seed,
        outcome=result.outcome,
        seconds=time.monotonic() - started,
        symptoms=symptoms,
        sentence=next(iter(cell.reasons), "") if failing is not None else "",
        folder=str(out) if failing is None else cell.folders[failing],
        faults={failure_named(plan.failures[0]).kind: len(cell.proven)},
        failover=measured(plan, cell, out),
    )
