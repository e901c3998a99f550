"""A complete simulated run in memory: a sweep executes several per second.

It uses the same configuration, schedule, conductor and detectors as any run, but writes nothing. A
run that fails is written afterwards, from memory, as the folder of an ordinary run, and can then be
checked, replayed and shrunk like any other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from faults.schedule import Schedule
from harness.run.conductor import Stats
from harness.run.config import RunConfig
from harness.run.expected import Expected
from harness.run.log_certificate import log_explains
from harness.run.observer import Observer
from harness.run.record import FolderRecord, MemoryRecord
from harness.run.run_sequence import perform
from harness.run.verdict import RunVerdict, combine
from harness.runtimes.sim.crashes import NodeCrash
from harness.runtimes.sim.runtime import SimRuntime
from harness.workloads import WORKLOADS
from histories.agreement import DecidedRecord, check_agreement
from histories.checker import check
from histories.events import Event
from histories.folder import RunFolder
from histories.formats.native import History
from histories.replica_states import StateDigest, compare


class Symptom(NamedTuple):
    """A failure in a form to group by: the detector, and the kind of its evidence."""

    detector: str
    kind: str

    def __str__(self) -> str:
        return f"{self.detector}: {self.kind}"


@dataclass
class SimulatedRun:
    """A run that has been simulated. `verdict` is None where the log certificate proved it
    valid."""

    config: RunConfig
    schedule: Schedule
    runtime: SimRuntime
    stats: Stats
    events: list[Event]
    arrivals: int = 0
    """How many operations arrived during the chaos, sent or not."""
    verdict: RunVerdict | None = None
    symptoms: tuple[Symptom, ...] = ()
    sentence: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def crashes(self) -> list[NodeCrash]:
        return self.runtime.crashes

    @property
    def outcome(self) -> str:
        """valid, invalid or unknown."""
        if self.crashes:
            return "invalid"
        return self.verdict.outcome if self.verdict else "valid"

    @property
    def simulated_us(self) -> int:
        return self.runtime.world.now_us


class TimeIsUp(Exception):
    """A simulation was abandoned at its deadline. `at_us`: the virtual time that it had reached."""

    def __init__(self, at_us: int) -> None:
        super().__init__(at_us)
        self.at_us = at_us


class _RecordUntil(MemoryRecord):
    """Gives the run up when an event comes after `until_s`, a moment of time.monotonic()."""

    def __init__(self, until_s: float) -> None:
        super().__init__()
        self._until_s = until_s
        self.event = self._in_time

    def _in_time(self, event: Event) -> None:
        if time.monotonic() > self._until_s:
            raise TimeIsUp(event.time // 1000)
        self.events.append(event)


def simulate_and_judge(
    config: RunConfig, schedule: Schedule, *, traced: bool = False, until_s: float | None = None
) -> SimulatedRun:
    """Simulate a run and judge it. Raises UnsupportedFault for a fault that cannot be simulated,
    and TimeIsUp."""
    run = simulate(config, schedule, traced=traced, until_s=until_s)
    judge(run)
    return run


def simulate(
    config: RunConfig, schedule: Schedule, *, traced: bool = False, until_s: float | None = None
) -> SimulatedRun:
    """Simulate a run without judging it. Raises TimeIsUp where the run is not over at `until_s`
    (a time of time.monotonic())."""
    runtime = SimRuntime(config, traced=traced)
    record = MemoryRecord() if until_s is None else _RecordUntil(until_s)
    conductor = perform(config, schedule, runtime, record, Observer(), close=False)
    arrivals = conductor.arrivals
    conductor.release()
    return SimulatedRun(config, schedule, runtime, conductor.stats, record.events, arrivals)


def judge(run: SimulatedRun) -> None:
    """Set the verdict and its symptoms. The detectors run only if the replicas' log is not a proof,
    or their states differ."""
    stats, runtime = run.stats, run.runtime
    clean = not (
        run.crashes or stats.not_live or stats.unverified or stats.interrupted or stats.why
    )
    if clean and stats.outcomes["ok"]:
        lives = {n: node.lives for n, node in runtime.world.nodes.items()}
        explained = log_explains(runtime.decided(), lives, run.events)
        if explained and not compare(states_of(runtime)).divergences:
            return
    judge_fully(run)


def judge_fully(run: SimulatedRun) -> None:
    """Run every detector, as for any run."""
    limit_s = run.config.check_limit_s
    model = WORKLOADS[run.config.traffic.workload].model
    run.verdict = combine(
        History(run.events),
        check(run.events, model=model, time_limit_s=limit_s),
        check_agreement(decided_with_lives(run.runtime), run.events, states=states_of(run.runtime)),
        [crash.describe() for crash in run.crashes],
        expected=Expected(model=model, keeps_faults=run.config.heal == "quorum"),
    )
    run.symptoms = symptoms_of(run.verdict, run.crashes)
    run.sentence = sentence_of(run)


def decided_with_lives(runtime: SimRuntime) -> dict[int, list[DecidedRecord]]:
    """What each node decided, each record marked with the node's life that it belongs to."""
    decided: dict[int, list[DecidedRecord]] = {}
    for n, node in runtime.world.nodes.items():
        records = decided[n] = []
        bounds = [*node.lives, len(node.decided)]
        for life, (start, end) in enumerate(itertools.pairwise(bounds), 1):
            records += [
                DecidedRecord(slot, tuple(ballot), tuple(_plain(c) for c in commands), life)
                for slot, ballot, commands in node.decided[start:end]
            ]
    return decided


def states_of(runtime: SimRuntime) -> dict[int, list[StateDigest]]:
    """The state digests of each node."""
    return {
        n: [StateDigest(slot, digest, life) for _, life, (slot, digest) in node.digests]
        for n, node in runtime.world.nodes.items()
    }


def _plain(command: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(v) if isinstance(v, list) else v for v in command)


def symptoms_of(verdict: RunVerdict, crashes: Sequence[NodeCrash] = ()) -> tuple[Symptom, ...]:
    """The failures, the most specific first: each detector that fired, and on what."""
    found = [Symptom("crash", f"{crash.error.split(':')[0]} in {crash.where}") for crash in crashes]
    if verdict.agreement is not None:
        found += [Symptom("agreement", finding.kind) for finding in verdict.agreement.findings]
    for partition in verdict.linearizability.partitions:
        if partition.outcome == "invalid":
            anomaly = partition.evidence.anomaly if partition.evidence else "no order"
            found.append(Symptom("linearizability", anomaly))
        elif partition.outcome == "unknown":
            found.append(Symptom("linearizability", "undecided"))
    if verdict.liveness.outcome == "invalid":
        found.append(Symptom("liveness", "no answer after healing"))
    if not found and verdict.outcome != "valid":
        found.append(Symptom("harness", verdict.reasons[0] if verdict.reasons else "unknown"))
    return tuple(dict.fromkeys(found))


def sentence_of(run: SimulatedRun) -> str:
    """The failure, in a sentence."""
    if run.crashes:
        return run.crashes[0].describe()
    if run.verdict is None or run.verdict.outcome == "valid":
        return "nothing went wrong"
    return run.verdict.reasons[0] if run.verdict.reasons else run.verdict.outcome


def write_folder(run: SimulatedRun, store: Path, name: str) -> RunFolder:
    """Write the folder of this run, as if it had been recorded during it. Raises HarnessError."""
    if run.verdict is None:
        judge_fully(run)
    record = FolderRecord(store, name=name, run_id=name)
    record.begin(run.config, run.schedule)
    record.opened(run.runtime.versions())
    for event in run.events:
        record.event(event)
    record.close()
    record.collect(run.runtime)
    assert run.verdict is not None
    record.write_verdict(run.verdict)
    folder: RunFolder = record.folder
    return folder
