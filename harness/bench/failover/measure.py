"""Leader failover: the runs of a plan, and what was measured.

Each block is a run of its own: a fresh cluster, a warm-up that is not counted, some failures or a
period without failures, and a recorded history that is judged like any other. Figures of a target
whose history is not valid are not meaningful: its verdict is shown above the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from faults.schedule import Schedule
from harness.bench.failover.burners import busy
from harness.bench.failover.plan import HEALTHY, Block, FailoverPlan
from harness.bench.failover.probe import Probe, ProbeConfig, Sample
from harness.bench.failover.result import Cell, FailoverResult, Healthy, Observation
from harness.bench.failover.windows import (
    NodeEvent,
    elections_in,
    node_events,
    phases_of,
    rate_back_us,
    windows_of,
)
from harness.report.node_logs import node_logs
from harness.run.observer import Observer
from harness.run.record import FolderRecord
from harness.run.run_sequence import carry_out, open_runtime
from histories.folder import RunFolder


def measure(
    plan: FailoverPlan,
    store: Path,
    observer: Observer,
    *,
    begin: Callable[[Cell], None] = lambda _: None,
    watch: Callable[[Cell], None] = lambda _: None,
) -> FailoverResult:
    """Run the plan; run folders go under `store`. `begin` is called before every block, `watch`
    after it."""
    result = FailoverResult(plan=plan)
    try:
        for block in plan.blocks():
            cell = result.cell(block)
            begin(cell)
            interrupted = _run_block(plan.at(block.point), cell, block, store, observer)
            watch(cell)
            if interrupted:
                result.interrupted = True
                break
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _run_block(
    plan: FailoverPlan, cell: Cell, block: Block, store: Path, observer: Observer
) -> bool:
    """One block; whether it was interrupted."""
    config = plan.config(block.target, block.failure, block.number)
    probing = plan.probe(config, block)
    record = FolderRecord(store, option="--out")
    runtime = open_runtime(config, record.run_id, observer.say)
    schedule = Schedule(
        seed=config.seed, duration_us=1, faults=(), nodes=config.cluster.voter_ids()
    )

    def drive() -> Probe:
        probe = Probe(probing, record.event)
        observer.follow(lambda: f"{len(probe.failures)} of {block.count} failures")
        with busy(plan.busy) if block.failure == HEALTHY else nullcontext():
            runtime.drive(probe)
        return probe

    probe = carry_out(config, schedule, runtime, record, observer, drive)
    observer.say("judging the history")
    verdict = record.judge()
    cell.verdicts.append(verdict.outcome)
    cell.reasons += verdict.reasons
    cell.folders.append(str(record.folder.path))
    cell.latencies_us += [s.end_us - s.intended_us for s in probe.samples if s.ok]
    events = events_of(record.folder, config.cluster.node_ids())
    if not probe.is_interrupted and (problem := not_measured(probe, block)):
        cell.notes.append(problem)
    if probe.measurements.healthy is not None:
        cell.healthy.append(_healthy(probe, probe.measurements.healthy, probing, events, plan.busy))
    _observe(cell, probe, probing, events)
    return probe.is_interrupted


def not_measured(probe: Probe, block: Block) -> str:
    """What a block does not show because the cluster was not served steadily before; "" where it
    shows all."""
    done = len(probe.failures)
    if block.failure == HEALTHY and probe.measurements.healthy is None:
        return f"block {block.number + 1} is not counted: the cluster was never served steadily"
    if done < block.count:
        few = f"{done} of {block.count} failures"
        return f"block {block.number + 1} has {few}: the cluster was not served steadily"
    return ""


def _healthy(
    probe: Probe,
    period: tuple[int, int],
    config: ProbeConfig,
    events: Sequence[NodeEvent],
    busy: int,
) -> Healthy:
    start_us, end_us = period
    samples = _between(probe.samples, start_us, end_us - config.in_time_us)
    late = [s for s in samples if not s.ok or s.end_us - s.intended_us > config.in_time_us]
    candidacies, elections = elections_in(events, start_us, end_us)
    return Healthy(
        us=end_us - start_us,
        candidacies=candidacies,
        elections=elections,
        operations=len(samples),
        late=len(late),
        busy=busy,
    )


def _observe(cell: Cell, probe: Probe, config: ProbeConfig, events: Sequence[NodeEvent]) -> None:
    """Windows and phases of a block's failures, without those that were interrupted."""
    samples = sorted(probe.samples, key=lambda s: s.intended_us)
    last_us = max((s.end_us for s in samples), default=0)
    bounds = [*(failure.asked_us for failure in probe.failures), last_us]
    for failure, (_, next_us) in zip(probe.failures, pairwise(bounds), strict=True):
        if failure.ended_us is None:
            continue
        start_us = failure.applied_us or failure.asked_us
        first_us = start_us - config.operation_timeout_us
        near = _between(samples, first_us, failure.ended_us)
        windows = windows_of(failure, near, config.in_time_us, failure.ended_us)
        blocked_us = None
        if not failure.recovered:
            later = _between(samples, first_us, next_us)
            all_windows = windows_of(failure, later, config.in_time_us, next_us).values()
            known = [us for us in all_windows if us is not None]
            blocked_us = max(known) if len(known) == len(all_windows) else None
        cell.observations.append(
            Observation(
                number=failure.number,
                leader=failure.leader,
                applied_us=failure.applied_us,
                recovered=failure.recovered,
                problem=failure.problem,
                windows=windows,
                phases=phases_of(
                    failure,
                    events,
                    windows["write/leader"],
                    rate_back_us(failure, near, config.interval_us),
                ),
                indefinite=sum(s.indefinite for s in near),
                blocked_us=blocked_us,
            )
        )


def _between(samples: Sequence[Sample], start_us: int, end_us: int) -> list[Sample]:
    return [s for s in samples if start_us <= s.intended_us <= end_us]


def events_of(folder: RunFolder, nodes: Sequence[int]) -> list[NodeEvent]:
    """Elections and decisions from the nodes' logs of a run, on the history's clock."""
    logs = node_logs(folder, [])
    lines = [(at_us, node, event) for at_us, node, event, _ in logs.lines]
    decided = {
        node: [
            (line["time"] - logs.zero_ns) // 1000
            for line in _lines(folder.node_decided(node))
            if isinstance(line.get("time"), int)
        ]
        for node in nodes
    }
    return node_events(lines, decided)


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
