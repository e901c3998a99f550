"""Copying what the nodes left out of their containers, at the end of a run.

n1.log.jsonl, n1.agent.log    what the node and its agent have printed
n1.status.json                what the node said of itself last
n1.decided.jsonl, ...         the target's artifacts
clock.json                    what the run's clocks showed when it began

A file that is not there is left out: whoever judges the run notices.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from harness.runtimes.docker.pods import Pod, PodEngine
from harness.targets.interface import NodeStatus


async def collect(
    folder: Path,
    engine: PodEngine,
    pods: Mapping[int, Pod],
    statuses: Mapping[int, NodeStatus | None],
    artifacts: Mapping[str, str],
    zero_ns: int,
) -> None:
    """Everything of a run whose CLOCK_MONOTONIC was `zero_ns` when it began."""
    folder.mkdir(parents=True, exist_ok=True)
    wall_ns = time.time_ns() - (time.monotonic_ns() - zero_ns)
    clock = {"zero_ns": zero_ns, "zero_wall_ns": wall_ns}
    (folder / "clock.json").write_text(json.dumps(clock) + "\n")
    for node, status in statuses.items():
        raw = None if status is None else dict(status.raw)
        text = json.dumps(raw, indent=1, default=str) + "\n"
        (folder / f"n{node}.status.json").write_text(text, encoding="utf-8")
    await asyncio.gather(*(_of_node(folder, engine, pod, artifacts) for pod in pods.values()))


async def _of_node(folder: Path, engine: PodEngine, pod: Pod, artifacts: Mapping[str, str]) -> None:
    wanted: dict[str, Callable[[Path], bool]] = {
        "log.jsonl": partial(engine.copy_logs, pod.node_id),
        "agent.log": partial(engine.copy_logs, pod.agent_id, stdout=False),
    }
    for path, suffix in artifacts.items():
        wanted[suffix] = partial(engine.copy_file, pod.node_id, path)
    for suffix, fetch in wanted.items():
        await asyncio.to_thread(fetch, folder / f"n{pod.node}.{suffix}")
