"""The node's processes: everything in this PID namespace but the agent itself, and what /proc shows
of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from faults.agent.namespaces import SCOPE

PROC = Path("/proc")
DEAD = "ZX"
STOPPED = "Tt"
ENGINE_NAMES = frozenset(
    ("runc:[0:PARENT]", "runc:[1:CHILD]", "runc:[2:INIT]", "youki:[1:INTER]", "youki:[2:INIT]")
)
"""What runc and youki call their processes (/proc/PID/comm) until one executes the node."""
ENGINE_PROGRAMS = ("runc", "crun", "youki")
"""The names of their executable files; crun has no other name."""
ENGINE_COPIES = ("/memfd:runc_cloned:/proc/self/exe", "/memfd:crun_cloned:/proc/self/exe")
"""Their executable files where they run from a copy in memory."""
HELPERS: set[int] = set()
"""Processes that the agent has started itself; a kill hits them, but does not wait for them."""


class Process(NamedTuple):
    """A process of the node. `start_ticks` since boot distinguishes a reused pid.

    `later_thread`: one that lives, where the first has ended and others go on (`pthread_exit` in
    `main`). `state` is its state: that of the process itself is a zombie's, as if it had ended.
    """

    pid: int
    name: str
    state: str
    start_ticks: int
    later_thread: int | None = None

    @property
    def thread(self) -> int:
        """A thread that lives: those that have ended have no memory or program in /proc."""
        return self.later_thread or self.pid

    def to_json(self) -> dict[str, Any]:
        """`start_ns`: when the process started, in nanoseconds of the time since boot."""
        tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
        return {
            "pid": self.pid,
            "name": self.name,
            "state": self.state,
            "start_ns": self.start_ticks * tick_ns,
        }


def parse_stat(text: str) -> Process:
    """A line of /proc/PID/stat. The name may hold spaces and brackets: it ends at the last one."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    return Process(int(pid), name, fields[0], int(fields[19]))


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def read_process(pid: int) -> Process | None:
    """The process as it is now, or None when there is none."""
    try:
        process = parse_stat(_read(PROC / str(pid) / "stat"))
    except (OSError, ValueError, IndexError):
        return None
    if process.state in DEAD:
        for tid, state in threads(pid).items():
            if state not in DEAD:
                return process._replace(state=state, later_thread=tid)
    return process


def listed() -> list[int]:
    """What may be the node's processes: zombies, too, and such as end meanwhile."""
    return SCOPE.select(_numbers(), gone=True)


def _numbers() -> list[int]:
    own = os.getpid()
    pids = sorted(int(name) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208
    return [pid for pid in pids if pid != own and pid not in HELPERS]


def processes() -> list[Process]:
    """The node's live processes, by pid: not the agent, no zombies."""
    found = (read_process(pid) for pid in SCOPE.select(_numbers()))
    return [p for p in found if p is not None and p.state not in DEAD]


def is_engines(process: Process) -> bool:
    """Whether this is still the container engine's process, before it executes the node. Names are
    compared as a whole: a node's program may be called `exe` or `crunchy`."""
    if process.name in ENGINE_NAMES:
        return True
    try:
        program = os.readlink(PROC / str(process.thread) / "exe")  # noqa: PTH115
    except OSError:
        return True  # while it starts or ends
    program = program.removesuffix(" (deleted)")
    return program in ENGINE_COPIES or program.rpartition("/")[2] in ENGINE_PROGRAMS


def threads(pid: int) -> dict[int, str]:
    """The state letter of every thread, in order of thread number; empty when it is gone."""
    letters = {}
    with suppress(OSError):
        for tid in sorted((PROC / str(pid) / "task").iterdir(), key=lambda p: int(p.name)):
            with suppress(OSError):
                letters[int(tid.name)] = _read(tid / "stat").rpartition(")")[2].split()[0]
    return letters


def thread_states(pid: int) -> str:
    """The letters of `threads`."""
    return "".join(threads(pid).values())


def is_stopped(pid: int) -> bool:
    """Whether no thread of it can run: all are stopped, or dead."""
    return all(state in STOPPED + DEAD for state in thread_states(pid))
