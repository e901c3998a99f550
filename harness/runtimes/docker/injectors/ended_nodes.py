"""Why a node has ended during a fault because of which it may: its exit code, or its last words.

A limit of memory or a full disk excuses the end of a node that met it, and that is then started
again. One that crashed for another reason meanwhile must not pass for that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from harness.runtimes.docker.injectors.cluster import Cluster

SIGNALLED: Final = 128
SIGBUS, SIGKILL = 7, 9
LAST_WORDS: Final = 300
"""Lines; the runtimes of some languages print a stack of every thread after the reason."""


class Want(NamedTuple):
    """Of what a node may have been in want: which exit codes, and which words, show that."""

    of: str
    codes: tuple[int, ...]
    words: re.Pattern[str]


MEMORY: Final = Want(
    "memory",
    (SIGNALLED + SIGKILL,),
    re.compile(
        r"out ?of ?memory|cannot allocate memory|no buffer space|MemoryError|bad_alloc|ENOMEM"
        r"|ENOBUFS|can't start new thread|\b(errno|os error)\W{1,4}(12|14|105)\b",
        re.IGNORECASE,
    ),
)
"""Where memory is limited by a cgroup the kernel kills programs, as a rule; but a system call may
fail with ENOMEM, ENOBUFS or EFAULT, too."""
DISK_SPACE: Final = Want(
    "disk space",
    (SIGNALLED + SIGBUS,),
    re.compile(
        r"no space left|disk( is)? full|short write|ENOSPC|\b(errno|os error)\W{1,4}28\b",
        re.IGNORECASE,
    ),
)
"""A program whose mapped file cannot grow gets SIGBUS."""


async def doubt_about_end(
    cluster: Cluster, node: int, state: Mapping[str, Any], want: Want, identity: str
) -> str | None:
    """Why a node that has ended during this fault may have crashed, in a sentence; None where it
    was for want of this, or another fault explains it. `state`: the container's, by the engine."""
    code = state["ExitCode"]
    if code in want.codes or (want is MEMORY and state.get("OOMKilled")):
        return None
    if cluster.why_down(node, but=identity):
        return None
    engine, container = cluster.engine, cluster.pods[node].node_id
    words = await asyncio.to_thread(engine.last_lines, container, LAST_WORDS)
    if want.words.search(words):
        return None
    return (
        f"n{node} ended by itself (exit code {code}), and nothing shows that it was for want of "
        f"{want.of}"
    )
