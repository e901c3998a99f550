"""Namespaces of processes: which processes are the node's, and whose clocks have another zero."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from faults.agent.errors import Unsupported

PROC = Path("/proc")
NS_GET_PARENT = 0xB702


class Scope:
    """Which processes are the node's: all in this PID namespace but the agent's own; or, for an
    agent in the host's PID namespace, all in the namespace of one container and in those that were
    made in it, as by a sandbox."""

    namespace: str | None = None

    def confine_to(self, pid: int) -> None:
        """The node is the container in which `pid` runs. Raises Unsupported, for one that runs in
        the agent's own namespace: that would be the host."""
        self.namespace = namespace_of(pid)
        if self.namespace in (None, namespace_of(os.getpid())):
            raise Unsupported(
                f"process {pid} is gone, or has no PID namespace of its own",
                "name a running container that does not use the host's PID namespace",
            )

    def select(self, pids: list[int], *, gone: bool = False) -> list[int]:
        """Those of them that are the node's; with `gone` also those that have ended meanwhile."""
        if self.namespace is None:
            return pids
        inside = {self.namespace: True, namespace_of(os.getpid()): False, None: gone}
        found = []
        for pid in pids:
            name = namespace_of(pid)
            if name not in inside:
                if around := _namespaces_around(pid):
                    # Known for this once: the kernel uses the numbers again.
                    inside[name] = self.namespace in around
                else:
                    name = None
            if inside[name]:
                found.append(pid)
        return found


def _namespaces_around(pid: int) -> list[str]:
    """The PID namespaces in which that of a process was made, from the inside to the agent's own,
    which is the last that may be known; none for one that has ended."""
    names = []
    with ExitStack() as stack, suppress(OSError):
        file = os.open(PROC / str(pid) / "ns" / "pid", os.O_RDONLY | os.O_CLOEXEC)
        while True:
            stack.callback(os.close, file)
            file = fcntl.ioctl(file, NS_GET_PARENT)
            names.append(os.readlink(PROC / "self" / "fd" / str(file)))  # noqa: PTH115
    return names


SCOPE = Scope()


def namespace_of(pid: int) -> str | None:
    """The PID namespace of a process, such as "pid:[4026531836]"; None when it is gone."""
    try:
        return os.readlink(PROC / str(pid) / "ns" / "pid")  # noqa: PTH115
    except OSError:
        return None


def has_own_time_namespace(tid: int) -> bool:
    """Whether the thread's monotonic clocks have another zero than the agent's."""
    try:
        names = [os.readlink(PROC / one / "ns" / "time") for one in (str(tid), "self")]  # noqa: PTH115
    except OSError:
        return False  # it has ended, or the kernel has no such namespaces
    return names[0] != names[1]
