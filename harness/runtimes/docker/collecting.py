"""Copying what the nodes left out of their containers, at the end of a run.

n1.log.jsonl, n1.agent.log    what the node and its agent have printed
n1.status.json                what the node said of itself last
n1.decided.jsonl, ...         the target's artifacts
clock.json                    what the run's clocks showed when it began

All of it takes COLLECT_S at most. A file that a node does not have is left out; evaluation reports
its absence. What could not be copied is listed, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import docker

from harness.runtimes.docker.copying import NotCopied, copy_file, copy_logs
from harness.runtimes.docker.pods import Pod
from harness.targets.interface import NodeStatus

COLLECT_S: Final = 60.0
LEAST_S: Final = 0.5
"""For what is begun when the time is up."""


async def collect(
    folder: Path,
    api: docker.APIClient,
    pods: Mapping[int, Pod],
    statuses: Mapping[int, NodeStatus | None],
    artifacts: Mapping[str, str],
    zero_ns: int,
    *,
    limit_s: float = COLLECT_S,
) -> dict[str, str]:
    """Everything of a run whose CLOCK_MONOTONIC was `zero_ns` when it began. Returns the files that
    were not copied, by name, each with the reason. Raises OSError where `folder` cannot be
    written."""
    deadline = time.monotonic() + limit_s
    folder.mkdir(parents=True, exist_ok=True)
    wall_ns = time.time_ns() - (time.monotonic_ns() - zero_ns)
    clock = {"zero_ns": zero_ns, "zero_wall_ns": wall_ns}
    (folder / "clock.json").write_text(json.dumps(clock) + "\n")
    for node, status in statuses.items():
        raw = None if status is None else dict(status.raw)
        text = json.dumps(raw, indent=1, default=str) + "\n"
        (folder / f"n{node}.status.json").write_text(text, encoding="utf-8")
    wanted = {
        folder / f"n{node}.{suffix}": copy
        for node, pod in pods.items()
        for suffix, copy in _files_of(api, pod, artifacts).items()
    }
    jobs = (asyncio.to_thread(_copied, copy, path, deadline) for path, copy in wanted.items())
    problems = zip(wanted, await asyncio.gather(*jobs), strict=True)
    return {path.name: why for path, why in problems if why is not None}


def _files_of(
    api: docker.APIClient, pod: Pod, artifacts: Mapping[str, str]
) -> dict[str, Callable[..., None]]:
    """What copies each file of a node, by the ending of its name."""
    files: dict[str, Callable[..., None]] = {
        "log.jsonl": partial(copy_logs, api, pod.node_id),
        "agent.log": partial(copy_logs, api, pod.agent_id, stdout=False),
    }
    for path, suffix in artifacts.items():
        files[suffix] = partial(copy_file, api, pod.node_id, path)
    return files


def _copied(copy: Callable[..., None], path: Path, deadline: float) -> str | None:
    """None once it is there, or where there is no such file; else why it is not."""
    try:
        copy(path, limit_s=max(LEAST_S, deadline - time.monotonic()))
    except NotCopied as error:
        return str(error)
    except FileNotFoundError:
        pass
    return None
