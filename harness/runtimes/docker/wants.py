"""What shows that a node has ended for want of memory or of disk space: its exit code, the engine's
word that the kernel has killed it, or its own last words.

A limit of memory or a full disk excuses the end of a node that met it, and that is then started
again. One that crashed for another reason meanwhile, or soon after, must not pass for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

SIGNALLED: Final = 128
SIGBUS, SIGKILL = 7, 9
LAST_WORDS: Final = 300
"""Lines; the runtimes of some languages print a stack of every thread after the reason."""
START_S: Final = 0.25
"""How much earlier than the engine says that a program was started it may have printed."""


class LogReader(Protocol):
    """What `harness.runtimes.docker.pods.PodEngine` has."""

    def last_lines(self, container: str, count: int, since_s: float | None) -> str: ...


def last_words(engine: LogReader, container: str, state: Mapping[str, Any]) -> str:
    """What a container that has ended printed last, since it was last started: an earlier end may
    have had another reason. `state`: the container's, by the engine. Blocks."""
    try:
        started_s = datetime.fromisoformat(str(state.get("StartedAt"))).timestamp()
    except ValueError:
        started_s = 0.0
    since_s = started_s - START_S if started_s > START_S else None
    return engine.last_lines(container, LAST_WORDS, since_s)


class Want(NamedTuple):
    """Of what a node may have been in want: which exit codes, and which words, show that."""

    of: str
    codes: tuple[int, ...]
    words: re.Pattern[str]
    killed_for_it: bool = False
    """Whether the kernel kills processes for want of this, which the engine tells."""

    def is_shown_by(self, state: Mapping[str, Any], words: str) -> bool:
        """`state`: the container's, by the engine; `words`: the last that it printed."""
        killed = self.killed_for_it and bool(state.get("OOMKilled"))
        return killed or state.get("ExitCode") in self.codes or bool(self.words.search(words))


MEMORY: Final = Want(
    "memory",
    (SIGNALLED + SIGKILL,),
    re.compile(
        r"out ?of ?memory|cannot allocate memory|no buffer space|MemoryError|bad_alloc|ENOMEM"
        r"|ENOBUFS|can't start new thread|\b(errno|os error)\W{1,4}(12|14|105)\b",
        re.IGNORECASE,
    ),
    killed_for_it=True,
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
